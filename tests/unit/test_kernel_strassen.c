/* test_kernel_strassen.c - 1x1 convolutions by Strassen's algorithm: kernels at every width, run by the evaluator, against the
 * interpreter in double; their errors; where it applies; the bits of one image do not depend on n, the capacity or its
 * neighbours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv_case.h"

static const char *const targets[] = { "portable", "fma128", "avx2", "avx512" };
static const OpId ops[] = { OP_CONV, OP_CONV_INPUT };

static LowerOptions options(int target, ConvAlgorithm a) {
    return (LowerOptions){ .target = target_find(targets[target]), .math = MATH_FAST, .conv = a };
}

static bool uses_strassen(const Case *c, const LowerOptions *o) { return case_is_titled(c, o, ": strassen, "); }

enum { SEED = 7 };
static const double tolerance = 2e-5;

static void each(Case c) {
    for (int i = 0; i < COUNT(ops); i++)
        for (int t = 0; t < COUNT(targets); t++) {
            LowerOptions o = options(t, CONV_STRASSEN);
            c.op = ops[i];
            c.body = t % 2;
            assert_true(uses_strassen(&c, &o));
            check_case(&c, &o, SEED, tolerance);
        }
}

#define IMAGE(h, w) .groups = 1, .spatial = 2, .in = { h, w }, .kernel = { 1, 1 }, .stride = { 1, 1 }, .dilation = { 1, 1 }

static void test_sizes(void **state) {
    (void)state;
    each((Case){ .batch = 1, .n = 1, .channels = 64, .out = 64, IMAGE(8, 8) });
    each((Case){ .batch = 1, .n = 1, .channels = 64, .out = 128, IMAGE(7, 7) });
    each((Case){ .batch = 1, .n = 1, .channels = 128, .out = 64, IMAGE(9, 11) });
    each((Case){ .batch = 1, .n = 1, .channels = 64, .out = 64, IMAGE(1, 1) });
    each((Case){ .batch = 1, .n = 1, .channels = 32, .out = 32, IMAGE(37, 43) });
    each((Case){ .batch = 1, .n = 1, .channels = 64, .out = 192, .computed = true, IMAGE(1, 7) });
}

static void test_batches(void **state) {
    (void)state;
    each((Case){ .batch = 3, .n = 3, .channels = 64, .out = 64, IMAGE(7, 7) });
    each((Case){ .batch = 40, .n = 37, .channels = 128, .out = 64, IMAGE(3, 3) });
    each((Case){ .batch = 40, .n = 1, .channels = 64, .out = 128, IMAGE(2, 3) });
}

/* ---- what is computed otherwise ---- */

static void test_where(void **state) {
    (void)state;
    Case c = { .op = OP_CONV, .batch = 16, .n = 1, .channels = 512, .out = 512, IMAGE(14, 14) };
    LowerOptions one = options(3, CONV_STRASSEN), any = options(3, CONV_AUTO), direct = options(3, CONV_DIRECT);
    assert_true(uses_strassen(&c, &one));
    assert_true(uses_strassen(&c, &any));
    assert_false(uses_strassen(&c, &direct));
    one.math = any.math = MATH_STRICT;
    assert_false(uses_strassen(&c, &one));
    assert_false(uses_strassen(&c, &any));
    one.math = any.math = MATH_FAST;
    Case strided = c, grouped = c, large = c, few = c, half = c;
    strided.stride[1] = 2;
    grouped.groups = 2;
    large.kernel[0] = 3;
    few.channels = 40;
    half.out = 48;
    assert_false(uses_strassen(&strided, &one));
    assert_false(uses_strassen(&grouped, &one));
    assert_false(uses_strassen(&large, &one));
    assert_false(uses_strassen(&few, &one));
    assert_false(uses_strassen(&half, &one));
}

/* ---- errors ---- */

static void test_errors(void **state) {
    (void)state;
    for (int k = 0; k < COUNT(ops); k++)
        for (int t = 0; t < COUNT(targets); t++) {
            Case c = { .op = ops[k], .batch = 1, .n = 1, .channels = 128, .out = 128, IMAGE(12, 12) };
            LowerOptions o = options(t, CONV_STRASSEN);
            CaseError e = check_case(&c, &o, SEED, tolerance);
            if (getenv("SALUN_SHOW"))
                printf("%s %s: rms %.2g, most %.2g\n", op_info[c.op].text, targets[t], e.rms, e.most);
            assert_true(e.rms <= 8e-7 && e.most <= 8e-6);
        }
}

/* ---- bits ---- */

static void test_bits_of_an_image(void **state) {
    (void)state;
    Case cases[] = {
        { .op = OP_CONV, .batch = 21, .channels = 64, .out = 64, IMAGE(5, 3) },
        { .op = OP_CONV, .batch = 40, .channels = 64, .out = 128, IMAGE(1, 3) },
        { .op = OP_CONV_INPUT, .batch = 9, .channels = 128, .out = 64, IMAGE(7, 7) },
    };
    for (int i = 0; i < COUNT(cases); i++)
        for (int64_t n = 1; n <= cases[i].batch; n += 4) {
            LowerOptions o = options(3, CONV_STRASSEN);
            check_images(&cases[i], &o, n);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_batches), cmocka_unit_test(test_where), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_bits_of_an_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
