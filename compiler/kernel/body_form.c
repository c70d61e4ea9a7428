/* body_form.c - with --math=fast, the form of a MAP's formula that takes the fewest products at every vector.
 *
 * Factors move between what varies and what is computed outside of loops, powers of two alone, so that nothing is rounded
 * otherwise. A T / sqrt(d) is left as (A / 2) T / (sqrt(d) / 2), for T / (sqrt(d) / 2) = T r (3 - d r^2), r an estimate of
 * 1 / sqrt(d), is a product less than T / sqrt(d); and (c x) (k + A q) as x (c k + (c A) q). What a factor is taken from has
 * no other reader. Shapes decide, never names. */
#include "kernel/body.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    ExprPool *pool;
    uint64_t varying;            /* inputs */
    const Expr **nodes;          /* before, by position */
    const Expr **now;            /* after */
    int *uses;                   /* before */
    int count;
} Form;

static int position(const Form *f, const Expr *e) { return expr_position(f->nodes, f->count, e); }
static bool is_invariant(const Form *f, const Expr *e) { return !(e->inputs & f->varying) && e->input_limit <= 64 && e->coord_limit == 0; }
static bool is_single(const Form *f, const Expr *e) { return f->uses[position(f, e)] == 1; }

static const Expr *times(Form *f, double scale, const Expr *e) {
    if (e->op == EXPR_CONST)
        return expr_const(f->pool, scale * e->value);
    return scale == 1 ? e : expr_make(f->pool, EXPR_MUL, expr_const(f->pool, scale), e, NULL);
}

static bool is_power_of_2(const Expr *e) {
    int exponent;
    return e->op == EXPR_CONST && fabs(frexp(e->value, &exponent)) == 0.5 && abs(exponent) < 64;
}

/* Of a product e of something that does not vary and something that does, that one's number; -1: it is none. */
static int varying_factor(const Form *f, const Expr *e) {
    if (e->op != EXPR_MUL || is_invariant(f, e->arg[0]) == is_invariant(f, e->arg[1]))
        return -1;
    return is_invariant(f, e->arg[0]) ? 1 : 0;
}

static bool is_estimated(const Form *f, const Expr *e) {
    return e->op == EXPR_DIV && e->arg[1]->op == EXPR_SQRT && body_is_core(e->arg[1]->arg[0]) && is_single(f, e) && is_single(f, e->arg[1]);
}

/* A (T / sqrt(d)), or NULL. */
static const Expr *halved(Form *f, const Expr *e) {
    int varies = varying_factor(f, e);
    if (varies < 0 || !is_estimated(f, e->arg[varies]))
        return NULL;
    const Expr *quotient = e->arg[varies], *factor = f->now[position(f, e->arg[1 - varies])];
    const Expr *root = times(f, 0.5, f->now[position(f, quotient->arg[1])]);
    quotient = expr_make(f->pool, EXPR_DIV, f->now[position(f, quotient->arg[0])], root, NULL);
    return expr_make(f->pool, EXPR_MUL, times(f, 0.5, factor), quotient, NULL);
}

/* k + A q, k and A invariant, times `scale`; NULL: it is something else. */
static const Expr *scaled_sum(Form *f, const Expr *sum, double scale) {
    int term = sum->op != EXPR_ADD ? -1 : varying_factor(f, sum->arg[1]) >= 0 ? 1 : varying_factor(f, sum->arg[0]) >= 0 ? 0 : -1;
    if (term < 0 || !is_single(f, sum) || !is_single(f, sum->arg[term]) || !is_invariant(f, sum->arg[1 - term]))
        return NULL;
    int varies = varying_factor(f, sum->arg[term]);
    const Expr *product = f->now[position(f, sum->arg[term])], *addend = f->now[position(f, sum->arg[1 - term])];
    if (product->op != EXPR_MUL)
        return NULL;
    /* `halved` puts what varies second */
    int at = product->arg[varies] == f->now[position(f, sum->arg[term]->arg[varies])] ? varies : 1;
    product = expr_make(f->pool, EXPR_MUL, times(f, scale, product->arg[1 - at]), product->arg[at], NULL);
    return expr_make(f->pool, EXPR_ADD, times(f, scale, addend), product, NULL);
}

/* (c x) (k + A q), or NULL. */
static const Expr *spread(Form *f, const Expr *e) {
    for (int i = 0; e->op == EXPR_MUL && i < 2; i++) {
        const Expr *x = e->arg[i];
        if (x->op != EXPR_MUL || !is_single(f, x) || is_invariant(f, x))
            continue;
        int constant = is_power_of_2(x->arg[0]) ? 0 : is_power_of_2(x->arg[1]) ? 1 : -1;
        const Expr *sum = constant < 0 ? NULL : scaled_sum(f, e->arg[1 - i], x->arg[constant]->value);
        if (sum)
            return expr_make(f->pool, EXPR_MUL, f->now[position(f, x->arg[1 - constant])], sum, NULL);
    }
    return NULL;
}

static const Expr *copied(Form *f, const Expr *e) {
    const Expr *arg[3] = { NULL, NULL, NULL };
    if (e->op == EXPR_CONST)
        return expr_const(f->pool, e->value);
    if (e->op == EXPR_INPUT)
        return expr_input(f->pool, e->index);
    if (e->op == EXPR_COORD)
        return expr_coord(f->pool, e->index);
    for (int i = 0; i < expr_info[e->op].args; i++)
        arg[i] = f->now[position(f, e->arg[i])];
    return expr_make(f->pool, e->op, arg[0], arg[1], arg[2]);
}

const Expr *body_form(Arena *arena, const Expr *e, uint64_t varying) {
    Form f = { .pool = expr_pool_new(arena), .varying = varying };
    f.nodes = expr_nodes(arena, e, &f.count);
    f.now = NEW_ARRAY(arena, const Expr *, f.count);
    f.uses = NEW_ARRAY(arena, int, f.count);
    for (int i = 0; i < f.count; i++)
        for (int k = 0; k < expr_info[f.nodes[i]->op].args; k++)
            f.uses[position(&f, f.nodes[i]->arg[k])]++;
    for (int i = 0; i < f.count; i++) {
        const Expr *form = halved(&f, f.nodes[i]);
        if (!form)
            form = spread(&f, f.nodes[i]);
        f.now[i] = form ? form : copied(&f, f.nodes[i]);
    }
    return f.now[f.count - 1];
}
