/* test_expr.c - rewriting and differentiating scalar expressions: random ones against their own value and
 * finite differences, saturating forms against the tables of tests/oracle in emulated float32. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/expr.h"

static Arena *arena;
static ExprPool *pool;

static int set_up(void **state) {
    (void)state;
    arena = arena_new(0);
    pool = expr_pool_new(arena);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    arena_destroy(arena);
    return 0;
}

static const Expr *in(int k) { return expr_input(pool, k); }
static const Expr *num(double v) { return expr_const(pool, v); }
static const Expr *op1(ExprOp op, const Expr *x) { return expr_make(pool, op, x, NULL, NULL); }
static const Expr *op2(ExprOp op, const Expr *x, const Expr *y) { return expr_make(pool, op, x, y, NULL); }
static const Expr *add(const Expr *x, const Expr *y) { return op2(EXPR_ADD, x, y); }
static const Expr *mul(const Expr *x, const Expr *y) { return op2(EXPR_MUL, x, y); }
static const Expr *quo(const Expr *x, const Expr *y) { return op2(EXPR_DIV, x, y); }
static const Expr *power(const Expr *x, double k) { return op2(EXPR_POW, x, num(k)); }

static const char *text(const Expr *e) {
    Writer *w = writer_new(arena);
    expr_print(w, e);
    return w->data;
}

/* ---- the activations as the prelude writes them ---- */

static const Expr *salu(const Expr *x, const Expr *a, const Expr *b) {
    return quo(mul(a, x), op1(EXPR_SQRT, add(num(1), mul(mul(a, b), power(x, 2)))));
}

static const Expr *gate(const Expr *x, const Expr *s) {
    return mul(quo(x, num(2)), add(num(1), s));
}

static const Expr *swalu(const Expr *x, const Expr *a, const Expr *b) {
    return gate(x, salu(x, a, b));
}

static const Expr *galu(const Expr *x, const Expr *a, const Expr *b) {
    const Expr *psi = mul(op1(EXPR_SQRT, quo(num(2), num(M_PI))), add(x, mul(num(0.044715), power(x, 3))));
    return gate(x, salu(psi, a, b));
}

/* ---- float32, each operation rounded ---- */

static float float_op(ExprOp op, float x, float y, float z) {
    switch (op) {
    case EXPR_ADD: return x + y;
    case EXPR_SUB: return x - y;
    case EXPR_MUL: return x * y;
    case EXPR_DIV: return x / y;
    case EXPR_NEG: return -x;
    case EXPR_SQRT: return sqrtf(x);
    case EXPR_RSQRT: return 1 / sqrtf(x);
    case EXPR_ABS: return fabsf(x);
    case EXPR_MIN: return x < y ? x : y;
    case EXPR_MAX: return x > y ? x : y;
    case EXPR_LT: return x < y;
    case EXPR_SELECT: return x != 0 ? y : z;
    default: fail_msg("operator %s is not in the test's float arithmetic", expr_info[op].text); return 0;
    }
}

static float eval_float(const Expr *e, const float *input) {
    int count;
    const Expr **nodes = expr_nodes(arena, e, &count);
    float *value = NEW_ARRAY(arena, float, count);
    for (int i = 0; i < count; i++) {
        float v[3] = { 0, 0, 0 };
        for (int k = 0; k < expr_info[nodes[i]->op].args; k++)
            v[k] = value[expr_position(nodes, count, nodes[i]->arg[k])];
        value[i] = nodes[i]->op == EXPR_CONST   ? (float)nodes[i]->value
                   : nodes[i]->op == EXPR_INPUT ? input[nodes[i]->index]
                                                : float_op(nodes[i]->op, v[0], v[1], v[2]);
    }
    return value[count - 1];
}

/* a compiled list of operations, so that the tables take no time */
typedef struct { int count; ExprOp *op; int (*arg)[3]; float *value; int *input; } Tape;

