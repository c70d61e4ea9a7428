/* derive.c - derivatives of scalar expressions, forward over the nodes: each operator by its row of expr.def,
 * the guarded form g = T / sqrt(1 + B T^2) of saturate.c as a whole, with u = 1 / (1 + B T^2):
 *   dg/dt = u^(3/2), 0 where t is beyond its limit;   dg/dB = -g^3 / 2
 * so that nothing overflows before the result would, and B may be 0 or less where 1 + B t^2 is not. */
#include "graph/simple.h"

#include <assert.h>
#include <math.h>

#define v_neg(x)          simple_make(p, EXPR_NEG, x, NULL, NULL)
#define v_exp(x)          simple_make(p, EXPR_EXP, x, NULL, NULL)
#define v_log(x)          simple_make(p, EXPR_LOG, x, NULL, NULL)
#define v_sin(x)          simple_make(p, EXPR_SIN, x, NULL, NULL)
#define v_cos(x)          simple_make(p, EXPR_COS, x, NULL, NULL)
#define v_abs(x)          simple_make(p, EXPR_ABS, x, NULL, NULL)
#define v_sqrt(x)         simple_make(p, EXPR_SQRT, x, NULL, NULL)
#define v_sigmoid(x)      simple_make(p, EXPR_SIGMOID, x, NULL, NULL)
#define v_add(x, y)       simple_make(p, EXPR_ADD, x, y, NULL)
#define v_sub(x, y)       simple_make(p, EXPR_SUB, x, y, NULL)
#define v_mul(x, y)       simple_make(p, EXPR_MUL, x, y, NULL)
#define v_div(x, y)       simple_make(p, EXPR_DIV, x, y, NULL)
#define v_pow(x, y)       simple_make(p, EXPR_POW, x, y, NULL)
#define v_max(x, y)       simple_make(p, EXPR_MAX, x, y, NULL)
#define v_lt(x, y)        simple_make(p, EXPR_LT, x, y, NULL)
#define v_select(c, x, y) simple_make(p, EXPR_SELECT, c, x, y)
#define v_const(value)    expr_const(p, value)
#define ZERO              expr_const(p, 0)
#define ONE               expr_const(p, 1)

/* The table's columns; each is built only when asked for, since building one may fold constants into NaN. */
static const Expr *partial(ExprPool *p, const Expr *R, int which) {
    const Expr *X = R->arg[0], *Y = R->arg[1], *Z = R->arg[2];
    (void)Y;
    (void)Z;
    switch (R->op) {
#define EXPR(id, text, n, value, dx, dy, dz)                                                                           \
    case EXPR_##id:                                                                                                    \
        return which == 0 ? (dx) : which == 1 ? (dy) : (dz);
#include "graph/expr.def"
    default: assert(!"an operator of expr.def"); return ZERO;
    }
}

static const Expr *zero_beyond(ExprPool *p, Saturating s, const Expr *e) {
    return v_select(v_lt(saturating_limit(p, s.bend), v_abs(s.inner)), ZERO, e);
}

/* Where t is the input itself, u^(3/2) alone is 0 beyond the limit; else dt may be infinite there. */
static const Expr *derive_core(ExprPool *p, const Expr *core, Saturating s, const Expr *dt, const Expr *db) {
    const Expr *square = saturating_make_square(p, s), *root = expr_make(p, EXPR_SQRT, square, NULL, NULL);
    const Expr *by_inner = v_div(dt, expr_make(p, EXPR_MUL, square, root, NULL));
    if (!expr_is_const(dt, 0) && dt->op != EXPR_CONST)
        by_inner = zero_beyond(p, s, by_inner);
    const Expr *cube = v_mul(v_mul(core, core), core);
    return v_add(by_inner, v_mul(v_mul(v_const(-0.5), db), cube));
}

/* partial * inner, chosen rather than multiplied by 0 or 1: the branch not taken may be infinite. */
static const Expr *chain(ExprPool *p, const Expr *partial, const Expr *inner) {
    if (partial->op != EXPR_SELECT || (partial->arg[1]->op != EXPR_CONST && partial->arg[2]->op != EXPR_CONST))
        return v_mul(partial, inner);
    return v_select(partial->arg[0], chain(p, partial->arg[1], inner), chain(p, partial->arg[2], inner));
}

static const Expr *plus(ExprPool *p, const Expr *x, const Expr *y) {
    if (x->op != EXPR_SELECT || y->op != EXPR_SELECT || x->arg[0] != y->arg[0])
        return v_add(x, y);
    return v_select(x->arg[0], v_add(x->arg[1], y->arg[1]), v_add(x->arg[2], y->arg[2]));
}

