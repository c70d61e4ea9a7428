/* test_support.c - arena, table, sources, diagnostics, writer. */
#include "support/arena.h"
#include "support/diag.h"
#include "support/source.h"
#include "support/table.h"
#include "support/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above */
#include <cmocka.h>

static jmp_buf out_of_memory;

static void note_exhausted(const Arena *a) {
    (void)a;
    longjmp(out_of_memory, 1);
}

static void arena_zeroes_and_aligns(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    for (size_t size = 1; size < 100000; size = size * 3 + 1) {
        unsigned char *p = arena_alloc(a, size);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, size);
    }
    assert_string_equal(arena_printf(a, "%d-%s", 3, "x"), "3-x");
    assert_string_equal(arena_strndup(a, "salu", 2), "sa");
    arena_destroy(a);
}

static void arena_keeps_its_limit(void **state) {
    (void)state;
    Arena *a = arena_new(1 << 20);
    a->exhausted = note_exhausted;
    if (!setjmp(out_of_memory)) {
        for (;;)
            arena_alloc(a, 1000);
    }
    assert_true(a->total <= 1 << 20);
    if (!setjmp(out_of_memory)) {
        arena_alloc_array(a, SIZE_MAX / 2, 3);
        fail();
    }
    if (!setjmp(out_of_memory)) {
        arena_alloc(a, SIZE_MAX);
        fail();
    }
    arena_destroy(a);
}

static void table_iterates_as_inserted(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    Table *t = table_new(a);
    assert_null(table_get(t, "missing"));
    for (int i = 0; i < 1000; i++)
        table_set(t, arena_printf(a, "key%d", i * 7919 % 1000), a + i);
    table_set(t, "key0", t);
    assert_int_equal(t->count, 1000);
    int i = 0;
    for (TableEntry *e = t->first; e; e = e->next, i++) {
        assert_string_equal(e->key, arena_printf(a, "key%d", i * 7919 % 1000));
        assert_ptr_equal(e->value, i ? (void *)(a + i) : (void *)t);
        assert_ptr_equal(table_find(t, e->key), e);
    }
    assert_int_equal(i, 1000);
    assert_false(table_has(t, "key1000"));
    arena_destroy(a);
}

static void places_count_characters(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    const char *text = "ab\r\n\xc3\xa4x\n";
    SourceFile *s = source_from_text(a, "f", text, strlen(text));
    assert_int_equal(s->line_count, 3);
    Place p = source_place(s, 6);
    assert_int_equal(p.line, 2);
    assert_int_equal(p.column, 2);
    assert_int_equal(p.offset, 2);
    assert_int_equal(p.length, 3);
    assert_int_equal(source_place(s, 0).length, 2);
    assert_int_equal(source_place(s, 1000).line, 3);
    assert_string_equal(source_place_text(a, (Span){ s, 6, 1 }), "f:2:2");
    Span joined = span_join((Span){ s, 4, 2 }, (Span){ s, 0, 1 });
    assert_int_equal(joined.begin, 0);
    assert_int_equal(joined.length, 6);
    const char *error = NULL;
    assert_null(source_read(a, "/nonexistent/file", &error));
    assert_non_null(error);
    assert_null(source_read(a, "/", &error));
    assert_string_equal(error, "it is a directory");
    arena_destroy(a);
}

/* What one error at begin, length of the text looks like. */
static char *report(Arena *a, const char *text, uint32_t begin, uint32_t length) {
    char *shown = NULL;
    size_t size;
    FILE *out = open_memstream(&shown, &size);
    Diag *d = diag_new(a, out);
    SourceFile *s = source_from_text(a, "f.snet", text, strlen(text));
    diag_error(d, (Span){ s, begin, length }, "wrong %d", 7);
    diag_help(d, "try %s", "this");
    diag_error(d, (Span){ s, begin, length }, "wrong %d", 7);
    diag_help(d, "try %s", "this");
    fclose(out);
    assert_int_equal(diag_errors(d), 1);
    char *copy = arena_strdup(a, shown);
    free(shown);
    return copy;
}