static Tape tape_of(const Expr *e) {
    Tape t;
    const Expr **nodes = expr_nodes(arena, e, &t.count);
    t.op = NEW_ARRAY(arena, ExprOp, t.count);
    t.arg = arena_alloc_array(arena, (size_t)t.count, sizeof *t.arg);
    t.value = NEW_ARRAY(arena, float, t.count);
    t.input = NEW_ARRAY(arena, int, t.count);
    for (int i = 0; i < t.count; i++) {
        t.op[i] = nodes[i]->op;
        t.input[i] = nodes[i]->index;
        t.value[i] = (float)nodes[i]->value;
        for (int k = 0; k < expr_info[t.op[i]].args; k++)
            t.arg[i][k] = expr_position(nodes, t.count, nodes[i]->arg[k]);
    }
    return t;
}

static double tape_run(Tape *t, const float *input) {
    for (int i = 0; i < t->count; i++) {
        const int *a = t->arg[i];
        if (t->op[i] == EXPR_INPUT)
            t->value[i] = input[t->input[i]];
        else if (t->op[i] != EXPR_CONST)
            t->value[i] = float_op(t->op[i], t->value[a[0]], t->value[a[1]], t->value[a[2]]);
    }
    return t->value[t->count - 1];
}

static double ulp_of(double x) {
    float f = fabsf((float)x);
    return f < 0x1p-126f ? 0x1p-149 : ldexp(1, ilogbf(f) - 23);
}

/* ---- the tables ---- */

enum { ORACLE_COLUMNS = 15 };

static FILE *oracle(void) {
    char path[4096];
    const char *slash = strrchr(__FILE__, '/');
    assert_non_null(slash);
    snprintf(path, sizeof path, "%.*s/../oracle/activations.csv", (int)(slash - __FILE__), __FILE__);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char heading[1024];
    assert_non_null(fgets(heading, sizeof heading, f));
    return f;
}

static bool oracle_row(FILE *f, double *v) {
    char line[2048], *at = line;
    if (!fgets(line, sizeof line, f))
        return false;
    for (int i = 0; i < ORACLE_COLUMNS; i++) {
        v[i] = strtod(at, &at);
        at += *at == ',';
    }
    return true;
}

static const char *const column[] = { "value", "by x", "by a", "by b" };

/* The error that the table allows for column c of function f (0 salu, 1 swalu, 2 galu). */
static double allowed(int f, int c, double x, double a, double b, double wanted) {
    double s = sqrt(a / b), far = fmax(1, fabs(x));
    if (c == 0)
        return f == 0 ? 4 * ulp_of(wanted) : 4 * ulp_of(fabs(x) * (1 + s) / 2);
    double bound = 1e-5 * fmax(1, a) * (c == 1 ? 1 : far);
    return fmax(bound, 1e-6 * fabs(wanted));
}

/* Largest error of each, as a share of the allowed one. */
static void check_table(const Expr *e[3][4], const char *what, double limit) {
    Tape tape[3][4];
    double v[ORACLE_COLUMNS], worst[3][4] = { { 0 } };
    FILE *f = oracle();
    int rows = 0;
    for (int k = 0; k < 12; k++)
        if (e[k / 4][k % 4])
            tape[k / 4][k % 4] = tape_of(e[k / 4][k % 4]);
    for (; oracle_row(f, v); rows++) {
        float input[4] = { (float)v[0], (float)v[1], (float)v[2], 0 };
        for (int k = 0; k < 12; k++) {
            if (!e[k / 4][k % 4])
                continue;
            input[3] = k < 4 ? (float)tape_run(&tape[0][0], input) : 0;
            double wanted = v[3 + k], got = tape_run(&tape[k / 4][k % 4], input);
            if (isinf(wanted))
                continue;
            double share = fabs(got - wanted) / allowed(k / 4, k % 4, v[0], v[1], v[2], wanted);
            if (!(share <= limit))
                fail_msg("%s %d %s at x %g a %g b %g: %.9g, wanted %.17g, %g of the allowed error", what, k / 4,
                         column[k % 4], v[0], v[1], v[2], got, wanted, share);
            worst[k / 4][k % 4] = fmax(worst[k / 4][k % 4], share);
        }
    }
    fclose(f);
    assert_true(rows > 1000);
    for (int k = 0; k < 3; k++)
        if (e[k][0])
            print_message("%s %d: share of the allowed error: %.3f, by x %.3f, by a %.3f, by b %.3f\n", what, k, worst[k][0],
                      worst[k][1], worst[k][2], worst[k][3]);
}

