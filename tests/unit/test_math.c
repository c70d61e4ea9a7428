/* test_math.c - the expansions of kernel/math.c against the C library in double, in units in the last place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernel/kir_eval.h"
#include "kernel/lower.h"

enum { POINTS = 4000 };

typedef double Function(double);
typedef struct {
    ExprOp op;
    Function *exact;
    double lo, hi;
    double ulp;                  /* allowed error, in units in the last place of the exact value */
    double absolute;             /* or this much */
} Case;

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }

static const Case cases[] = {
    {EXPR_EXP, exp, -87, 88.7, 2, 0}, {EXPR_EXP, exp, -103, -87, 0, 0x1p-149},
    {EXPR_LOG, log, 1e-38, 1e38, 2, 0}, {EXPR_LOG, log, 0.5, 2, 2, 0}, {EXPR_LOG, log, 1e-44, 1e-38, 2, 0},
    {EXPR_TANH, tanh, -12, 12, 3, 0}, {EXPR_TANH, tanh, -0.7, 0.7, 3, 0},
    {EXPR_SIGMOID, sigmoid, -80, 80, 3, 0}, {EXPR_SOFTPLUS, softplus, -80, 80, 3, 0},
    {EXPR_ERF, erf, -6, 6, 3, 0}, {EXPR_ERF, erf, -1.2, 1.2, 3, 0},
    {EXPR_SIN, sin, -1e4, 1e4, 2, 0x1p-23}, {EXPR_COS, cos, -1e4, 1e4, 2, 0x1p-23},
};

static Kernel *one_operation(Arena *a, const char *target, ExprOp op) {
    Kernel *k = kernel_new(a, target_find(target), MATH_STRICT, "one", (Span){0});
    int x = kb_arg(k, "x", ELEM_F32, false, 16, ""), y = kb_arg(k, "y", ELEM_F32, false, 16, "");
    int z = kb_arg(k, "z", ELEM_F32, true, 16, "");
    Reg in = kb_load(k, ACCESS_VECTOR, x, index_const(0)), second = kb_load(k, ACCESS_VECTOR, y, index_const(0));
    kb_store(k, ACCESS_VECTOR, z, index_const(0), math_op(k, op, in, second));
    kernel_finish(k);
    return k;
}

static float apply2(Arena *a, const Kernel *k, float x, float y) {
    float in[16], second[16], out[16];
    for (int i = 0; i < 16; i++) {
        in[i] = x;
        second[i] = y;
    }
    EvalBuffer args[3] = {{in, 16}, {second, 16}, {out, 16}};
    assert_true(kernel_eval(k, args, &(EvalRun){.n = 1}, 0, writer_new(a)));
    for (int i = 1; i < k->target->width; i++)
        assert_memory_equal(&out[0], &out[i], 4);
    return out[0];
}

static double ulp_of(double value) {
    int exponent;
    frexp(value, &exponent);
    return ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

static void check_case(const Case *c, const char *target) {
    Arena *a = arena_new(0);
    Kernel *k = one_operation(a, target, c->op);
    double worst = 0, at = 0;
    for (int i = 0; i <= POINTS; i++) {
        double t = (double)i / POINTS;
        bool geometric = c->lo > 0 && c->hi / c->lo > 100;
        float x = (float)(geometric ? c->lo * pow(c->hi / c->lo, t) : c->lo + (c->hi - c->lo) * t);
        double want = c->exact(x);
        double error = fabs((double)apply2(a, k, x, 0) - want);
        if (error <= c->absolute)
            continue;
        double ulp = error / ulp_of(want);
        if (!(ulp <= worst)) {
            worst = ulp;
            at = x;
        }
    }
    if (!(worst <= c->ulp))
        fail_msg("%s on %s: %.2f ulp at %.9g", expr_info[c->op].text, target, worst, at);
    arena_destroy(a);
}

static void test_accuracy(void **state) {
    (void)state;
    for (int i = 0; i < COUNT(cases); i++) {
        check_case(&cases[i], "avx512");
        check_case(&cases[i], "portable");
    }
}

/* 2^x for x <= 0, which no operator of graphs is */
static void test_exp2(void **state) {
    (void)state;
    static const struct { float x; double want; } limits[] = {{0, 1}, {-1, 0.5}, {-125, 0x1p-125}, {-125.5f, 0x1p-125}, {-INFINITY, 0x1p-125}};
    for (int t = 0; t < 2; t++) {
        Arena *a = arena_new(0);
        Kernel *k = kernel_new(a, target_find(t ? "avx512" : "portable"), MATH_STRICT, "one", (Span){0});
        int x = kb_arg(k, "x", ELEM_F32, false, 16, ""), y = kb_arg(k, "y", ELEM_F32, false, 16, ""), z = kb_arg(k, "z", ELEM_F32, true, 16, "");
        (void)y;
        kb_store(k, ACCESS_VECTOR, z, index_const(0), math_exp2_nonpositive(k, kb_load(k, ACCESS_VECTOR, x, index_const(0))));
        kernel_finish(k);
        for (int i = 0; i <= POINTS; i++) {
            float at = (float)(-125.0 * i / POINTS);
            double error = fabs((double)apply2(a, k, at, 0) - exp2(at)) / ulp_of(exp2(at));
            if (!(error <= 2))
                fail_msg("%.2f ulp at %.9g", error, (double)at);
        }
        for (int i = 0; i < COUNT(limits); i++)
            assert_true((double)apply2(a, k, limits[i].x, 0) == limits[i].want);
        assert_true(isnan(apply2(a, k, NAN, 0)));
        arena_destroy(a);
    }
}

static void expect(ExprOp op, float x, float y, float want) {
    Arena *a = arena_new(0);
    float got = apply2(a, one_operation(a, "avx2", op), x, y);
    if (!(isnan(want) ? isnan(got) : got == want && signbit(got) == signbit(want)))
        fail_msg("%s of %g, %g gives %g, not %g", expr_info[op].text, x, y, got, want);
    arena_destroy(a);
}

static void test_limits(void **state) {
    (void)state;
    expect(EXPR_EXP, INFINITY, 0, INFINITY);
    expect(EXPR_EXP, -INFINITY, 0, 0);
    expect(EXPR_EXP, NAN, 0, NAN);
    expect(EXPR_EXP, 0, 0, 1);
    expect(EXPR_LOG, 0, 0, -INFINITY);
    expect(EXPR_LOG, -1, 0, NAN);
    expect(EXPR_LOG, INFINITY, 0, INFINITY);
    expect(EXPR_LOG, NAN, 0, NAN);
    expect(EXPR_LOG, 1, 0, 0);
    expect(EXPR_TANH, INFINITY, 0, 1);
    expect(EXPR_TANH, -INFINITY, 0, -1);
    expect(EXPR_TANH, NAN, 0, NAN);
    expect(EXPR_SIGMOID, -INFINITY, 0, 0);
    expect(EXPR_SIGMOID, INFINITY, 0, 1);
    expect(EXPR_SOFTPLUS, INFINITY, 0, INFINITY);
    expect(EXPR_ERF, -INFINITY, 0, -1);
    expect(EXPR_ERF, NAN, 0, NAN);
    expect(EXPR_POW, 2, 3, 8);
    expect(EXPR_POW, -2, 3, -8);
    expect(EXPR_POW, -2, 0.5f, NAN);
    expect(EXPR_POW, 0, 2, 0);
    expect(EXPR_POW, 5, 0, 1);
    expect(EXPR_POW, 0, -1, INFINITY);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accuracy), cmocka_unit_test(test_exp2), cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
