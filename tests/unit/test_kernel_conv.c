/* test_kernel_conv.c - convolutions, their gradients and pools: kernels at every width, run by the evaluator,
 * against the interpreter. Also: the bits of one image do not depend on n, the capacity or its neighbours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "conv_case.h"

static const char *const targets[] = { "portable", "fma128", "avx2", "avx512" };

static void check(const Case *c, const char *target, uint64_t seed) {
    check_case(c, &(LowerOptions){ .target = target_find(target), .math = MATH_STRICT }, seed, 2e-5);
}

static void check_all(const Case *c) {
    for (int i = 0; i < COUNT(targets); i++)
        check(c, targets[i], 5);
}

/* ---- chosen shapes ---- */

#define SQUARE(size, k, s, d, p) .spatial = 2, .in = { size, size }, .kernel = { k, k }, .stride = { s, s }, \
                                 .dilation = { d, d }, .lo = { p, p }, .hi = { p, p }

static void each_op(Case c) {
    static const OpId ops[] = { OP_CONV, OP_CONV_INPUT, OP_CONV_WEIGHT };
    for (int i = 0; i < COUNT(ops); i++)
        for (c.body = 0; c.body < 2; c.body++) {
            c.op = ops[i];
            check_all(&c);
        }
}

static void test_common(void **state) {
    (void)state;
    each_op((Case){ .batch = 2, .n = 2, .channels = 20, .out = 32, .groups = 1, SQUARE(9, 3, 1, 1, 1) });
    each_op((Case){ .batch = 3, .n = 2, .channels = 17, .out = 35, .groups = 1, SQUARE(7, 1, 1, 1, 0) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 32, .out = 48, .groups = 1, SQUARE(8, 3, 2, 1, 1) });
    each_op((Case){ .batch = 9, .n = 9, .channels = 16, .out = 16, .groups = 1, SQUARE(4, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 16, .out = 33, .groups = 1, SQUARE(10, 1, 2, 1, 0) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 3, .out = 100, .groups = 1, SQUARE(5, 3, 1, 1, 1) });
}

/* Small images, weights that change from run to run: each task packs its own. */
static void test_packing(void **state) {
    (void)state;
    each_op((Case){ .batch = 1, .n = 1, .channels = 48, .out = 256, .groups = 1, .computed = true, SQUARE(4, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 150, .out = 250, .groups = 1, .computed = true, SQUARE(5, 3, 2, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 140, .out = 129, .groups = 1, .computed = true, SQUARE(6, 1, 1, 1, 0) });
    each_op((Case){ .batch = 3, .n = 2, .channels = 130, .out = 144, .groups = 1, .computed = true, SQUARE(3, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 3, .out = 128, .groups = 1, .computed = true, .plain = true, SQUARE(7, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 128, .out = 16, .groups = 1, .computed = true, SQUARE(6, 9, 1, 1, 4) });
}

static void test_stem(void **state) {
    (void)state;
    each_op((Case){ .batch = 2, .n = 1, .channels = 3, .out = 64, .groups = 1, .plain = true, SQUARE(32, 7, 2, 1, 3) });
    each_op((Case){ .batch = 2, .n = 2, .channels = 1, .out = 8, .groups = 1, .plain = true, SQUARE(12, 5, 1, 1, 2) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 100, .out = 17, .groups = 1, .plain = true, SQUARE(6, 3, 1, 1, 1) });
    each_op((Case){ .batch = 2, .n = 2, .channels = 8, .out = 1, .groups = 1, SQUARE(9, 3, 1, 1, 1) });
}

static void test_groups(void **state) {
    (void)state;
    each_op((Case){ .batch = 2, .n = 2, .channels = 6, .out = 9, .groups = 3, SQUARE(6, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 128, .out = 128, .groups = 32, SQUARE(5, 3, 1, 1, 1) });
    each_op((Case){ .batch = 2, .n = 1, .channels = 19, .out = 19, .groups = 19, SQUARE(7, 3, 2, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 5, .out = 20, .groups = 5, .plain = true, SQUARE(6, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 64, .out = 32, .groups = 2, SQUARE(6, 1, 1, 1, 0) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 96, .out = 192, .groups = 3, SQUARE(4, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 96, .out = 96, .groups = 2, .plain = true, SQUARE(3, 3, 1, 1, 1) });
}

/* Groups of fewer channels than a vector has lanes, and groups that begin and end within blocks. */
static void test_odd_groups(void **state) {
    (void)state;
    static const int64_t width[] = { 1, 2, 4, 8, 16 };
    for (int i = 0; i < COUNT(width); i++) {
        each_op((Case){ .batch = 2, .n = 2, .channels = 5 * width[i], .out = 5 * width[i], .groups = 5, SQUARE(6, 3, 1, 1, 1) });
        each_op((Case){ .batch = 1, .n = 1, .channels = 8 * width[i], .out = 8 * width[i], .groups = 8, SQUARE(7, 3, 2, 1, 1) });
        each_op((Case){ .batch = 1, .n = 1, .channels = 6 * width[i], .out = 6 * width[i], .groups = 6, SQUARE(12, 3, 5, 1, 1) });
    }
    each_op((Case){ .batch = 1, .n = 1, .channels = 111, .out = 111, .groups = 3, SQUARE(5, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 69, .out = 51, .groups = 3, SQUARE(4, 1, 1, 1, 0) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 38, .out = 74, .groups = 2, SQUARE(5, 3, 2, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 111, .out = 111, .groups = 3, .plain = true, SQUARE(3, 3, 1, 1, 1) });
}

static void test_unusual_windows(void **state) {
    (void)state;
    each_op((Case){ .batch = 2, .n = 2, .channels = 8, .out = 12, .groups = 1, SQUARE(3, 7, 1, 1, 3) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 20, .out = 18, .groups = 1, SQUARE(6, 9, 1, 1, 4) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 4, .out = 8, .groups = 1, SQUARE(20, 3, 1, 4, 4) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 4, .out = 8, .groups = 1, SQUARE(23, 5, 5, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 4, .out = 8, .groups = 1, SQUARE(16, 3, 2, 3, 2) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 4, .out = 8, .groups = 1, .spatial = 2, .in = { 9, 40 }, .kernel = { 2, 11 },
                    .stride = { 1, 1 }, .dilation = { 2, 3 }, .lo = { 0, 4 }, .hi = { 3, 9 } });
    each_op((Case){ .batch = 2, .n = 2, .channels = 5, .out = 6, .groups = 1, .spatial = 1, .in = { 33 }, .kernel = { 3 },
                    .stride = { 2 }, .dilation = { 1 }, .lo = { 2 }, .hi = { 0 } });
    each_op((Case){ .batch = 1, .n = 1, .channels = 5, .out = 6, .groups = 1, .spatial = 3, .in = { 4, 5, 6 }, .kernel = { 3, 2, 3 },
                    .stride = { 1, 2, 1 }, .dilation = { 1, 1, 1 }, .lo = { 1, 0, 1 }, .hi = { 1, 1, 1 } });
    each_op((Case){ .batch = 1, .n = 1, .channels = 5, .out = 6, .groups = 1, .spatial = 3, .in = { 4, 5, 6 }, .kernel = { 1, 1, 1 },
                    .stride = { 1, 1, 1 }, .dilation = { 1, 1, 1 } });
}

static void test_linear(void **state) {
    (void)state;
    static const int64_t batch[] = { 1, 16, 16, 16, 40 }, n[] = { 1, 1, 3, 16, 37 };
    for (int i = 0; i < COUNT(n); i++) {
        each_op((Case){ .batch = batch[i], .n = n[i], .channels = 33, .out = 10, .groups = 1 });
        each_op((Case){ .batch = batch[i], .n = n[i], .channels = 64, .out = 128, .groups = 1 });
        each_op((Case){ .batch = batch[i], .n = n[i], .channels = 7, .out = 1, .groups = 1, .plain = true });
    }
}

static void test_pools(void **state) {
    (void)state;
    static const OpId ops[] = { OP_MAXPOOL, OP_AVGPOOL, OP_MAXPOOL_INPUT, OP_AVGPOOL_INPUT };
    Case cases[] = {
        { .batch = 2, .n = 1, .channels = 19, .groups = 1, SQUARE(9, 3, 2, 1, 1) },
        { .batch = 1, .n = 1, .channels = 1, .groups = 1, SQUARE(8, 2, 2, 1, 0) },
        { .batch = 2, .n = 2, .channels = 3, .groups = 1, .plain = true, SQUARE(7, 3, 1, 2, 2) },
        { .batch = 1, .n = 1, .channels = 6, .groups = 1, .spatial = 3, .in = { 4, 5, 6 }, .kernel = { 2, 2, 3 },
          .stride = { 1, 2, 1 }, .dilation = { 1, 1, 1 }, .lo = { 1, 0, 1 }, .hi = { 1, 1, 1 } },
    };
    for (int i = 0; i < COUNT(cases); i++)
        for (int k = 0; k < COUNT(ops); k++)
            for (int body = 0; body < 2; body++) {
                Case c = cases[i];
                c.op = ops[k];
                c.body = body;
                check_all(&c);
            }
}

/* ---- drawn shapes ---- */

static Case draw(Rng *r) {
    static const int64_t channels[] = { 1, 2, 3, 5, 8, 16, 17, 24, 32, 40, 64, 100 };
    static const OpId ops[] = { OP_CONV, OP_CONV_INPUT, OP_CONV_WEIGHT, OP_CONV, OP_CONV_INPUT, OP_MAXPOOL, OP_AVGPOOL, OP_MAXPOOL_INPUT, OP_AVGPOOL_INPUT };
    for (;;) {
        Case c = { .op = ops[rng_below(r, COUNT(ops))], .batch = 1 + rng_below(r, 10), .spatial = 1 + (int)rng_below(r, 2), .groups = 1 };
        c.n = 1 + rng_below(r, c.batch);
        c.channels = channels[rng_below(r, COUNT(channels))];
        c.out = channels[rng_below(r, COUNT(channels))];
        static const int64_t groups[] = { 1, 1, 1, 2, 3, 4, 8 };
        c.groups = groups[rng_below(r, COUNT(groups))];
        c.channels *= c.groups;
        c.out *= c.groups;
        c.plain = rng_below(r, 4) == 0;
        c.body = (int)rng_below(r, 2);
        int64_t work = c.batch * c.channels * c.out / c.groups;
        for (int i = 0; i < c.spatial; i++) {
            c.in[i] = 1 + rng_below(r, 20);
            c.kernel[i] = 1 + rng_below(r, 4);
            c.stride[i] = 1 + rng_below(r, 3);
            c.dilation[i] = 1 + rng_below(r, 2);
            c.lo[i] = rng_below(r, c.kernel[i]);
            c.hi[i] = rng_below(r, c.kernel[i]);
            work *= c.in[i] * c.kernel[i];
        }
        Window w = window_of(&c);
        int64_t out[3];
        bool pool = op_info[c.op].class == CLASS_POOL;
        if (work < 400000 && window_result(&w, c.in, out) && (!pool || (c.groups == 1 && window_covers(&w, c.in))))
            return c;
    }
}

static void test_drawn(void **state) {
    (void)state;
    Rng rng = { 20 };
    for (int i = 0; i < 240; i++) {
        Case c = draw(&rng);
        check(&c, targets[i % COUNT(targets)], (uint64_t)i);
    }
}

/* ---- bits ---- */

/* The first image's result must not depend on n, and its bits not on what stands beside it. */
static void test_bits_of_an_image(void **state) {
    (void)state;
    Case cases[] = {
        { .op = OP_CONV, .batch = 9, .channels = 20, .out = 32, .groups = 1, SQUARE(9, 3, 1, 1, 1) },
        { .op = OP_CONV, .batch = 23, .channels = 40, .out = 50, .groups = 1 },
        { .op = OP_CONV_INPUT, .batch = 9, .channels = 20, .out = 32, .groups = 1, SQUARE(9, 3, 2, 1, 1) },
    };
    for (int i = 0; i < COUNT(cases); i++)
        for (int64_t n = 1; n <= cases[i].batch; n += 4)
            check_images(&cases[i], &(LowerOptions){ .target = target_find("avx512"), .math = MATH_STRICT }, n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_common), cmocka_unit_test(test_packing), cmocka_unit_test(test_stem), cmocka_unit_test(test_groups),
        cmocka_unit_test(test_odd_groups),
        cmocka_unit_test(test_unusual_windows), cmocka_unit_test(test_linear), cmocka_unit_test(test_pools),
        cmocka_unit_test(test_drawn), cmocka_unit_test(test_bits_of_an_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