static void oracle_float(void **state) {
    (void)state;
    const Expr *f[3] = { salu(in(0), in(1), in(2)), swalu(in(0), in(1), in(2)), galu(in(0), in(1), in(2)) }, *e[3][4];
    for (int i = 0; i < 3; i++) {
        e[i][0] = expr_simplify(pool, f[i]);
        for (int k = 0; k < 3; k++)
            e[i][k + 1] = expr_derivative(pool, f[i], k);
    }
    check_table(e, "function", 1);
}

/* as a MAP holds them: what depends on a and b alone multiplied first */
static void oracle_gathered(void **state) {
    (void)state;
    const Expr *f[3] = { salu(in(0), in(1), in(2)), swalu(in(0), in(1), in(2)), galu(in(0), in(1), in(2)) }, *e[3][4];
    for (int i = 0; i < 3; i++) {
        e[i][0] = expr_gather(pool, expr_simplify(pool, f[i]), 1);
        for (int k = 0; k < 3; k++) {
            e[i][k + 1] = expr_gather(pool, expr_derivative(pool, f[i], k), 1);
            assert_string_equal(text(expr_gather(pool, expr_simplify(pool, e[i][k + 1]), 1)), text(e[i][k + 1]));
        }
    }
    check_table(e, "gathered", 1);
    for (int k = 0; k < 3; k++)
        e[0][k + 1] = expr_gather(pool, expr_derivative_from_output(pool, f[0], 0, k, 3), 1 | 8);
    for (int k = 4; k < 12; k++)
        e[k / 4][k % 4] = NULL;
    check_table(e, "gathered, from the output", 1);
}

static void gathering(void **state) {
    (void)state;
    const Expr *x = in(0), *a = in(1), *b = in(2);
    struct { const Expr *e; const char *wanted; } row[] = {
        { mul(mul(a, x), b), "i0 * (i1 * i2)" },
        { quo(x, a), "i0 * (1 / i1)" },
        { quo(mul(a, x), mul(b, b)), "i0 * (i1 / (i2 * i2))" },
        { quo(a, mul(x, b)), "(i1 / i2) / i0" },
        { add(mul(mul(a, x), b), x), "i0 + (i0 * (i1 * i2))" },
        { mul(x, x), "i0 * i0" },
        { mul(a, b), "i1 * i2" },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        assert_string_equal(text(expr_gather(pool, expr_simplify(pool, row[i].e), 1)), row[i].wanted);
    }
}

static void oracle_from_output(void **state) {
    (void)state;
    const Expr *s = salu(in(0), in(1), in(2)), *e[3][4] = { { expr_simplify(pool, s), NULL, NULL, NULL } };
    for (int k = 0; k < 3; k++) {
        e[0][k + 1] = expr_derivative_from_output(pool, s, 0, k, 3);
        assert_non_null(e[0][k + 1]);
        assert_false(expr_uses_input(e[0][k + 1], 0));
    }
    check_table(e, "from the output", 1);
}

/* ---- saturating forms ---- */

