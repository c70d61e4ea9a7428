/* simplify.c - equal expressions with fewer operations.
 * Two rounds over the nodes in order of evaluation: local rules (simple_make), then saturating forms, looked
 * for in whole products (saturate.c). The result depends on the formula alone, not on what the pool saw
 * before; it may differ from the original by a few roundings, and is no NaN where the original was none. */
#include "graph/simple.h"

#include <assert.h>
#include <float.h>
#include <math.h>

enum { MAX_POWER = 16, CONSTANT_DEPTH = 6 };

bool expr_is_const(const Expr *e, double value) {
    return e->op == EXPR_CONST && e->value == value;
}

/* Two different nodes of a pool differ somewhere below; the walk goes down to the first such place. */
int expr_compare(const Expr *a, const Expr *b) {
    while (a != b) {
        if (a->op != b->op)
            return a->op < b->op ? -1 : 1;
        if (a->op == EXPR_CONST)
            return a->value < b->value ? -1 : a->value > b->value ? 1 : signbit(a->value) ? -1 : 1;
        if (expr_info[a->op].args == 0)
            return a->index < b->index ? -1 : 1;
        int i = 0;
        while (a->arg[i] == b->arg[i])
            i++;
        const Expr *x = a->arg[i], *y = b->arg[i];
        a = x;
        b = y;
    }
    return 0;
}

static const Expr *make1(ExprPool *p, ExprOp op, const Expr *x) { return simple_make(p, op, x, NULL, NULL); }
static const Expr *make2(ExprPool *p, ExprOp op, const Expr *x, const Expr *y) { return simple_make(p, op, x, y, NULL); }

static const Expr *sorted(ExprPool *p, ExprOp op, const Expr *x, const Expr *y) {
    return expr_compare(x, y) <= 0 ? expr_make(p, op, x, y, NULL) : expr_make(p, op, y, x, NULL);
}

/* ---- the constant of a product ---- */

static bool is_core(const Expr *e) {
    Saturating s;
    return saturating_core(e, &s);
}

/* Constants that survive float32 with full precision. */
static bool is_tame(double c) {
    return fabs(c) >= FLT_MIN && fabs(c) <= FLT_MAX / 2;
}

/* e = *c * result; NULL for the result 1. Looks a few levels deep, where apply_constant puts constants. */
static const Expr *strip_constant(ExprPool *p, const Expr *e, double *c, int depth) {
    double cx = 1, cy = 1;
    *c = 1;
    if (e->op == EXPR_CONST) {
        *c = e->value;
        return NULL;
    }
    if (depth == 0 || is_core(e) || (e->op != EXPR_NEG && e->op != EXPR_MUL && e->op != EXPR_DIV))
        return e;
    const Expr *x = strip_constant(p, e->arg[0], &cx, depth - 1), *y = NULL;
    if (e->op == EXPR_NEG) {
        *c = -cx;
        return x;
    }
    if (e->op == EXPR_DIV) {
        *c = cx;
        return cx == 1 ? e : expr_make(p, EXPR_DIV, x ? x : expr_const(p, 1), e->arg[1], NULL);
    }
    y = strip_constant(p, e->arg[1], &cy, depth - 1);
    *c = cx * cy;
    if (cx == 1 && cy == 1)
        return e;
    return x && y ? sorted(p, EXPR_MUL, x, y) : x ? x : y;
}

/* Which operand of a product takes the constant: the one free of its first input, which is what varies most
 * (an activation's x comes before its parameters), so that the rest is computed outside of loops. */
static int constant_side(const Expr *e) {
    uint64_t all = e->inputs, first = all & -all;
    for (int i = 0; i < 2; i++)
        if (!(e->arg[i]->inputs & first) && !is_core(e->arg[i]))
            return i;
    return is_core(e->arg[0]);
}

