/* fold.c - nodes that cost nothing at run time, gone at compile time: expressions simplified, constant and
 * repeated inputs absorbed by their MAP, maps of nothing evaluated, moves and maps that change nothing dropped.
 * needs: topological order     keeps: order, shapes     spoils: use counts
 * Expressions lose their `detach`: differentiation comes before. */
#include "passes/passes.h"

#include <assert.h>
#include <math.h>

/* e without detach */
static const Expr *attached(ExprPool *p, const Expr *e) {
    Arena *scratch = arena_new(0);
    int count;
    const Expr **nodes = expr_nodes(scratch, e, &count);
    const Expr **now = NEW_ARRAY(scratch, const Expr *, count);
    for (int i = 0; i < count; i++) {
        const Expr *arg[3] = { NULL, NULL, NULL };
        for (int k = 0; k < expr_info[nodes[i]->op].args; k++)
            arg[k] = now[expr_position(nodes, count, nodes[i]->arg[k])];
        now[i] = nodes[i]->op == EXPR_DETACH ? arg[0]
                 : arg[0]                    ? expr_make(p, nodes[i]->op, arg[0], arg[1], arg[2])
                                             : nodes[i];
    }
    e = now[count - 1];
    arena_destroy(scratch);
    return e;
}

/* A broadcast of its only input that a MAP reading it does by itself. */
static bool is_broadcast(const Node *n) {
    return n->op == OP_MAP && n->attr.expr->op == EXPR_INPUT && n->in[0]->type == TYPE_F32;
}

/* What a MAP may read in place of n. */
static Node *unwrapped(Node *n) {
    if (n->op == OP_RESHAPE && n->in[0]->shape.rank == 0 && n->in[0]->type == TYPE_F32)
        return n->in[0];
    return is_broadcast(n) ? n->in[0] : n;
}

static int position_of(Node *const *in, int count, const Node *n) {
    for (int i = 0; i < count; i++)
        if (in[i] == n)
            return i;
    return count;
}

/* The inputs with the most elements; smaller ones are broadcast against them. */
static uint64_t varying_inputs(Node *const *in, int count) {
    int64_t most = 0;
    uint64_t varying = 0;
    for (int i = 0; i < count && i < 64; i++) {
        int64_t size = shape_count(&in[i]->shape);
        if (size > most) {
            most = size;
            varying = 0;
        }
        if (size == most)
            varying |= UINT64_C(1) << i;
    }
    return varying;
}

/* Each input used once and by number in order of the old ones; constants go into the expression. */
static void absorb_inputs(Graph *g, Node *n, Arena *scratch) {
    const Expr **with = NEW_ARRAY(scratch, const Expr *, n->arity);
    Node **kept = NEW_ARRAY(g->arena, Node *, n->arity);
    int count = 0;
    for (int i = 0; i < n->arity; i++)
        n->in[i] = unwrapped(n->in[i]);
    for (int i = 0; i < n->arity; i++)
        if (n->in[i]->op == OP_FILL)
            with[i] = expr_const(g->exprs, n->in[i]->attr.value);
    const Expr *e = expr_substitute(g->exprs, n->attr.expr, with, n->arity);
    e = expr_simplify(g->exprs, attached(g->exprs, e));
    for (int i = 0; i < n->arity; i++) {
        if (!expr_uses_input(e, i))
            continue;
        int at = position_of(kept, count, n->in[i]);
        kept[at] = n->in[i];
        count += at == count;
        with[i] = expr_input(g->exprs, at);
    }
    e = expr_simplify(g->exprs, expr_substitute(g->exprs, e, with, n->arity));
    n->attr.expr = expr_gather(g->exprs, e, varying_inputs(kept, count));
    n->in = kept;
    n->arity = count;
}

static Node *fill_instead(Graph *g, Node *n, double value) {
    Node *fill = graph_fill(g, n->shape, n->channel, value, n);
    graph_move_before(g, fill, n);
    return fill;
}

static bool same_form(const Node *a, const Node *b) {
    return a->type == b->type && a->channel == b->channel && shape_equal(&a->shape, &b->shape);
}

static Node *fold_map(Graph *g, Node *n) {
    Arena *scratch = arena_new(0);
    absorb_inputs(g, n, scratch);
    arena_destroy(scratch);
    if (n->attr.expr->op == EXPR_CONST)
        return fill_instead(g, n, n->attr.expr->value);
    return n->attr.expr->op == EXPR_INPUT && same_form(n, n->in[0]) ? n->in[0] : n;
}

/* How many elements add up into one; 0 where the run-time batch decides. */
static double summed(const Node *sum) {
    const Shape *x = &sum->in[0]->shape;
    double count = 1;
    for (int i = 0; i < x->rank; i++)
        if (sum->attr.axes >> i & 1)
            count *= (double)x->dim[i];
    return x->batched && (sum->attr.axes & 1) ? 0 : count;
}

static Node *fold_reduce(Graph *g, Node *n) {
    const Node *x = n->in[0];
    double count = summed(n);
    if (x->op == OP_FILL && n->op == OP_MAXIMUM)
        return fill_instead(g, n, x->attr.value);
    if (x->op == OP_FILL && count > 0)
        return fill_instead(g, n, x->attr.value * count);
    return count == 1 && same_form(n, x) ? n->in[0] : n;
}

static Node *fold_move(Graph *g, Node *n) {
    if (n->op == OP_CONCAT || n->op == OP_PAD)
        return n->arity == 1 && same_form(n, n->in[0]) ? n->in[0] : n;
    if (n->in[0]->op == OP_FILL)
        return fill_instead(g, n, n->in[0]->attr.value);
    if (n->op == OP_RESHAPE && n->in[0]->op == OP_RESHAPE)
        n->in[0] = n->in[0]->in[0];
    bool moves = false;
    for (int i = 0; i < n->shape.rank && n->op == OP_TRANSPOSE; i++)
        moves |= n->attr.perm[i] != i;
    return !moves && same_form(n, n->in[0]) ? n->in[0] : n;
}

void graph_fold(Graph *g) {
    forward_start(g);
    for (Node *n = g->first; n; n = n->next) {
        forward_inputs(n);
        switch (op_info[n->op].class) {
        case CLASS_MAP: forward_to(n, fold_map(g, n)); break;
        case CLASS_REDUCE: forward_to(n, fold_reduce(g, n)); break;
        case CLASS_MOVE: forward_to(n, fold_move(g, n)); break;
        default: break;
        }
    }
    forward_finish(g);
    graph_dce(g);
}