static void spellings_agree(void **state) {
    (void)state;
    const Expr *x = in(0), *a = in(1), *b = in(2), *one = num(1), *wanted = expr_simplify(pool, salu(x, a, b));
    const Expr *square = add(mul(mul(x, b), mul(x, a)), one), *root = op1(EXPR_SQRT, square);
    const Expr *same[] = {
        quo(mul(x, a), root),
        mul(a, quo(x, root)),
        mul(x, mul(a, op1(EXPR_RSQRT, square))),
        mul(mul(power(square, -0.5), a), x),
        quo(mul(a, x), power(add(one, mul(b, mul(a, mul(x, x)))), 0.5)),
        mul(mul(quo(one, root), x), a),
        op1(EXPR_NEG, quo(op1(EXPR_NEG, mul(a, x)), root)),
        quo(mul(mul(num(2), a), x), mul(num(2), root)),
        quo(mul(a, x), op1(EXPR_SQRT, op2(EXPR_SUB, one, op1(EXPR_NEG, mul(mul(a, b), power(x, 2)))))),
        wanted,
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_string_equal(text(expr_simplify(pool, same[i])), text(wanted));
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_ptr_equal(expr_simplify(pool, same[i]), wanted);
    const Expr *g = expr_simplify(pool, swalu(x, a, b));
    assert_ptr_equal(g, expr_simplify(pool, mul(mul(num(0.5), x), add(same[2], one))));
    assert_ptr_equal(g, expr_simplify(pool, quo(mul(x, add(same[3], one)), num(2))));
}

/* The pool's history has no influence: fresh pools print the same. */
static void history_is_irrelevant(void **state) {
    (void)state;
    char *first = arena_strdup(arena, text(expr_derivative(pool, galu(in(0), in(1), in(2)), 0)));
    pool = expr_pool_new(arena);
    for (int k = 9; k > 0; k--)
        mul(in(k), num(k));
    swalu(in(2), in(1), in(0));
    assert_string_equal(first, text(expr_derivative(pool, galu(in(0), in(1), in(2)), 0)));
}

static void simplify_is_idempotent(void **state) {
    (void)state;
    const Expr *f[3] = { salu(in(0), in(1), in(2)), swalu(in(0), in(1), in(2)), galu(in(0), in(1), in(2)) };
    for (int i = 0; i < 3; i++) {
        const Expr *once = expr_simplify(pool, f[i]);
        assert_ptr_equal(expr_simplify(pool, once), once);
        for (int k = 0; k < 3; k++) {
            const Expr *d = expr_derivative(pool, f[i], k);
            assert_string_equal(text(expr_simplify(pool, d)), text(d));
        }
        const Expr *with[3] = { in(0), num(0.5), num(2) };
        const Expr *fixed = expr_simplify(pool, expr_substitute(pool, once, with, 3));
        assert_ptr_equal(expr_simplify(pool, fixed), fixed);
        assert_string_equal(text(expr_simplify(pool, expr_substitute(pool, f[i], with, 3))), text(fixed));
    }
}

static void saturated_at(const Expr *e, double x, const float *params, double wanted) {
    float input[3] = { (float)x, params[0], params[1] };
    float got = eval_float(expr_simplify(pool, e), input);
    if (isnan(wanted))
        assert_true(isnan(got));
    else if (!(fabs(got - wanted) <= 4 * ulp_of(wanted)))
        fail_msg("%s at %g: %g, wanted %g", text(e), x, (double)got, wanted);
}

static void extremes(void **state) {
    (void)state;
    const Expr *x = in(0), *a = in(1), *b = in(2);
    static const double far[] = { 1e30, -1e30, 3e38, -3e38, INFINITY, -INFINITY, NAN, 1e-42, -1e-45, 0 };
    static const float params[][2] = { { 1, 1 }, { 0.5f, 2 }, { 1e-3f, 1e3f }, { 2, 1e-6f }, { 1e6f, 1e6f } };
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 5; k++) {
            double pa = params[k][0], pb = params[k][1], v = (float)far[i];
            double s = isinf(v) ? copysign(sqrt(pa / pb), v) : pa * v / sqrt(1 + pa * pb * v * v);
            saturated_at(salu(x, a, b), v, params[k], s);
            double root = isinf(v) ? copysign(1, v) : v / sqrt(3 + v * v);   /* no parameters; a constant other than 1 */
            saturated_at(quo(x, op1(EXPR_SQRT, add(num(3), power(x, 2)))), v, params[k], root);
            /* the parameter squared: the inner value is a x */
            double scaled = isinf(v) ? copysign(1, v) : pa * v / sqrt(1 + pa * pa * v * v);
            saturated_at(quo(mul(a, x), op1(EXPR_SQRT, add(num(1), mul(power(a, 2), power(x, 2))))), v, params[k], scaled);
        }
    }
}

/* What only looks similar stays as it is. */
static void no_false_forms(void **state) {
    (void)state;
    const Expr *x = in(0), *v = in(1);
    const Expr *other[] = {
        quo(x, op1(EXPR_SQRT, add(num(1e-5), v))),                           /* batchnorm */
        quo(x, op1(EXPR_SQRT, op2(EXPR_SUB, num(1), power(x, 2)))),          /* B < 0 */
        quo(x, op1(EXPR_SQRT, add(num(-1), power(x, 2)))),                   /* c < 0 */
        quo(x, add(num(1), power(x, 2))),
        quo(v, op1(EXPR_SQRT, add(num(1), power(x, 2)))),
        quo(x, op1(EXPR_SQRT, add(num(1), mul(op1(EXPR_EXP, x), power(x, 2))))),
    };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_null(strstr(text(expr_simplify(pool, other[i])), "max"));
}