/* c * e for an e without constants: c goes to a factor, where it is likely to meet parameters. */
static const Expr *apply_constant(ExprPool *p, double c, const Expr *e, int depth) {
    if (c == 1)
        return e;
    if (c == -1 && e->op == EXPR_SUB)
        return expr_make(p, EXPR_SUB, e->arg[1], e->arg[0], NULL);
    if (e->op == EXPR_DIV && expr_is_const(e->arg[0], 1))
        return expr_make(p, EXPR_DIV, expr_const(p, c), e->arg[1], NULL);
    if (c == -1)
        return expr_make(p, EXPR_NEG, e, NULL, NULL);
    if (depth > 0 && e->op == EXPR_DIV && !is_core(e))
        return expr_make(p, EXPR_DIV, apply_constant(p, c, e->arg[0], depth - 1), e->arg[1], NULL);
    if (depth > 0 && e->op == EXPR_MUL && !is_core(e->arg[constant_side(e)])) {
        int side = constant_side(e);
        const Expr *scaled = apply_constant(p, c, e->arg[side], depth - 1);
        return side ? expr_make(p, EXPR_MUL, e->arg[0], scaled, NULL) : expr_make(p, EXPR_MUL, scaled, e->arg[1], NULL);
    }
    return expr_make(p, EXPR_MUL, expr_const(p, c), e, NULL);
}

static bool is_reciprocal(const Expr *e) {
    return e->op == EXPR_DIV && expr_is_const(e->arg[0], 1);
}

static const Expr *simple_mul(ExprPool *p, const Expr *x, const Expr *y) {
    double cx, cy;
    if (expr_is_const(x, 0) || expr_is_const(y, 0))
        return expr_const(p, 0);
    const Expr *rx = strip_constant(p, x, &cx, CONSTANT_DEPTH), *ry = strip_constant(p, y, &cy, CONSTANT_DEPTH);
    double c = cx * cy;
    if (!is_tame(cx) || !is_tame(cy) || !is_tame(c)) {
        if (expr_is_const(x, 1) || expr_is_const(y, 1))
            return expr_is_const(x, 1) ? y : x;
        return sorted(p, EXPR_MUL, x, y);
    }
    if (!rx || !ry)
        return rx || ry ? apply_constant(p, c, rx ? rx : ry, CONSTANT_DEPTH - 1) : expr_const(p, c);
    if (is_reciprocal(rx) && is_reciprocal(ry))
        return apply_constant(p, c, make2(p, EXPR_DIV, rx->arg[0], make2(p, EXPR_MUL, rx->arg[1], ry->arg[1])), CONSTANT_DEPTH - 1);
    if (is_reciprocal(rx) || is_reciprocal(ry)) {
        const Expr *over = is_reciprocal(rx) ? rx : ry;
        const Expr *quotient = make2(p, EXPR_DIV, over == rx ? ry : rx, over->arg[1]);
        return apply_constant(p, c, quotient, CONSTANT_DEPTH - 1);
    }
    return apply_constant(p, c, sorted(p, EXPR_MUL, rx, ry), CONSTANT_DEPTH - 1);
}

/* 1 / y */
static const Expr *reciprocal(ExprPool *p, const Expr *y) {
    if (y->op == EXPR_SQRT)
        return make1(p, EXPR_RSQRT, y->arg[0]);
    if (y->op == EXPR_RSQRT)
        return make1(p, EXPR_SQRT, y->arg[0]);
    return is_reciprocal(y) ? y->arg[1] : expr_make(p, EXPR_DIV, expr_const(p, 1), y, NULL);
}

static const Expr *simple_div(ExprPool *p, const Expr *x, const Expr *y) {
    double cx, cy;
    if (expr_is_const(y, 1) || (expr_is_const(x, 0) && !expr_is_const(y, 0)))
        return x;
    const Expr *rx = strip_constant(p, x, &cx, CONSTANT_DEPTH), *ry = strip_constant(p, y, &cy, CONSTANT_DEPTH);
    if (!is_tame(cx) || !is_tame(cy) || !is_tame(cx / cy))
        return expr_make(p, EXPR_DIV, x, y, NULL);
    double c = cx / cy;
    const Expr *rest = !ry ? rx : rx ? expr_make(p, EXPR_DIV, rx, ry, NULL) : reciprocal(p, ry);
    return rest ? apply_constant(p, c, rest, CONSTANT_DEPTH - 1) : expr_const(p, c);
}

static const Expr *simple_neg(ExprPool *p, const Expr *x) {
    double c;
    const Expr *rest = strip_constant(p, x, &c, CONSTANT_DEPTH);
    return rest ? apply_constant(p, -c, rest, CONSTANT_DEPTH - 1) : expr_const(p, -c);
}

/* ---- sums ---- */

/* d and b of `d + b` (sign 1) or `d - b` (sign -1) */
static bool is_offset(const Expr *e, double *d, int *sign, const Expr **b) {
    if ((e->op != EXPR_ADD && e->op != EXPR_SUB) || e->arg[0]->op != EXPR_CONST)
        return false;
    *d = e->arg[0]->value;
    *sign = e->op == EXPR_ADD ? 1 : -1;
    *b = e->arg[1];
    return true;
}

