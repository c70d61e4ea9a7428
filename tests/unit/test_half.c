/* test_half.c - floats of 16 bits: every one of them, and every middle between two neighbours, against the formats' definition;
 * the fused product against one with more digits; convolutions with weights kept in 16 bits, and their errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv_case.h"
#include "interp/interp.h"
#include "passes/passes.h"
#include "support/half.h"

/* ---- formats ---- */

/* The value of sign, exponent and fraction. */
static double meaning(unsigned bits, int exponent_bits, int fraction_bits) {
    int top = (1 << exponent_bits) - 1, bias = top / 2, exponent = (int)(bits >> fraction_bits) & top;
    unsigned fraction = bits & ((1u << fraction_bits) - 1);
    double sign = bits >> 15 ? -1 : 1;
    if (exponent == top)
        return fraction ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp((double)fraction + ldexp(1, fraction_bits), exponent - bias - fraction_bits);
}

typedef struct { float (*value)(uint16_t); uint16_t (*bits)(float); int exponent, fraction; } Format;
static const Format formats[] = { { half_value, half_bits, 5, 10 }, { bfloat_value, bfloat_bits, 8, 7 } };

static void test_every_value(void **state) {
    (void)state;
    for (int f = 0; f < COUNT(formats); f++)
        for (unsigned b = 0; b < 0x10000; b++) {
            double m = meaning(b, formats[f].exponent, formats[f].fraction), v = (double)formats[f].value((uint16_t)b);
            assert_true(isnan(m) ? isnan(v) : m == v && signbit(m) == signbit(v));
            unsigned quiet = isnan(m) ? 1u << (formats[f].fraction - 1) : 0;
            assert_int_equal(formats[f].bits(formats[f].value((uint16_t)b)), b | quiet);
        }
}

/* Between two neighbours: below the middle the lower, above it the upper, at it the one whose last bit is 0. */
static void test_rounding(void **state) {
    (void)state;
    for (int f = 0; f < COUNT(formats); f++)
        for (unsigned b = 0; formats[f].value((uint16_t)b) < INFINITY; b++) {
            double low = meaning(b, formats[f].exponent, formats[f].fraction), high = meaning(b + 1, formats[f].exponent, formats[f].fraction);
            if (isinf(high))
                high = 2 * low - meaning(b - 1, formats[f].exponent, formats[f].fraction);
            float middle = (float)((low + high) / 2);
            if ((double)middle != (low + high) / 2)
                continue;                                      /* denormals of bfloat16 have no middle in float32 below its own */
            for (int sign = 0; sign < 2; sign++) {
                float s = sign ? -1.0f : 1.0f;
                unsigned top = sign ? 0x8000 : 0;
                assert_int_equal(formats[f].bits(s * nextafterf(middle, 0)), b | top);
                assert_int_equal(formats[f].bits(s * nextafterf(middle, INFINITY)), (b + 1) | top);
                assert_int_equal(formats[f].bits(s * middle), (b + (b & 1)) | top);
            }
        }
    assert_int_equal(half_bits(1e30f), 0x7c00);
    assert_int_equal(half_bits(-65520), 0xfc00);
    assert_int_equal(half_bits(65519.996f), 0x7bff);
    assert_int_equal(half_bits(1e-30f), 0);
    assert_int_equal(bfloat_bits(3.4e38f), 0x7f80);
}

/* x y + z by whole numbers of 2^-48: exact, rounded once. */
static uint16_t exact_fma(float x, float y, float z) {
    __int128 sum = (__int128)ldexp((double)x, 24) * (__int128)ldexp((double)y, 24) + (__int128)ldexp((double)z, 24) * ((__int128)1 << 24);
    unsigned sign = sum < 0 ? 0x8000 : 0;
    __int128 m = sum < 0 ? -sum : sum;
    int shift = 24;                                            /* of a denormal's last place */
    while (m >> shift >= 2048)
        shift++;
    __int128 low = m & (((__int128)1 << shift) - 1), middle = (__int128)1 << (shift - 1), q = m >> shift;
    q += low > middle || (low == middle && (q & 1));
    return (uint16_t)(half_bits((float)ldexp((double)(int64_t)q, shift - 48)) | sign);
}