/* ---- particular rules ---- */

static void rules(void **state) {
    (void)state;
    const Expr *x = in(0), *y = in(1);
    struct { const Expr *e; const char *wanted; } row[] = {
        { add(x, num(0)), "i0" },
        { mul(num(1), x), "i0" },
        { mul(x, num(0)), "0" },
        { op1(EXPR_NEG, op1(EXPR_NEG, x)), "i0" },
        { add(num(2), add(x, num(3))), "5 + i0" },
        { op2(EXPR_SUB, add(x, num(3)), num(3)), "i0" },
        { mul(num(2), mul(x, num(3))), "6 * i0" },
        { power(x, 0), "1" },
        { power(x, 1), "i0" },
        { power(x, 2), "i0 * i0" },
        { power(x, -1), "1 / i0" },
        { power(x, 0.5), "sqrt(i0)" },
        { power(x, -0.5), "rsqrt(i0)" },
        { power(x, 1.5), "i0 * sqrt(i0)" },
        { mul(y, quo(num(1), x)), "i1 / i0" },
        { quo(x, num(4)), "0.25 * i0" },
        { op2(EXPR_SUB, x, x), "0" },
        { add(mul(num(2), x), mul(x, num(3))), "5 * i0" },
        { expr_make(pool, EXPR_SELECT, op2(EXPR_LT, num(1), num(2)), x, y), "i0" },
        { expr_make(pool, EXPR_SELECT, op2(EXPR_LT, x, y), x, x), "i0" },
        { op1(EXPR_DETACH, op1(EXPR_DETACH, x)), "detach(i0)" },
        { op1(EXPR_EXP, num(0)), "1" },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        assert_string_equal(text(expr_simplify(pool, row[i].e)), row[i].wanted);
    }
}

/* ---- random expressions ---- */

static uint64_t seed = 1;

static double uniform(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) * 0x1p-53;
}

static int below(int n) { return (int)(uniform() * n); }

enum { INPUTS = 3 };

static const Expr *random_leaf(void) {
    static const double constants[] = { 0, 1, -1, 2, 0.5, -0.5, 3, 0.1, -2, 1.5 };
    return below(3) ? in(below(INPUTS)) : num(constants[below(10)]);
}

static const Expr *random_expr(int depth) {
    static const ExprOp unary[] = { EXPR_NEG, EXPR_SQRT, EXPR_EXP, EXPR_TANH, EXPR_SIGMOID, EXPR_SIN, EXPR_COS, EXPR_ERF,
                                    EXPR_RSQRT, EXPR_LOG, EXPR_SOFTPLUS, EXPR_ABS };
    static const double powers[] = { 2, 3, -1, 0.5, -0.5, 1.5, 4, -2, 0, 1 };
    if (depth == 0 || below(8) == 0)
        return random_leaf();
    switch (below(10)) {
    case 0: case 1: return add(random_expr(depth - 1), random_expr(depth - 1));
    case 2: return op2(EXPR_SUB, random_expr(depth - 1), random_expr(depth - 1));
    case 3: case 4: case 5: return mul(random_expr(depth - 1), random_expr(depth - 1));
    case 6: return quo(random_expr(depth - 1), random_expr(depth - 1));
    case 7: return power(random_expr(depth - 1), powers[below(10)]);
    case 8: return op1(unary[below(12)], random_expr(depth - 1));
    default:
        if (below(2))
            return op2(below(2) ? EXPR_MIN : EXPR_MAX, random_expr(depth - 1), random_expr(depth - 1));
        return expr_make(pool, EXPR_SELECT, op2(EXPR_LT, in(below(INPUTS)), num(uniform() - 0.5)), random_expr(depth - 1),
                         random_expr(depth - 1));
    }
}

