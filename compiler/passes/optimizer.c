/* optimizer.c - the update graph: torch.optim.SGD over the runs of tables.c, after torch's clip_grad_norm_.
 * Per run, r the raw values (the parameters themselves where nothing constrains them), c their constraint:
 *   g = dL/dr = GRADS * c'(r)
 *   k = min(1, clip / (|g over all runs| + 1e-6))
 *   d = k g + decay r;  m' = momentum m + d;  s = d + momentum m' (Nesterov), m' or d;  r' = r - lr scale s
 *   PARAMS' = c(r')
 * m starts at 0, which makes the first step's m' = d, as in torch. Decay, clipping and momentum are of raw
 * values. Padding is zero in every table and stays so. */
#include "passes/passes.h"

#define CLIP_EPSILON 1e-6

typedef struct {
    Graph *g;
    const Recipe *recipe;
    Node *rate;               /* learning rate of this step */
    Node *clip;               /* the factor k, [1]; NULL: no clipping */
} Update;

#define make(op, x, y) expr_make(p, EXPR_##op, x, y, NULL)

static Node *map_of(Graph *g, const Expr *e, Node *const *in, int arity) {
    return graph_map(g, e, in, arity, NULL);
}

/* A range of a table in the shape of `as`. */
static Node *table_values(Graph *g, TableId table, int64_t offset, const Node *as) {
    Node *slab = graph_slab(g, table, offset, shape_count(&as->shape), NULL);
    return as->shape.rank == 1 ? slab : graph_reshape(g, slab, as->shape, as->channel, NULL);
}

static Node *raw_values(Graph *g, const ParamRun *run, const Node *as) {
    bool constrained = run->raw_offset >= 0;
    return table_values(g, constrained ? TABLE_RAW : TABLE_PARAMS, constrained ? run->raw_offset : run->offset, as);
}

static Node *stored_gradient(Graph *g, const ParamRun *run) { return graph_slab(g, TABLE_GRADS, run->offset, run->count, NULL); }

/* dL/dr from dL/dc */
static Node *raw_gradient(Graph *g, const ParamRun *run, Node *raw, Node *grads) {
    ExprPool *p = g->exprs;
    if (run->raw_offset < 0)
        return grads;
    const Expr *slope = expr_derivative(p, constraint_expr(p, &run->constraint, expr_input(p, 1)), 1);
    return map_of(g, make(MUL, expr_input(p, 0), slope), (Node *[]){ grads, raw }, 2);
}

/* k from every run's gradient */
static Node *clip_factor(Graph *g, Node *const *gradient, int count, double limit) {
    ExprPool *p = g->exprs;
    if (count == 0)
        return NULL;
    Node **square = NEW_ARRAY(g->arena, Node *, count);
    const Expr *x = expr_input(p, 0), *sum = x;
    for (int i = 0; i < count; i++) {
        Node *each = map_of(g, make(MUL, x, x), &gradient[i], 1);
        square[i] = graph_reduce(g, OP_SUM, each, 1, NULL);
        if (i > 0)
            sum = make(ADD, sum, expr_input(p, i));
    }
    const Expr *norm = make(ADD, make(SQRT, sum, NULL), expr_const(p, CLIP_EPSILON));
    const Expr *factor = make(MIN, expr_const(p, 1), make(DIV, expr_const(p, limit), norm));
    return map_of(g, factor, square, count);
}

/* d = k g + decay r */
static Node *decayed(const Update *u, const ParamRun *run, Node *raw, Node *gradient) {
    ExprPool *p = u->g->exprs;
    Node *in[3] = { gradient };
    int arity = 1;
    const Expr *d = expr_input(p, 0);
    if (u->clip) {
        d = make(MUL, d, expr_input(p, arity));
        in[arity++] = u->clip;
    }
    if (run->group.weight_decay != 0) {
        d = make(ADD, d, make(MUL, expr_const(p, run->group.weight_decay), expr_input(p, arity)));
        in[arity++] = raw;
    }
    return arity == 1 ? gradient : map_of(u->g, d, in, arity);
}

