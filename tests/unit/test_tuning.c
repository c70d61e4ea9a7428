/* test_tuning.c - the file of `salunc --tune`: what is read is printed again, sorted; whatever else is in it is refused where it
 * stands. tests/run/tune.sh and tests/golden/tune.snet show that programs are made as the file says. */
#include "kernel/tuning.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above */
#include <cmocka.h>

/* What is reported about a text; the tuning in *result where that is wanted. */
static char *read_text(Arena *a, const char *text, size_t length, Tuning **result) {
    char *told = NULL;
    size_t size;
    FILE *out = open_memstream(&told, &size);
    Diag *d = diag_new(a, out);
    Tuning *t = tuning_new(a);
    tuning_read(t, source_from_text(a, "net.tune", text, length), d);
    fclose(out);
    char *copy = arena_strdup(a, told);
    free(told);
    assert_int_equal(diag_errors(d) > 0, copy[0] != 0);
    if (result)
        *result = t;
    return copy;
}

static const char *printed(Arena *a, Tuning *t) {
    Writer *w = writer_new(a);
    tuning_print(w, t);
    return w->data;
}

#define AVX2 "target avx2 fast, 1 thread: Some Processor 3.0\n"
#define AVX512 "target avx512 fast, 2 threads: Some Processor 3.0\n"

static void what_is_read_is_printed(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    Tuning *t, *again;
    const char *text = "\n# remarks\n" AVX512 "b c = direct\na n1 = winograd4 (winograd2 2.50, direct 3, winograd4 1.004 us)\r\n\n" AVX2 "x = winograd2 (winograd2 7.00 us)";
    assert_string_equal(read_text(a, text, strlen(text), &t), "");
    const char *first = printed(a, t);
    const char *body = strchr(strstr(first, "\n#") + 1, '\n') + 1;
    assert_string_equal(body, "\n" AVX2 "x = winograd2 (winograd2 7.00 us)\n"
                              "\n" AVX512 "a n1 = winograd4 (direct 3.00, winograd2 2.50, winograd4 1.00 us)\nb c = direct\n");
    assert_string_equal(read_text(a, first, strlen(first), &again), "");
    assert_string_equal(printed(a, again), first);
    const TuningSection *s = tuning_section(again, "avx512", MATH_FAST);
    assert_non_null(s);
    assert_int_equal(s->threads, 2);
    assert_string_equal(s->processor, "Some Processor 3.0");
    assert_int_equal(tuning_find(s, "a n1")->choice, CONV_WINOGRAD4);
    assert_null(tuning_find(s, "x"));
    assert_null(tuning_section(again, "avx512", MATH_STRICT));
    assert_null(tuning_find(NULL, "x"));
    arena_destroy(a);
}

static void an_empty_file_holds_nothing(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    Tuning *t;
    assert_string_equal(read_text(a, "", 0, &t), "");
    assert_int_equal(t->count, 0);
    arena_destroy(a);
}