/* d e / d input[k], e simplified */
static const Expr *derive(ExprPool *p, const Expr *e, int k) {
    Arena *scratch = arena_new(0);
    int count;
    const Expr **nodes = expr_nodes(scratch, e, &count);
    const Expr **d = NEW_ARRAY(scratch, const Expr *, count);
    for (int i = 0; i < count; i++) {
        const Expr *x = nodes[i];
        Saturating s;
        d[i] = x->op == EXPR_INPUT && x->index == k ? ONE : ZERO;
        if (k >= x->input_limit)
            continue;
        if (saturating_core(x, &s)) {
            const Expr *db = d[expr_position(nodes, count, s.bend)];
            d[i] = derive_core(p, x, s, d[expr_position(nodes, count, s.inner)], db);
            continue;
        }
        for (int a = 0; a < expr_info[x->op].args; a++) {
            const Expr *inner = d[expr_position(nodes, count, x->arg[a])];
            if (!expr_is_const(inner, 0))
                d[i] = plus(p, d[i], chain(p, partial(p, x, a), inner));
        }
    }
    const Expr *result = d[count - 1];
    arena_destroy(scratch);
    return result;
}

const Expr *expr_derivative(ExprPool *p, const Expr *e, int k) {
    return expr_simplify(p, derive(p, expr_simplify(p, e), k));
}

bool expr_recoverable(ExprPool *p, const Expr *e, int x_input, uint64_t *nonzero) {
    const Expr *a, *b;
    Product scale;
    if (!saturating_of_input(p, expr_simplify(p, e), x_input, &a, &b) || !product_of(a, &scale) || a->input_limit > 64)
        return false;
    for (int i = 0; i < scale.count; i++)
        if (scale.f[i].base->op != EXPR_INPUT)
            return false;
    *nonzero = a->inputs;
    return true;
}

/* by x: A u^(3/2) with u = 1 - (B / A^2) y^2; by k: A' y/A - B' y^3 / (2 A^2) */
const Expr *expr_derivative_from_output(ExprPool *p, const Expr *e, int x_input, int k, int y_input) {
    const Expr *a, *b, *result;
    Product scale, square, ratio;
    if (!saturating_of_input(p, expr_simplify(p, e), x_input, &a, &b))
        return NULL;
    const Expr *y = expr_input(p, y_input);
    if (k == x_input) {
        if (!product_of(a, &scale) || !product_of(b, &ratio) || !product_times(&ratio, &scale, -4))
            return NULL;
        const Expr *u = v_max(ZERO, v_sub(ONE, v_mul(product_build(p, &ratio), v_mul(y, y))));
        result = v_mul(a, v_mul(u, v_sqrt(u)));
    } else {
        const Expr *da = derive(p, a, k), *db = derive(p, b, k);
        if (!product_of(da, &scale) || !product_of(a, &square) || !product_times(&scale, &square, -2))
            return NULL;
        Product curve;
        if (!product_of(db, &curve) || !product_times(&curve, &square, -4))
            return NULL;
        const Expr *along = expr_is_const(da, 0) ? ZERO : v_mul(product_build(p, &scale), y);
        const Expr *across = expr_is_const(db, 0) ? ZERO : v_mul(product_build(p, &curve), v_mul(v_mul(y, y), y));
        result = v_sub(along, v_mul(v_const(0.5), across));
    }
    return expr_simplify(p, result);
}

/* ---- values and tests read off the result ---- */

/* `c < x` of e = max(c, x) or `x if c < x else c`: it holds where c < e does. NULL for anything else. */
static const Expr *rectifier_test(ExprPool *p, const Expr *e) {
    if (e->op == EXPR_MAX && e->arg[0]->op == EXPR_CONST)
        return v_lt(e->arg[0], e->arg[1]);
    const Expr *test = e->op == EXPR_SELECT ? e->arg[0] : NULL;
    if (!test || test->op != EXPR_LT || test->arg[0]->op != EXPR_CONST)
        return NULL;
    return test->arg[1] == e->arg[1] && test->arg[0] == e->arg[2] ? test : NULL;
}

const Expr *expr_recover(ExprPool *p, const Expr *e, const Expr *d, int y_input) {
    Arena *scratch = arena_new(0);
    int count;
    e = expr_simplify(p, e);
    const Expr *y = expr_input(p, y_input), *test = rectifier_test(p, e);
    const Expr **nodes = expr_nodes(scratch, d, &count);
    const Expr **now = NEW_ARRAY(scratch, const Expr *, count);
    for (int i = 0; i < count; i++) {
        const Expr *arg[3] = { NULL, NULL, NULL };
        for (int k = 0; k < expr_info[nodes[i]->op].args; k++)
            arg[k] = now[expr_position(nodes, count, nodes[i]->arg[k])];
        now[i] = nodes[i] == e      ? y
                 : nodes[i] == test ? v_lt(test->arg[0], y)
                 : arg[0]           ? expr_make(p, nodes[i]->op, arg[0], arg[1], arg[2])
                                    : nodes[i];
    }
    d = now[count - 1];
    arena_destroy(scratch);
    return d;
}