/* c + sign * e */
static const Expr *offset(ExprPool *p, double c, int sign, const Expr *e) {
    double d;
    int inner;
    const Expr *b;
    if (is_offset(e, &d, &inner, &b)) {
        c += sign * d;
        sign *= inner;
        e = b;
    } else if (e->op == EXPR_NEG) {
        sign = -sign;
        e = e->arg[0];
    }
    if (c == 0)
        return sign > 0 ? e : simple_neg(p, e);
    return expr_make(p, sign > 0 ? EXPR_ADD : EXPR_SUB, expr_const(p, c), e, NULL);
}

/* c x + sign * d x as (c + sign * d) x; NULL where the terms are not alike */
static const Expr *like_terms(ExprPool *p, const Expr *x, const Expr *y, int sign) {
    double c, d;
    const Expr *rest = strip_constant(p, x, &c, CONSTANT_DEPTH);
    if (rest != strip_constant(p, y, &d, CONSTANT_DEPTH) || !rest)
        return NULL;
    return simple_mul(p, expr_const(p, c + sign * d), rest);
}

static const Expr *simple_add(ExprPool *p, const Expr *x, const Expr *y) {
    if (x->op == EXPR_CONST || y->op == EXPR_CONST)
        return x->op == EXPR_CONST ? offset(p, x->value, 1, y) : offset(p, y->value, 1, x);
    if (y->op == EXPR_NEG)
        return make2(p, EXPR_SUB, x, y->arg[0]);
    if (x->op == EXPR_NEG)
        return make2(p, EXPR_SUB, y, x->arg[0]);
    const Expr *alike = like_terms(p, x, y, 1);
    return alike ? alike : sorted(p, EXPR_ADD, x, y);
}

static const Expr *simple_sub(ExprPool *p, const Expr *x, const Expr *y) {
    if (y->op == EXPR_CONST)
        return offset(p, -y->value, 1, x);
    if (x->op == EXPR_CONST)
        return offset(p, x->value, -1, y);
    if (y->op == EXPR_NEG)
        return simple_add(p, x, y->arg[0]);
    if (x->op == EXPR_NEG)
        return simple_neg(p, simple_add(p, x->arg[0], y));
    const Expr *alike = like_terms(p, x, y, -1);
    return alike ? alike : expr_make(p, EXPR_SUB, x, y, NULL);
}

/* ---- powers ---- */

static const Expr *whole_power(ExprPool *p, const Expr *x, int power) {
    const Expr *result = NULL;
    for (; power; power /= 2) {
        if (power % 2)
            result = result ? simple_mul(p, result, x) : x;
        if (power > 1)
            x = simple_mul(p, x, x);
    }
    return result ? result : expr_const(p, 1);
}

const Expr *simple_power(ExprPool *p, const Expr *x, int twice) {
    int positive = twice < 0 ? -twice : twice;
    const Expr *result = whole_power(p, x, positive / 2);
    if (positive % 2)
        result = make2(p, EXPR_MUL, result, make1(p, EXPR_SQRT, x));
    return twice < 0 ? make2(p, EXPR_DIV, expr_const(p, 1), result) : result;
}

static const Expr *simple_pow(ExprPool *p, const Expr *x, const Expr *y) {
    if (y->op == EXPR_CONST && fabs(y->value) <= MAX_POWER && y->value * 2 == floor(y->value * 2))
        return simple_power(p, x, (int)(y->value * 2));
    return expr_make(p, EXPR_POW, x, y, NULL);
}

/* ---- choices ---- */

static bool is_truth(const Expr *e) {
    return (e->op >= EXPR_LT && e->op <= EXPR_NOT) || expr_is_const(e, 0) || expr_is_const(e, 1);
}

static const Expr *simple_logic(ExprPool *p, ExprOp op, const Expr *x, const Expr *y) {
    for (int i = 0; i < 2; i++) {
        const Expr *known = i ? y : x, *other = i ? x : y;
        if (known->op != EXPR_CONST)
            continue;
        if ((known->value != 0) == (op == EXPR_OR))
            return expr_const(p, op == EXPR_OR);
        if (is_truth(other))
            return other;
    }
    return x == y && is_truth(x) ? x : expr_make(p, op, x, y, NULL);
}