static void mistakes_are_located(void **state) {
    (void)state;
    static const struct { const char *text, *told; } cases[] = {
        { "a = direct\n", "net.tune:1:1: error: a line `target" },
        { "target avx513 fast, 1 thread: P\n", "net.tune:1:8: error: a target is needed: there is no `avx513`" },
        { "target avx513 fast, 1 thread: P\n", "did you mean `avx512`" },
        { "target \n", "net.tune:1:8: error: a target is needed" },
        { "target avx2\n", "net.tune:1:12: error: `fast` or `strict` is needed here" },
        { "target avx2 quick, 1 thread: P\n", "net.tune:1:13: error: `fast` or `strict` is needed" },
        { "target avx2 fast\n", "net.tune:1:17: error: `, N threads" },
        { "target avx2 fast, 0 threads: P\n", "net.tune:1:19: error: a number of threads" },
        { "target avx2 fast, 1.5 threads: P\n", "error: a number of threads" },
        { "target avx2 fast, 99999 threads: P\n", "error: a number of threads" },
        { "target avx2 fast, 1 thread: \n", "net.tune:1:29: error: the name of a processor" },
        { AVX2 AVX2, "net.tune:2:1: error: this target has a section already" },
        { AVX2 "a b c\n", "net.tune:2:1: error: neither" },
        { AVX2 " = direct\n", "net.tune:2:1: error: neither" },
        { AVX2 "<<<<<<< HEAD\n", "net.tune:2:1: error: neither" },
        { AVX2 "a = winogrd4\n", "net.tune:2:5: error: an algorithm is needed: there is no `winogrd4`" },
        { AVX2 "a = auto\n", "net.tune:2:5: error: an algorithm is needed: there is no `auto`" },
        { AVX2 "a = \n", "net.tune:2:5: error: an algorithm is needed" },
        { AVX2 "a = direct 3\n", "net.tune:2:11: error: nothing more" },
        { AVX2 "a = direct (direct\n", "net.tune:2:19: error: a time is needed here" },
        { AVX2 "a = direct (direct 0 us)\n", "error: a time in microseconds" },
        { AVX2 "a = direct (direct -3 us)\n", "error: a time in microseconds" },
        { AVX2 "a = direct (direct nan us)\n", "error: a time in microseconds" },
        { AVX2 "a = direct (direct inf us)\n", "error: a time in microseconds" },
        { AVX2 "a = direct (direct 0x10 us)\n", "error: a time in microseconds" },
        { AVX2 "a = direct (direct 1.2.3 us)\n", "error: a time in microseconds" },
        { AVX2 "a = direct (direct 9999999999999999999999999 us)\n", "error: a time in microseconds" },
        { AVX2 "a = direct (direct 111111111111111111111111111111111111111 us)\n", "error: a time in microseconds" },
        { AVX2 "a = direct (direct 1, direct 2 us)\n", "net.tune:2:23: error: this algorithm has a time already" },
        { AVX2 "a = direct (direct 1 ms)\n", "net.tune:2:21: error: `, ALGORITHM TIME`" },
        { AVX2 "a = direct\nb = direct\na = winograd2\n", "net.tune:4:1: error: this problem stands here twice" },
        { AVX2 "a\t= direct\n", "net.tune:2:2: error: this is no text" },
        { "\x7f" "ELF\n", "net.tune:1:1: error: this is no text" },
        { "{\"target\": \"avx2\"}\n", "net.tune:1:1: error: a line `target" },
    };
    for (int i = 0; i < COUNT(cases); i++) {
        Arena *a = arena_new(0);
        const char *told = read_text(a, cases[i].text, strlen(cases[i].text), NULL);
        if (!strstr(told, cases[i].told))
            fail_msg("case %d: %s: told `%s`, not `%s`", i, cases[i].text, told, cases[i].told);
        arena_destroy(a);
    }
}

/* A byte changed, a piece cut out or doubled: read or refused, and what is read prints to what reads the same. */
static void anything_is_read_or_refused(void **state) {
    (void)state;
    static const char good[] = AVX512 "infer n1 conv 64x56x56 to 64x56x56 window 3x3 pad 1,1,1,1 body 9 2 1 0 = winograd4 (direct 1210.50, winograd4 640.20 us)\n"
                               "step n8 conv.weight 4x4x4 with 4x4x4 window 3x3 body 0 0 1 0 = direct\n" AVX2 "a = winograd2\n";
    uint32_t bits = 7;
    for (int i = 0; i < 20000; i++) {
        char text[2 * sizeof good];
        bits = bits * 1664525u + 1013904223u;
        size_t length = sizeof good - 1, at = (bits >> 8) % length, from = (bits >> 3) % length;
        memcpy(text, good, sizeof good);
        if (i % 3 == 0) {
            text[at] = (char)(bits >> 24);
        } else if (at < from) {
            memmove(text + at, text + from, length - from);
            length -= from - at;
        } else {
            memmove(text + at, text + from, length - from);
            length += at - from;
        }
        Arena *a = arena_new(0);
        Tuning *t, *again;
        if (!read_text(a, text, length, &t)[0]) {
            const char *once = printed(a, t);
            assert_string_equal(read_text(a, once, strlen(once), &again), "");
            assert_string_equal(printed(a, again), once);
        }
        arena_destroy(a);
    }
}

/* Many rows take no time that grows with their square. */
static void large_files_are_read(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    Writer *w = writer_new(a);
    Tuning *t;
    writer_text(w, AVX2);
    for (int i = 0; i < 200000; i++)
        writer_printf(w, "p%d = direct\n", i);
    assert_string_equal(read_text(a, w->data, w->length, &t), "");
    assert_int_equal(t->sections[0]->rows->count, 200000);
    arena_destroy(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_printed), cmocka_unit_test(an_empty_file_holds_nothing), cmocka_unit_test(mistakes_are_located),
        cmocka_unit_test(anything_is_read_or_refused), cmocka_unit_test(large_files_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