/* e in double where every node's value is off by up to noise relative to itself */
static double eval_noisy(const Expr *e, const double *input, double noise) {
    int count;
    Arena *scratch = arena_new(0);
    ExprPool *own = expr_pool_new(scratch);
    const Expr **nodes = expr_nodes(scratch, e, &count);
    double *value = NEW_ARRAY(scratch, double, count);
    for (int i = 0; i < count; i++) {
        double v[3] = { 0, 0, 0 };
        const Expr *arg[3] = { NULL, NULL, NULL };
        for (int k = 0; k < expr_info[nodes[i]->op].args; k++) {
            v[k] = value[expr_position(nodes, count, nodes[i]->arg[k])];
            arg[k] = expr_input(own, k);
        }
        value[i] = arg[0] ? expr_fold(expr_make(own, nodes[i]->op, arg[0], arg[1], arg[2]), v, NULL)
                          : expr_fold(nodes[i], input, NULL);
        if (nodes[i]->op != EXPR_LT && nodes[i]->op != EXPR_CONST && nodes[i]->op != EXPR_INPUT)
            value[i] *= 1 + noise * (2 * uniform() - 1);
    }
    double result = value[count - 1];
    arena_destroy(scratch);
    return result;
}

/* Every node's value is finite. */
static bool all_finite(const Expr *e, const double *input) {
    int count;
    const Expr **nodes = expr_nodes(arena, e, &count);
    for (int i = 0; i < count; i++)
        if (!isfinite(expr_fold(nodes[i], input, NULL)))
            return false;
    return true;
}

/* How far noise of 1e-13 in every operation moves the value. */
static double sensitivity(const Expr *e, const double *input, double value) {
    double spread = 1e-13 * fabs(value);
    for (int i = 0; i < 6; i++)
        spread = fmax(spread, fabs(eval_noisy(e, input, 1e-13) - value));
    return spread;
}

static void random_simplified(void **state) {
    (void)state;
    int checked = 0;
    for (int i = 0; i < 4000; i++) {
        const Expr *e = random_expr(5), *s = expr_simplify(pool, e);
        assert_ptr_equal(s, expr_simplify(pool, e));
        if (i % 2)
            s = expr_gather(pool, s, (uint64_t)below(8));
        for (int k = 0; k < 4; k++) {
            double input[INPUTS] = { 4 * uniform() - 2, 3 * uniform(), 0.25 + 2 * uniform() };
            double wanted = expr_fold(e, input, NULL), got = expr_fold(s, input, NULL);
            if (!all_finite(e, input))
                continue;
            double spread = sensitivity(e, input, wanted);
            if (!(spread < 1e-6 * fmax(1, fabs(wanted))))
                continue;
            checked++;
            if (!(fabs(got - wanted) <= 20 * spread + 1e-13))
                fail_msg("%s\nis %.17g, simplified %.17g:\n%s", text(e), wanted, got, text(s));
        }
    }
    assert_true(checked > 8000);
}

static double difference(const Expr *e, const double *input, int k, double h) {
    double at[INPUTS], d[4];
    static const double step[4] = { -2, -1, 1, 2 };
    for (int i = 0; i < 4; i++) {
        memcpy(at, input, sizeof at);
        at[k] += step[i] * h;
        d[i] = expr_fold(e, at, NULL);
    }
    return (d[0] - 8 * d[1] + 8 * d[2] - d[3]) / (12 * h);
}

static void random_derivatives(void **state) {
    (void)state;
    int checked = 0;
    for (int i = 0; i < 3000; i++) {
        const Expr *e = random_expr(4);
        int k = below(INPUTS);
        const Expr *d = expr_derivative(pool, e, k);
        double input[INPUTS] = { 4 * uniform() - 2, 0.1 + 3 * uniform(), 0.25 + 2 * uniform() };
        double coarse = difference(e, input, k, 2e-4), fine = difference(e, input, k, 1e-4);
        double got = expr_fold(d, input, NULL), size = fmax(1, fabs(fine));
        if (!(fabs(coarse - fine) <= 1e-7 * size) || !all_finite(e, input) || !isfinite(got))
            continue;
        checked++;
        if (fabs(got - fine) > 1e-5 * size)
            fail_msg("%s\nby i%d is %.12g, got %.12g:\n%s", text(e), k, fine, got, text(d));
    }
    assert_true(checked > 1500);
}