static const Expr *simple_select(ExprPool *p, const Expr *c, const Expr *x, const Expr *y) {
    if (c->op == EXPR_CONST)
        return c->value != 0 ? x : y;
    if (c->op == EXPR_NOT)
        return simple_select(p, c->arg[0], y, x);
    if (x->op == EXPR_SELECT && x->arg[0] == c)
        x = x->arg[1];
    if (y->op == EXPR_SELECT && y->arg[0] == c)
        y = y->arg[2];
    return x == y ? x : expr_make(p, EXPR_SELECT, c, x, y);
}

static const Expr *simple_unary(ExprPool *p, ExprOp op, const Expr *x) {
    if (op == EXPR_ABS && x->op == EXPR_NEG)
        x = x->arg[0];
    if ((op == EXPR_ABS || op == EXPR_DETACH) && x->op == op)
        return x;
    if (op == EXPR_NOT && x->op == EXPR_NOT && is_truth(x->arg[0]))
        return x->arg[0];
    return expr_make(p, op, x, NULL, NULL);
}

static bool all_const(const Expr *x, const Expr *y, const Expr *z) {
    return x->op == EXPR_CONST && (!y || y->op == EXPR_CONST) && (!z || z->op == EXPR_CONST);
}

const Expr *simple_make(ExprPool *p, ExprOp op, const Expr *x, const Expr *y, const Expr *z) {
    if (all_const(x, y, z)) {
        double value = expr_fold(expr_make(p, op, x, y, z), NULL, NULL);
        if (isfinite(value))
            return expr_const(p, value);
    }
    switch (op) {
    case EXPR_ADD: return simple_add(p, x, y);
    case EXPR_SUB: return simple_sub(p, x, y);
    case EXPR_MUL: return simple_mul(p, x, y);
    case EXPR_DIV: return simple_div(p, x, y);
    case EXPR_NEG: return simple_neg(p, x);
    case EXPR_POW: return simple_pow(p, x, y);
    case EXPR_AND:
    case EXPR_OR: return simple_logic(p, op, x, y);
    case EXPR_SELECT: return simple_select(p, x, y, z);
    case EXPR_MIN:
    case EXPR_MAX: return x == y ? x : expr_make(p, op, x, y, NULL);
    default: return z || y ? expr_make(p, op, x, y, z) : simple_unary(p, op, x);
    }
}

/* ---- rounds ---- */

/* A node with its arguments replaced. Guarded forms are rebuilt from their parts, as they were. */
static const Expr *rebuild(ExprPool *p, const Expr *e, const Expr *const *nodes, const Expr *const *now, int count) {
    const Expr *arg[3] = { NULL, NULL, NULL };
    const Expr *guarded = saturating_rebuild(p, e, nodes, now, count);
    if (guarded)
        return guarded;
    for (int i = 0; i < expr_info[e->op].args; i++)
        arg[i] = now[expr_position(nodes, count, e->arg[i])];
    return arg[0] ? simple_make(p, e->op, arg[0], arg[1], arg[2]) : e;
}

static bool is_product(const Expr *e) {
    return e->op == EXPR_MUL || e->op == EXPR_DIV || e->op == EXPR_NEG;
}

/* Which nodes are products used by products only: their forms are looked for in the product around them. */
static bool *find_inner(Arena *scratch, const Expr *const *nodes, int count) {
    bool *inner = NEW_ARRAY(scratch, bool, count);
    for (int i = 0; i < count - 1; i++)
        inner[i] = is_product(nodes[i]);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < expr_info[nodes[i]->op].args && !is_product(nodes[i]); k++)
            inner[expr_position(nodes, count, nodes[i]->arg[k])] = false;
    return inner;
}

static const Expr *round_over(ExprPool *p, const Expr *e, bool saturate) {
    Arena *scratch = arena_new(0);
    int count;
    const Expr **nodes = expr_nodes(scratch, e, &count);
    const Expr **now = NEW_ARRAY(scratch, const Expr *, count);
    const bool *inner = find_inner(scratch, nodes, count);
    for (int i = 0; i < count; i++) {
        now[i] = rebuild(p, nodes[i], nodes, now, count);
        if (saturate && !inner[i] && is_product(now[i]))
            now[i] = saturate_product(p, now[i]);
    }
    const Expr *result = now[count - 1];
    arena_destroy(scratch);
    return result;
}

const Expr *expr_simplify(ExprPool *p, const Expr *e) {
    return round_over(p, round_over(p, e, false), true);
}
