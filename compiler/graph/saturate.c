/* saturate.c - A t / sqrt(c + B t^2): t^2 overflows float32 long before t does, where the form has long
 * reached its limit. Such a product becomes A * (T / sqrt(1 + (B T) T)) with T = t clamped to +-L, L = 2^50 / sqrt(B):
 * beyond L the form is its limit to the last bit, B T^2 is 2^100 at most, and the derivative's
 * (1 + B T^2)^(-3/2) is an exact 0. A NaN in t passes min and max, whose second argument it is; where B is
 * negative L is NaN, and t passes too. c > 0 is divided out. The form is found by what is multiplied with what,
 * never by a name, in any order and spelling: t is whatever stands squared under the root and outside of it. */
#include "graph/simple.h"

#include <math.h>

#define LIMIT_SCALE 0x1p50
enum { INNER_ROOT = -1 };   /* exponent, in halves, of the sum under the root */

const Expr *saturating_limit(ExprPool *p, const Expr *bend) {
    return simple_make(p, EXPR_DIV, expr_const(p, LIMIT_SCALE), simple_make(p, EXPR_SQRT, bend, NULL, NULL), NULL);
}

const Expr *saturating_make_clamp(ExprPool *p, Saturating s) {
    const Expr *limit = saturating_limit(p, s.bend);
    const Expr *lower = simple_make(p, EXPR_NEG, limit, NULL, NULL);
    return expr_make(p, EXPR_MAX, lower, expr_make(p, EXPR_MIN, limit, s.inner, NULL), NULL);
}

const Expr *saturating_make_square(ExprPool *p, Saturating s) {
    const Expr *t = saturating_make_clamp(p, s);
    const Expr *bent = expr_is_const(s.bend, 1) ? t : expr_make(p, EXPR_MUL, s.bend, t, NULL);
    return expr_make(p, EXPR_ADD, expr_const(p, 1), expr_make(p, EXPR_MUL, bent, t, NULL), NULL);
}

const Expr *saturating_make_core(ExprPool *p, Saturating s) {
    const Expr *root = expr_make(p, EXPR_SQRT, saturating_make_square(p, s), NULL, NULL);
    return expr_make(p, EXPR_DIV, saturating_make_clamp(p, s), root, NULL);
}

/* ---- the guarded form recognised ---- */

/* B of L = 2^50 / sqrt(B), in whatever way saturating_limit wrote it: sqrt is folded when B is constant. */
static bool clamp_parts(const Expr *e, const Expr **limit, const Expr **inner) {
    if (e->op != EXPR_MAX || e->arg[1]->op != EXPR_MIN)
        return false;
    *limit = e->arg[1]->arg[0];
    *inner = e->arg[1]->arg[1];
    return true;
}

/* whether e is scale / sqrt(bend) */
static bool is_limit(const Expr *e, const Expr *bend, double scale) {
    double root = bend->op == EXPR_CONST ? sqrt(bend->value) : 0;
    if (bend->op == EXPR_CONST)
        return e->op == EXPR_CONST && fabs(e->value * root / scale - 1) < 1e-14;
    const Expr *under = e->op == EXPR_MUL ? e->arg[1] : NULL;
    return under && under->op == EXPR_RSQRT && under->arg[0] == bend && expr_is_const(e->arg[0], scale);
}

static bool is_clamp_of(const Expr *e, const Expr *bend) {
    const Expr *limit, *inner;
    return clamp_parts(e, &limit, &inner) && is_limit(limit, bend, LIMIT_SCALE) && is_limit(e->arg[0], bend, -LIMIT_SCALE);
}

bool saturating_clamp(const Expr *e, Saturating *s) {
    const Expr *limit;
    if (!clamp_parts(e, &limit, &s->inner))
        return false;
    if (limit->op != EXPR_MUL || limit->arg[1]->op != EXPR_RSQRT)
        return false;          /* a clamp by constants needs no rebuilding */
    s->bend = limit->arg[1]->arg[0];
    return is_clamp_of(e, s->bend);
}

bool saturating_square(const Expr *e, Saturating *s) {
    if (e->op != EXPR_ADD || !expr_is_const(e->arg[0], 1) || e->arg[1]->op != EXPR_MUL)
        return false;
    const Expr *bent = e->arg[1]->arg[0], *t = e->arg[1]->arg[1], *limit;
    if (!clamp_parts(t, &limit, &s->inner))
        return false;
    if (bent == t) {           /* B = 1, and its limit a constant */
        s->bend = e->arg[0];
        return expr_is_const(limit, LIMIT_SCALE) && expr_is_const(t->arg[0], -LIMIT_SCALE);
    }
    if (bent->op != EXPR_MUL || bent->arg[1] != t)
        return false;
    s->bend = bent->arg[0];
    return is_clamp_of(t, s->bend);
}

