/* gather.c - products reassociated so that what varies least is multiplied first: in (p x) (q / r) over a
 * varying x the factor p q / r is computed outside of loops, and no division by an invariant is left inside.
 * Changes roundings only; keyed on which inputs vary, which only the MAP around an expression knows. */
#include "graph/simple.h"

enum { GATHER_DEPTH = 64 };

typedef struct {
    ExprPool *pool;
    uint64_t varying;
    const Expr *const *nodes;
    const Expr **now;          /* by position: the node gathered */
    const int *uses;
    int count;
} Gather;

static bool is_product(const Expr *e) {
    Saturating s;
    return (e->op == EXPR_MUL || e->op == EXPR_DIV || e->op == EXPR_NEG) && !saturating_core(e, &s);
}

static bool is_invariant(const Gather *g, const Expr *e) {
    return !(e->inputs & g->varying) && e->input_limit <= 64 && e->coord_limit == 0;
}

static bool is_reciprocal(const Expr *e) {
    return e->op == EXPR_DIV && expr_is_const(e->arg[0], 1);
}

static const Expr *ordered(ExprPool *p, const Expr *x, const Expr *y) {
    return expr_compare(x, y) <= 0 ? expr_make(p, EXPR_MUL, x, y, NULL) : expr_make(p, EXPR_MUL, y, x, NULL);
}

/* x y, NULL being 1 */
static const Expr *times(ExprPool *p, const Expr *x, const Expr *y) {
    if (!x || !y)
        return x ? x : y;
    if (is_reciprocal(x) || is_reciprocal(y))
        return expr_make(p, EXPR_DIV, is_reciprocal(x) ? y : x, is_reciprocal(x) ? x->arg[1] : y->arg[1], NULL);
    return ordered(p, x, y);
}

/* The varying part of e (NULL: 1); the invariant part goes into `rest`, to the power of sign. */
static const Expr *part(const Gather *g, const Expr *e, int sign, int depth, Product *rest) {
    int at = expr_position(g->nodes, g->count, e);
    const Expr *now = g->now[at];
    if (is_invariant(g, e) && product_push(rest, now, 2 * sign))
        return NULL;
    if (!is_product(e) || depth == 0 || (depth < GATHER_DEPTH && g->uses[at] > 1))
        return now;
    if (e->op == EXPR_NEG) {
        rest->scale = -rest->scale;
        return part(g, e->arg[0], sign, depth - 1, rest);
    }
    const Expr *x = part(g, e->arg[0], sign, depth - 1, rest);
    const Expr *y = part(g, e->arg[1], e->op == EXPR_MUL ? sign : -sign, depth - 1, rest);
    if (e->op == EXPR_MUL)
        return times(g->pool, x, y);
    return y ? expr_make(g->pool, EXPR_DIV, x ? x : expr_const(g->pool, 1), y, NULL) : x;
}

/* scale * e. Inputs stay outermost: what the formula multiplies them with may need the scale to stay finite. */
static const Expr *attach(ExprPool *p, const Expr *scale, const Expr *e, int depth) {
    if (depth > 0 && e->op == EXPR_MUL && (e->arg[0]->op == EXPR_INPUT) != (e->arg[1]->op == EXPR_INPUT)) {
        int outer = e->arg[1]->op == EXPR_INPUT;
        return ordered(p, e->arg[outer], attach(p, scale, e->arg[1 - outer], depth - 1));
    }
    return is_reciprocal(scale) ? ordered(p, scale, e) : times(p, scale, e);
}

static bool has_input(const Product *product) {
    for (int i = 0; i < product->count; i++)
        if (product->f[i].base->input_limit > 0)
            return true;
    return false;
}

/* A product with its invariant factors first; what it reads by a single use is part of it. */
static const Expr *gathered(const Gather *g, const Expr *e, const Expr *as_is) {
    Product rest = { .scale = 1 };
    const Expr *varying = part(g, e, 1, GATHER_DEPTH, &rest);
    if (!varying || !has_input(&rest))
        return as_is;
    const Expr *scale = product_build(g->pool, &rest);
    if (expr_is_const(scale, 1))
        return varying;
    return is_reciprocal(scale) && is_reciprocal(varying) ? as_is : attach(g->pool, scale, varying, GATHER_DEPTH);
}

static const Expr *rebuild(const Gather *g, const Expr *e) {
    const Expr *arg[3] = { NULL, NULL, NULL };
    const Expr *guarded = saturating_rebuild(g->pool, e, g->nodes, g->now, g->count);
    if (guarded)
        return guarded;
    for (int i = 0; i < expr_info[e->op].args; i++)
        arg[i] = g->now[expr_position(g->nodes, g->count, e->arg[i])];
    return arg[0] ? expr_make(g->pool, e->op, arg[0], arg[1], arg[2]) : e;
}

const Expr *expr_gather(ExprPool *p, const Expr *e, uint64_t varying) {
    Arena *scratch = arena_new(0);
    Gather g = { .pool = p, .varying = varying };
    g.nodes = expr_nodes(scratch, e, &g.count);
    g.now = NEW_ARRAY(scratch, const Expr *, g.count);
    int *uses = NEW_ARRAY(scratch, int, g.count);
    for (int i = 0; i < g.count; i++)
        for (int k = 0; k < expr_info[g.nodes[i]->op].args; k++)
            uses[expr_position(g.nodes, g.count, g.nodes[i]->arg[k])]++;
    g.uses = uses;
    for (int i = 0; i < g.count; i++) {
        g.now[i] = rebuild(&g, g.nodes[i]);
        if (is_product(g.nodes[i]) && !is_invariant(&g, g.nodes[i]))
            g.now[i] = gathered(&g, g.nodes[i], g.now[i]);
    }
    const Expr *result = g.now[g.count - 1];
    arena_destroy(scratch);
    return result;
}