static void test_fused(void **state) {
    (void)state;
    Rng r = { 5 };
    for (int i = 0; i < 2000000; i++) {
        float v[3];
        for (int k = 0; k < 3; k++)
            do
                v[k] = half_value((uint16_t)rng_next(&r));
            while (!isfinite(v[k]));
        if (i % 2)                                             /* near to cancelling, or to a tie */
            v[2] = half_value((uint16_t)(half_bits(-v[0] * v[1]) + rng_below(&r, 5)));
        if (!isfinite(v[2]))
            continue;
        unsigned got = half_bits(half_fma(v[0], v[1], v[2])), want = exact_fma(v[0], v[1], v[2]);
        if (got != want && ((got | want) & 0x7fff))
            fail_msg("%a * %a + %a is %04x, not %04x", (double)v[0], (double)v[1], (double)v[2], got, want);
    }
    assert_true(isnan(half_fma(INFINITY, 0, 1)) && isnan(half_fma(1, NAN, 1)) && half_fma(65504, 2, 0) == INFINITY);
}

/* ---- weights kept in 16 bits ---- */

#define IMAGE(h, w, k, s, p) .spatial = 2, .in = { h, w }, .kernel = { k, k }, .stride = { s, s }, .dilation = { 1, 1 }, .lo = { p, p }, .hi = { p, p }

static void test_convolutions(void **state) {
    (void)state;
    static const char *const targets[] = { "portable", "fma128", "avx2", "avx512" };
    static const Case cases[] = {
        { .op = OP_CONV, .batch = 1, .n = 1, .channels = 20, .out = 32, .groups = 1, IMAGE(9, 9, 3, 1, 1) },
        { .op = OP_CONV, .batch = 2, .n = 2, .channels = 3, .out = 17, .groups = 1, IMAGE(17, 11, 7, 2, 3), .plain = true },
        { .op = OP_CONV, .batch = 1, .n = 1, .channels = 64, .out = 48, .groups = 1, IMAGE(7, 7, 1, 1, 0), .body = 1 },
        { .op = OP_CONV, .batch = 1, .n = 1, .channels = 32, .out = 32, .groups = 32, IMAGE(8, 8, 3, 1, 1) },
        { .op = OP_CONV, .batch = 1, .n = 1, .channels = 12, .out = 18, .groups = 3, IMAGE(6, 6, 3, 1, 1) },
        { .op = OP_CONV, .batch = 9, .n = 7, .channels = 40, .out = 50, .groups = 1 },
        { .op = OP_CONV_INPUT, .batch = 1, .n = 1, .channels = 20, .out = 32, .groups = 1, IMAGE(9, 9, 3, 2, 1) },
    };
    for (int i = 0; i < COUNT(cases); i++)
        for (int t = 0; t < COUNT(targets); t++)
            for (Store s = STORE_BF16; s <= STORE_F16; s++) {
                LowerOptions o = { .target = target_find(targets[t]), .math = MATH_STRICT, .storage = s };
                check_case(&cases[i], &o, 7, s == STORE_BF16 ? 8e-3 : 1e-3);
            }
}

/* Root mean square of the error over that of the result, 128 channels. Winograd's transforms enlarge the weights' rounding. */
static void test_errors(void **state) {
    (void)state;
    static const struct { ConvAlgorithm a; Store s; double rms; } limit[] = {
        { CONV_DIRECT, STORE_BF16, 2e-3 }, { CONV_DIRECT, STORE_F16, 2.5e-4 }, { CONV_WINOGRAD2, STORE_BF16, 4e-3 },
        { CONV_WINOGRAD2, STORE_F16, 5e-4 }, { CONV_WINOGRAD4, STORE_BF16, 1.5e-2 }, { CONV_WINOGRAD4, STORE_F16, 2e-3 },
    };
    const Case c = { .op = OP_CONV, .batch = 1, .n = 1, .channels = 128, .out = 128, .groups = 1, IMAGE(12, 12, 3, 1, 1) };
    for (int i = 0; i < COUNT(limit); i++) {
        LowerOptions o = { .target = target_find("avx512"), .math = MATH_FAST, .conv = limit[i].a, .storage = limit[i].s };
        CaseError e = check_case(&c, &o, 11, 1);
        if (getenv("SALUN_SHOW"))
            printf("%s, weights %s: rms %.2g, most %.2g\n", conv_algorithm_text[limit[i].a], store_text[limit[i].s], e.rms, e.most);
        assert_true(e.rms <= limit[i].rms && e.rms > limit[i].rms / 20);
    }
}

/* ---- arithmetic in float16 ---- */

