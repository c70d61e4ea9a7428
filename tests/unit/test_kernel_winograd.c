/* test_kernel_winograd.c - convolutions by Winograd's algorithms: kernels at every width, run by the evaluator, against
 * the interpreter in double; their errors; strict arithmetic and other windows stay direct; the bits of one image do not
 * depend on n, the capacity or its neighbours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv_case.h"
#include "kernel/winograd.h"

static const char *const targets[] = { "portable", "fma128", "avx2", "avx512" };
static const OpId ops[] = { OP_CONV, OP_CONV_INPUT, OP_CONV_WEIGHT };

static LowerOptions options(int target, ConvAlgorithm a) {
    return (LowerOptions){ .target = target_find(targets[target]), .math = MATH_FAST, .conv = a };
}

static double tolerance(ConvAlgorithm a) { return a == CONV_WINOGRAD4 ? 4e-5 : 2e-5; }

static bool uses_winograd(const Case *c, const LowerOptions *o) { return case_is_titled(c, o, "winograd F("); }

static void each_operation(Case c) {
    for (int i = 0; i < COUNT(ops); i++)
        for (int t = 0; t < COUNT(targets); t++)
            for (ConvAlgorithm a = CONV_WINOGRAD2; a <= CONV_WINOGRAD4; a++) {
                LowerOptions o = options(t, a);
                c.op = ops[i];
                c.body = t % 2;
                check_case(&c, &o, 7, tolerance(a));
            }
}

static void each(Case c) {
    for (int stride = 1; stride <= 2; stride++) {
        c.stride[0] = c.stride[1] = stride;
        each_operation(c);
    }
}

#define IMAGE(h, w, p) .groups = 1, .spatial = 2, .in = { h, w }, .kernel = { 3, 3 }, .stride = { 1, 1 }, .dilation = { 1, 1 }, \
                       .lo = { p, p }, .hi = { p, p }

static void test_sizes(void **state) {
    (void)state;
    each((Case){ .batch = 1, .n = 1, .channels = 16, .out = 16, IMAGE(8, 8, 1) });
    each((Case){ .batch = 1, .n = 1, .channels = 20, .out = 32, IMAGE(9, 9, 1) });
    each((Case){ .batch = 2, .n = 2, .channels = 8, .out = 5, IMAGE(7, 11, 0) });
    each((Case){ .batch = 1, .n = 1, .channels = 3, .out = 4, IMAGE(97, 35, 1) });
    each((Case){ .batch = 2, .n = 2, .channels = 16, .out = 17, IMAGE(14, 13, 1) });
    each((Case){ .batch = 3, .n = 2, .channels = 2, .out = 3, IMAGE(35, 67, 1) });
    each((Case){ .batch = 1, .n = 1, .channels = 4, .out = 3, IMAGE(1, 1, 1) });
    each((Case){ .batch = 1, .n = 1, .channels = 4, .out = 8, IMAGE(3, 2, 2) });
}

static void test_channels(void **state) {
    (void)state;
    each((Case){ .batch = 1, .n = 1, .channels = 3, .out = 17, IMAGE(6, 6, 1) });
    each((Case){ .batch = 1, .n = 1, .channels = 17, .out = 3, IMAGE(6, 5, 1) });
    each((Case){ .batch = 1, .n = 1, .channels = 100, .out = 33, IMAGE(4, 4, 1) });
    each((Case){ .batch = 1, .n = 1, .channels = 64, .out = 64, IMAGE(4, 4, 1) });
    each((Case){ .batch = 1, .n = 1, .channels = 40, .out = 130, .computed = true, IMAGE(7, 8, 1) });
    each((Case){ .batch = 1, .n = 1, .channels = 144, .out = 32, .computed = true, IMAGE(4, 4, 1) });
}

static void test_batches(void **state) {
    (void)state;
    each((Case){ .batch = 40, .n = 37, .channels = 17, .out = 16, IMAGE(4, 4, 1) });
    each((Case){ .batch = 40, .n = 1, .channels = 8, .out = 16, IMAGE(3, 3, 1) });
    each((Case){ .batch = 7, .n = 6, .channels = 6, .out = 20, IMAGE(10, 6, 1) });
}

static void test_uneven_padding(void **state) {
    (void)state;
    Case c = { .batch = 1, .n = 1, .channels = 5, .out = 6, IMAGE(9, 6, 0) };
    c.lo[0] = 2;
    c.hi[1] = 1;
    each(c);
}

/* Groups of whole vectors, and such as begin and end within one. */
static void test_groups(void **state) {
    (void)state;
    Case c = { .batch = 2, .n = 2, .channels = 96, .out = 96, IMAGE(6, 9, 1) };
    c.groups = 3;
    each(c);
    c.out = 192;
    each(c);
    c.groups = 2;
    c.channels = 32;
    c.out = 64;
    each(c);
    c.groups = 4;
    each(c);
    c.groups = 3;
    c.channels = 111;
    c.out = 69;
    each(c);
}

/* ---- what is computed otherwise ---- */