bool saturating_core(const Expr *e, Saturating *s) {
    return e->op == EXPR_DIV && e->arg[1]->op == EXPR_SQRT && saturating_square(e->arg[1]->arg[0], s) &&
           e->arg[0]->op == EXPR_MAX && e->arg[1]->arg[0]->arg[1]->arg[1] == e->arg[0];
}

const Expr *saturating_rebuild(ExprPool *p, const Expr *e, const Expr *const *nodes, const Expr *const *now, int count) {
    Saturating s;
    const Expr *(*make)(ExprPool *, Saturating) = saturating_core(e, &s)     ? saturating_make_core
                                                  : saturating_square(e, &s) ? saturating_make_square
                                                  : saturating_clamp(e, &s)  ? saturating_make_clamp
                                                                             : NULL;
    if (!make)
        return NULL;
    s.bend = now[expr_position(nodes, count, s.bend)];
    s.inner = now[expr_position(nodes, count, s.inner)];
    return make(p, s);
}

/* ---- the unguarded form found ---- */

/* e = c + rest, c > 0 a constant and rest one product */
static bool constant_and_product(const Expr *e, double *c, Product *rest) {
    if ((e->op != EXPR_ADD && e->op != EXPR_SUB) || e->arg[0]->op != EXPR_CONST)
        return false;
    *c = e->arg[0]->value;
    if (!(*c > 0) || !product_of(e->arg[1], rest))
        return false;
    if (e->op == EXPR_SUB)
        rest->scale = -rest->scale;
    return rest->scale > 0;
}

static int exponent_of(const Product *product, const Expr *base) {
    for (int i = 0; i < product->count; i++)
        if (product->f[i].base == base)
            return product->f[i].twice;
    return 0;
}

/* t: the powers base^k with base^(2k) under the root and at least base^k outside, k >= 1 */
static bool common_inner(const Product *whole, const Product *under, Product *inner) {
    *inner = (Product){ .scale = 1 };
    for (int i = 0; i < under->count; i++) {
        int twice = under->f[i].twice;
        if (twice > 0 && twice % 4 == 0 && exponent_of(whole, under->f[i].base) >= twice / 2)
            product_push(inner, under->f[i].base, twice / 2);
    }
    return inner->count > 0;
}

/* t without its guard, should it carry one for this B already */
static const Expr *unguarded(const Expr *t, const Expr *bend) {
    return is_clamp_of(t, bend) ? t->arg[1]->arg[1] : t;
}

static const Expr *guard(ExprPool *p, const Product *whole, const Expr *sum) {
    Product under, inner, bend, scale = *whole;
    double c;
    if (!constant_and_product(sum, &c, &under) || !common_inner(whole, &under, &inner))
        return NULL;
    bend = under;
    if (!product_times(&bend, &inner, -4) || !product_times(&scale, &inner, -2) || !product_push(&scale, sum, -INNER_ROOT))
        return NULL;
    bend.scale /= c;
    scale.scale /= sqrt(c);
    const Expr *b = product_build(p, &bend);
    const Expr *t = unguarded(product_build(p, &inner), b);
    if ((b->inputs & t->inputs) || (b->op == EXPR_CONST && !(b->value > 0)))
        return NULL;
    const Expr *core = saturating_make_core(p, (Saturating){ b, t });
    return simple_make(p, EXPR_MUL, product_build(p, &scale), core, NULL);
}

const Expr *saturate_product(ExprPool *p, const Expr *e) {
    Product whole;
    if (!product_of(e, &whole))
        return e;
    for (int i = 0; i < whole.count; i++) {
        const Expr *found = whole.f[i].twice == INNER_ROOT ? guard(p, &whole, whole.f[i].base) : NULL;
        if (found)
            return found;
    }
    return e;
}

/* ---- the form over one input ---- */

bool saturating_of_input(ExprPool *p, const Expr *e, int x_input, const Expr **a, const Expr **b) {
    Product scale, bend, inner;
    Saturating s;
    if (!product_of(e, &scale))
        return false;
    const Expr *core = NULL;
    for (int i = 0; i < scale.count && !core; i++)
        if (scale.f[i].twice == 2 && saturating_core(scale.f[i].base, &s))
            core = scale.f[i].base;
    if (!core || !product_push(&scale, core, -2) || !product_of(s.bend, &bend) || !product_of(s.inner, &inner))
        return false;
    const Expr *x = expr_input(p, x_input);
    if (exponent_of(&inner, x) != 2 || !product_push(&inner, x, -2))
        return false;
    if (!product_times(&scale, &inner, 2) || !product_times(&bend, &inner, 4))
        return false;
    *a = product_build(p, &scale);
    *b = product_build(p, &bend);
    return !expr_uses_input(*a, x_input) && !expr_uses_input(*b, x_input);
}