/* f16 of x -> conv.f16 -> y, by the evaluator, against the interpreter in double, which rounds x and the weights the same. */
static double half_error(const Case *c, const char *target) {
    Arena *a = arena_new(0);
    Program *p = program_new(a, "half");
    p->batch = c->batch;
    Graph *g = p->infer = graph_new(p, "infer");
    const int64_t dim[] = { c->batch, c->channels, c->in[0], c->in[1] }, w_dim[] = { c->out, c->channels, c->kernel[0], c->kernel[1] };
    Window window = window_of(c);
    Node *x = graph_input(g, "x", TYPE_F32, shape_of(true, 4, dim), 1, NULL);
    Node *w = graph_tensor(g, program_add_tensor(p, "w", shape_of(false, 4, w_dim), -1, false), NULL);
    Node *half = graph_map_integer(g, expr_input(p->exprs, 0), &x, 1, x->shape, 1, TYPE_F16, NULL);
    graph_output(g, "y", graph_conv_half(g, half, w, &window, NULL));
    passes_run(p, &(PassOptions){ .level = 0, .limit = -1, .verify = true });
    Module *m = module_lower(a, p, &(LowerOptions){ .target = target_find(target), .math = MATH_STRICT });
    Memory mem = prepare_memory(a, m, 9);
    Interp *it = interp_new(p, true, 0);
    int64_t weights = shape_count(&w->shape), count;
    double *v = NEW_ARRAY(a, double, weights), squares = 0, errors = 0;
    for (int64_t k = 0; k < weights; k++)
        v[k] = (double)mem.space[SPACE_PARAMS][p->tensors[0]->offset + k];
    assert_true(interp_set_tensor(it, p->tensors[0], v));
    assert_true(interp_set_input(it, 0, mem.space[SPACE_INPUT], TYPE_F32, shape_count(&x->shape)) && interp_run(it, g, c->batch));
    run_entry(m, &mem, ENTRY_PREPARE, c->batch);
    run_entry(m, &mem, ENTRY_INFER, c->batch);
    const double *want = interp_output(it, 0, &count);
    for (int64_t i = 0; i < count; i++) {
        squares += want[i] * want[i];
        errors += ((double)mem.space[SPACE_OUTPUT][i] - want[i]) * ((double)mem.space[SPACE_OUTPUT][i] - want[i]);
    }
    interp_destroy(it);
    arena_destroy(a);
    return sqrt(errors / squares);
}

static void test_arithmetic(void **state) {
    (void)state;
    static const char *const targets[] = { "neonfp16", "avx512fp16" };
    static const Case cases[] = {
        { .batch = 1, .channels = 128, .out = 128, .groups = 1, IMAGE(12, 12, 3, 1, 1) },
        { .batch = 2, .channels = 20, .out = 32, .groups = 1, IMAGE(9, 7, 3, 2, 1) },
        { .batch = 1, .channels = 200, .out = 61, .groups = 1, IMAGE(7, 7, 1, 1, 0) },
        { .batch = 1, .channels = 5, .out = 128, .groups = 1, IMAGE(11, 6, 5, 1, 2) },
    };
    for (int i = 0; i < COUNT(cases); i++)
        for (int t = 0; t < COUNT(targets); t++) {
            double rms = half_error(&cases[i], targets[t]);
            if (getenv("SALUN_SHOW"))
                printf("float16, %s, case %d: rms %.2g\n", targets[t], i, rms);
            assert_true(rms <= 2.5e-3 && rms > 1e-5);
        }
}

/* Half the memory; training packs float32. */
static void test_memory(void **state) {
    (void)state;
    const Case c = { .op = OP_CONV, .batch = 1, .n = 1, .channels = 64, .out = 64, .groups = 1, IMAGE(8, 8, 3, 1, 1) };
    int64_t bytes[2];
    for (int i = 0; i < 2; i++) {
        Arena *a = arena_new(0);
        bytes[i] = lower_case(a, &c, &(LowerOptions){ .target = target_find("avx2"), .math = MATH_STRICT, .storage = i ? STORE_BF16 : STORE_WHOLE })->prepared_bytes;
        arena_destroy(a);
    }
    assert_int_equal(bytes[0], 64 * 64 * 9 * 4);
    assert_int_equal(bytes[1], bytes[0] / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_value), cmocka_unit_test(test_rounding), cmocka_unit_test(test_fused),
        cmocka_unit_test(test_convolutions), cmocka_unit_test(test_errors), cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