static void recovery(void **state) {
    (void)state;
    const Expr *x = in(0), *zero = num(0), *positive = op2(EXPR_LT, zero, x);
    struct { const Expr *e; const char *wanted; } row[] = {
        { op1(EXPR_TANH, x), "1 - (i3 * i3)" },
        { op1(EXPR_EXP, x), "i3" },
        { op1(EXPR_SIGMOID, x), "(1 - i3) * i3" },
        { op2(EXPR_MAX, zero, x), "1 if (0 < i3) else 0" },
        { expr_make(pool, EXPR_SELECT, positive, x, zero), "1 if (0 < i3) else 0" },
        { expr_make(pool, EXPR_SELECT, positive, x, mul(in(1), x)), "1 if (0 < i0) else i1" },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        assert_string_equal(text(expr_recover(pool, row[i].e, expr_derivative(pool, row[i].e, 0), 3)), row[i].wanted);
}

/* The branch that is not taken has no part in the derivative, whatever it is. */
static void choices(void **state) {
    (void)state;
    const Expr *x = in(0), *root = op1(EXPR_SQRT, x), *e[] = {
        expr_make(pool, EXPR_SELECT, op2(EXPR_LT, num(0), x), root, num(0)),
        op2(EXPR_MAX, num(0), op2(EXPR_MIN, op1(EXPR_EXP, x), num(0))),
        expr_make(pool, EXPR_SELECT, op2(EXPR_LT, x, num(1)), num(2), op1(EXPR_LOG, x)),
    };
    double negative = -1, huge = 1000, small = -1e300;
    assert_true(expr_fold(expr_derivative(pool, e[0], 0), &negative, NULL) == 0);
    assert_true(expr_fold(expr_derivative(pool, e[1], 0), &huge, NULL) == 0);
    assert_true(expr_fold(expr_derivative(pool, e[2], 0), &small, NULL) == 0);
}

/* every operator by itself, by each argument, at smooth points */
static void operator_derivatives(void **state) {
    (void)state;
    for (int op = EXPR_COORD + 1; op < EXPR_OP_COUNT; op++) {
        int args = expr_info[op].args;
        if (op == EXPR_DETACH)
            continue;
        const Expr *e = expr_make(pool, op, in(0), args > 1 ? in(1) : NULL, args > 2 ? in(2) : NULL);
        for (int k = 0; k < args; k++) {
            double input[INPUTS] = { 0.7, 1.3, 0.4 };
            double wanted = difference(e, input, k, 1e-4), got = expr_fold(expr_derivative(pool, e, k), input, NULL);
            if (!(fabs(got - wanted) <= 1e-8))
                fail_msg("%s by argument %d: %.12g, got %.12g", expr_info[op].text, k, wanted, got);
        }
    }
    assert_string_equal(text(expr_derivative(pool, mul(op1(EXPR_DETACH, in(0)), in(0)), 0)), "detach(i0)");
}

/* depth is no limit, and work grows with the number of nodes */
static void deep_chains(void **state) {
    (void)state;
    const Expr *sum = in(0), *product = in(0), *root = in(0);
    for (int i = 0; i < 20000; i++) {
        sum = add(mul(sum, num(0.5)), in(1 + i % 2));
        product = mul(product, in(i % 3));
        root = op1(EXPR_SQRT, add(num(1), root));
    }
    double input[3] = { 1, 1, 1 };
    assert_true(isfinite(expr_fold(expr_simplify(pool, sum), input, NULL)));
    assert_true(expr_fold(expr_simplify(pool, product), input, NULL) == 1);
    assert_true(expr_fold(expr_gather(pool, expr_simplify(pool, product), 1), input, NULL) == 1);
    assert_true(isfinite(expr_fold(expr_derivative(pool, root, 0), input, NULL)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rules, set_up, tear_down),
        cmocka_unit_test_setup_teardown(spellings_agree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(history_is_irrelevant, set_up, tear_down),
        cmocka_unit_test_setup_teardown(simplify_is_idempotent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(extremes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_false_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(oracle_float, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gathering, set_up, tear_down),
        cmocka_unit_test_setup_teardown(oracle_gathered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(oracle_from_output, set_up, tear_down),
        cmocka_unit_test_setup_teardown(choices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(recovery, set_up, tear_down),
        cmocka_unit_test_setup_teardown(operator_derivatives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_simplified, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_derivatives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deep_chains, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