/* s, and m' into SLOTS */
static Node *with_momentum(const Update *u, const ParamRun *run, Node *d) {
    ExprPool *p = u->g->exprs;
    if (u->recipe->momentum == 0)
        return d;
    Node *slot = table_values(u->g, TABLE_SLOTS, run->offset, d);
    const Expr *mixed = make(ADD, make(MUL, expr_const(p, u->recipe->momentum), expr_input(p, 0)), expr_input(p, 1));
    Node *next = map_of(u->g, mixed, (Node *[]){ slot, d }, 2);
    graph_effect_slab(u->g, TABLE_SLOTS, run->offset, next);
    return u->recipe->nesterov ? map_of(u->g, mixed, (Node *[]){ next, d }, 2) : next;
}

/* c(r'), zero in the padding, where raw is zero but c need not be */
static Node *constrained_values(Graph *g, const ParamRun *run, Node *raw) {
    ExprPool *p = g->exprs;
    const Expr *value = constraint_rounded(p, &run->constraint, constraint_expr(p, &run->constraint, expr_input(p, 0)));
    if (run->used == run->stride)
        return map_of(g, value, &raw, 1);
    const Expr *inside = make(LT, expr_coord(p, 1), expr_const(p, (double)run->used));
    value = expr_make(p, EXPR_SELECT, inside, value, expr_const(p, 0));
    Node *rows = graph_reshape(g, raw, shape_of(false, 2, (int64_t[]){ run->count / run->stride, run->stride }), -1, NULL);
    return graph_reshape(g, map_of(g, value, &rows, 1), raw->shape, -1, NULL);
}

static void update_run(const Update *u, const ParamRun *run, Node *raw, Node *gradient) {
    ExprPool *p = u->g->exprs;
    Node *s = with_momentum(u, run, decayed(u, run, raw, gradient));
    const Expr *rate = expr_input(p, 2);
    if (run->group.lr_scale != 1)
        rate = make(MUL, expr_const(p, run->group.lr_scale), rate);
    const Expr *moved = make(SUB, expr_input(p, 0), make(MUL, rate, expr_input(p, 1)));
    Node *next = map_of(u->g, moved, (Node *[]){ raw, s, u->rate }, 3);
    if (run->raw_offset >= 0) {
        graph_effect_slab(u->g, TABLE_RAW, run->raw_offset, next);
        next = constrained_values(u->g, run, next);
    }
    graph_effect_slab(u->g, TABLE_PARAMS, run->offset, next);
}

void update_by(Graph *g, const ParamRun *run, Node *gradient) {
    Update u = { .g = g, .recipe = &g->program->recipe, .rate = graph_scalar(g, SCALAR_LR, NULL) };
    Node *grads = gradient ? gradient : stored_gradient(g, run), *raw = raw_values(g, run, grads);
    update_run(&u, run, raw, raw_gradient(g, run, raw, grads));
}

void pass_optimizer(Program *p) {
    if (!p->step)
        return;
    int count;
    ParamRun *runs = param_runs(p, &count);
    Graph *g = p->update = graph_new(p, "update");
    Update u = { .g = g, .recipe = &p->recipe, .rate = graph_scalar(g, SCALAR_LR, NULL) };
    Node **raw = NEW_ARRAY(p->arena, Node *, count), **gradient = NEW_ARRAY(p->arena, Node *, count);
    for (int i = 0; i < count; i++) {
        Node *grads = stored_gradient(g, &runs[i]);
        raw[i] = raw_values(g, &runs[i], grads);
        gradient[i] = raw_gradient(g, &runs[i], raw[i], grads);
    }
    if (p->recipe.clip_norm > 0)
        u.clip = clip_factor(g, gradient, count, p->recipe.clip_norm);
    for (int i = 0; i < count; i++)
        update_run(&u, &runs[i], raw[i], gradient[i]);
}