static void test_where(void **state) {
    (void)state;
    Case c = { .op = OP_CONV, .batch = 1, .n = 1, .channels = 64, .out = 64, IMAGE(56, 56, 1) };
    LowerOptions four = options(3, CONV_WINOGRAD4), any = options(3, CONV_AUTO), direct = options(3, CONV_DIRECT);
    assert_true(uses_winograd(&c, &four));
    assert_true(uses_winograd(&c, &any));
    assert_false(uses_winograd(&c, &direct));
    four.math = any.math = MATH_STRICT;
    assert_false(uses_winograd(&c, &four));
    assert_false(uses_winograd(&c, &any));
    four.math = any.math = MATH_FAST;
    Case strided = c, uneven = c, far = c, dilated = c, grouped = c, large = c;
    strided.stride[0] = strided.stride[1] = 2;
    uneven.stride[1] = 2;
    far.stride[0] = far.stride[1] = 3;
    dilated.dilation[0] = 2;
    grouped.groups = 2;
    large.kernel[0] = 5;
    assert_true(uses_winograd(&strided, &four));
    assert_false(uses_winograd(&uneven, &four));
    assert_false(uses_winograd(&far, &four));
    assert_false(uses_winograd(&dilated, &four));
    assert_true(uses_winograd(&grouped, &four));
    assert_false(uses_winograd(&large, &four));
    c.op = OP_CONV_WEIGHT;
    assert_true(uses_winograd(&c, &any));
    any.math = MATH_STRICT;
    assert_false(uses_winograd(&c, &any));
    strided.op = OP_CONV_INPUT;                /* phases in step along both dimensions, or not */
    assert_true(uses_winograd(&strided, &four));
    strided.lo[0] = 0;
    assert_false(uses_winograd(&strided, &four));
    strided.lo[1] = 2;
    assert_true(uses_winograd(&strided, &four));
}

/* ---- errors ---- */

static void test_errors(void **state) {
    (void)state;
    static const struct { ConvAlgorithm a; int stride; double rms, most; } limit[] = { { CONV_WINOGRAD2, 1, 6e-7, 4e-6 }, { CONV_WINOGRAD4, 1, 2e-6, 1.5e-5 },
                                                                                       { CONV_WINOGRAD2, 2, 6e-7, 4e-6 }, { CONV_WINOGRAD4, 2, 1e-6, 1.5e-5 } };
    for (int i = 0; i < COUNT(limit); i++)
        for (int k = 0; k < COUNT(ops); k++)
            for (int t = 0; t < COUNT(targets); t += limit[i].stride == 1 ? 1 : 3) {
                Case c = { .op = ops[k], .batch = 1, .n = 1, .channels = 128, .out = 128, IMAGE(12, 12, 1) };
                if (ops[k] == OP_CONV_WEIGHT)          /* its sums run over images and pixels */
                    c = (Case){ .op = ops[k], .batch = 32, .n = 32, .channels = 16, .out = 32, IMAGE(12, 12, 1) };
                c.stride[0] = c.stride[1] = limit[i].stride;
                LowerOptions o = options(t, limit[i].a);
                CaseError e = check_case(&c, &o, 11, tolerance(limit[i].a));
                if (getenv("SALUN_SHOW"))
                    printf("%s %s stride %d %s: rms %.2g, most %.2g\n", op_info[c.op].text, conv_algorithm_text[limit[i].a], limit[i].stride, targets[t], e.rms, e.most);
                assert_true(e.rms <= limit[i].rms && e.most <= limit[i].most);
            }
}

/* ---- bits ---- */

static void test_bits_of_an_image(void **state) {
    (void)state;
    Case cases[] = {
        { .op = OP_CONV, .batch = 21, .channels = 20, .out = 32, IMAGE(9, 9, 1) },
        { .op = OP_CONV, .batch = 40, .channels = 40, .out = 48, IMAGE(4, 4, 1) },
        { .op = OP_CONV_INPUT, .batch = 9, .channels = 20, .out = 32, IMAGE(14, 9, 1) },
        { .op = OP_CONV, .batch = 9, .channels = 20, .out = 32, IMAGE(17, 18, 1) },
        { .op = OP_CONV_INPUT, .batch = 9, .channels = 20, .out = 32, IMAGE(14, 9, 1) },
    };
    cases[3].stride[0] = cases[3].stride[1] = cases[4].stride[0] = cases[4].stride[1] = 2;
    for (int i = 0; i < COUNT(cases); i++)
        for (int64_t n = 1; n <= cases[i].batch; n += 4) {
            LowerOptions o = options(3, i % 2 ? CONV_WINOGRAD2 : CONV_WINOGRAD4);
            check_images(&cases[i], &o, n);
        }
}

/* ---- transforms ---- */

static void test_operations(void **state) {
    (void)state;
    Winograd two = winograd_make(2, 1), four = winograd_make(4, 1);
    assert_int_equal(winograd_operations(&two.data), 4);
    assert_int_equal(winograd_operations(&two.result), 4);
    assert_int_equal(winograd_operations(&four.data), 12);
    assert_int_equal(winograd_operations(&four.result), 12);
    two = winograd_make(2, 2);
    four = winograd_make(4, 2);
    assert_int_equal(winograd_operations(&two.data), 3);
    assert_int_equal(winograd_operations(&two.result), 5);
    assert_int_equal(winograd_operations(&four.data), 10);
    assert_int_equal(winograd_operations(&four.result), 13);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_channels), cmocka_unit_test(test_batches), cmocka_unit_test(test_uneven_padding),
        cmocka_unit_test(test_groups), cmocka_unit_test(test_where), cmocka_unit_test(test_errors), cmocka_unit_test(test_bits_of_an_image), cmocka_unit_test(test_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