static void errors_show_line_and_caret(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    assert_string_equal(report(a, "x\n\ty = h + s\n", 7, 5),
                        "f.snet:2:6: error: wrong 7\n"
                        "    2 | \ty = h + s\n"
                        "      | \t    ^~~~~\n"
                        "help: try this\n");
    assert_string_equal(report(a, "x = \xc3\xa4 + \xff\x1b", 4, 2),
                        "f.snet:1:5: error: wrong 7\n"
                        "    1 | x = \xc3\xa4 + ??\n"
                        "      |     ^\n"
                        "help: try this\n");
    assert_string_equal(report(a, "", 0, 0), "f.snet:1:1: error: wrong 7\n    1 | \n      | ^\nhelp: try this\n");
    char *line = arena_alloc(a, 100001);
    memset(line, 'x', 100000);
    char *shown = report(a, line, 50000, 100);
    assert_true(strlen(shown) < 500);
    assert_non_null(strstr(shown, "... xxx"));
    arena_destroy(a);
}

static void errors_are_capped_and_sorted(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    char *shown = NULL;
    size_t size;
    FILE *out = open_memstream(&shown, &size);
    Diag *d = diag_new(a, out);
    SourceFile *s = source_from_text(a, "f", "0123456789", 10);
    diag_hold(d);
    diag_error(d, (Span){ s, 5, 1 }, "second");
    diag_note(d, (Span){ s, 0, 1 }, "to the second");
    diag_error(d, (Span){ s, 2, 1 }, "first");
    diag_release(d);
    fflush(out);
    assert_true(strstr(shown, "first") < strstr(shown, "second"));
    assert_true(strstr(shown, "error: second") < strstr(shown, "to the second"));
    for (int i = 0; i < 100; i++) {
        diag_error(d, (Span){ s, 0, 1 }, "again %d", i);
        diag_trace(d, "in block %d", i);
    }
    fclose(out);
    assert_int_equal(diag_errors(d), 102);
    assert_true(diag_full(d));
    assert_non_null(strstr(shown, "in block 17"));
    assert_null(strstr(shown, "in block 18"));
    assert_non_null(strstr(shown, "there are more errors"));
    free(shown);
    arena_destroy(a);
}

static void nearest_names(void **state) {
    (void)state;
    const char *const names[] = { "batchnorm", NULL, "layernorm", "salu", "swalu" };
    assert_string_equal(nearest("batchnrom", names, 5), "batchnorm");
    assert_string_equal(nearest("sau", names, 5), "salu");
    assert_null(nearest("conv", names, 5));
    assert_null(nearest("", names, 5));
    assert_int_equal(edit_distance("kitten", "sitting"), 3);
    assert_int_equal(edit_distance("ab", "ba"), 1);
    assert_int_equal(edit_distance("", "abc"), 3);
    char line[300];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\0';
    assert_null(nearest(line, names, 5));
}

static void writer_indents(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    Writer *w = writer_new(a);
    assert_string_equal(w->data, "");
    writer_line(w, "for {");
    writer_indent(w, 2);
    writer_text(w, "a\n\nb");
    assert_int_equal(w->column, 3);
    writer_char(w, '\n');
    writer_indent(w, -2);
    writer_printf(w, "}%1000d", 1);
    assert_true(!strncmp(w->data, "for {\n  a\n\n  b\n}  ", 18));
    assert_int_equal(w->length, 15 + 1001);
    arena_destroy(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_zeroes_and_aligns),    cmocka_unit_test(arena_keeps_its_limit),
        cmocka_unit_test(table_iterates_as_inserted), cmocka_unit_test(places_count_characters),
        cmocka_unit_test(errors_show_line_and_caret), cmocka_unit_test(errors_are_capped_and_sorted),
        cmocka_unit_test(nearest_names),              cmocka_unit_test(writer_indents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
