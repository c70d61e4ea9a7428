/* autodiff.c - reverse mode over the step graph: one rule per operator that is no MAP; a MAP's rule is its
 * expression, differentiated.
 * needs: topological order, tables     keeps: order, every forward node     spoils: use counts
 * Gradients of a value that is read several times are added in the order in which they come about, from the
 * last reader to the first. */
#include "passes/passes.h"

#include <assert.h>

typedef struct {
    Graph *g;
    Arena *scratch;
    bool *needs;                      /* by id: a trained parameter stands behind it */
    struct { Node **part; int count, cap; } *grad;   /* by id: what adds up to its gradient */
} Diff;

static bool needs(const Diff *d, const Node *n) {
    return d->needs[n->id];
}

static void contribute(Diff *d, const Node *to, Node *part) {
    assert(shape_equal(&to->shape, &part->shape));
    ARENA_PUSH(d->scratch, d->grad[to->id].part, d->grad[to->id].count, d->grad[to->id].cap, part);
}

/* PADs that lie end to end along one axis are a CONCAT of what they pad: the gradient of a tensor that was split.
 * NULL: they do not. */
static Node *end_to_end(Diff *d, const Node *n, Node *const *pad, int count) {
    Node **piece = NEW_ARRAY(d->scratch, Node *, count);
    int axis = pad[0]->op == OP_PAD ? pad[0]->attr.part.axis : -1;
    int64_t end = 0;
    for (int k = 0; k < count; k++) {
        for (int i = 0; i < count && !piece[k]; i++)
            if (pad[i]->op == OP_PAD && pad[i]->attr.part.axis == axis && pad[i]->attr.part.from == end)
                piece[k] = pad[i]->in[0];
        if (!piece[k])
            return NULL;
        end += piece[k]->shape.dim[axis];
    }
    return end == n->shape.dim[axis] ? graph_concat(d->g, piece, count, axis, n) : NULL;
}

/* The gradient of n; NULL when nothing reads it. */
static Node *total(Diff *d, const Node *n) {
    int count = d->grad[n->id].count;
    if (count < 2)
        return count ? d->grad[n->id].part[0] : NULL;
    Node *whole = end_to_end(d, n, d->grad[n->id].part, count);
    if (whole)
        return whole;
    const Expr *sum = expr_input(d->g->exprs, 0);
    for (int i = 1; i < count; i++)
        sum = expr_make(d->g->exprs, EXPR_ADD, sum, expr_input(d->g->exprs, i), NULL);
    return graph_map_shape(d->g, sum, d->grad[n->id].part, count, n->shape, n->channel, n);
}

/* ---- maps ---- */

/* dy summed over what `x` was broadcast along */
static Node *unbroadcast(Diff *d, Node *dy, const Node *x) {
    unsigned axes = 0;
    for (int i = 0; i < dy->shape.rank; i++)
        if (x->shape.rank == 0 || (x->shape.dim[i] == 1 && dy->shape.dim[i] != 1))
            axes |= 1u << i;
    if (dy->shape.batched && !x->shape.batched)
        axes |= 1;
    if (axes)
        dy = graph_reduce(d->g, OP_SUM, dy, axes, x);
    if (!shape_equal(&dy->shape, &x->shape))
        dy = graph_reshape(d->g, dy, x->shape, x->channel, x);
    return dy;
}

/* A map over the inputs that e uses, those numbered arity and up (dy, y) first: what varies most comes first,
 * so that constants gather on the side of parameters. */
static Node *compact_map(Diff *d, const Expr *e, Node *const *in, int arity, int total_count, const Node *like) {
    ExprPool *p = d->g->exprs;
    const Expr **with = NEW_ARRAY(d->scratch, const Expr *, total_count);
    Node **kept = NEW_ARRAY(d->scratch, Node *, total_count);
    int count = 0;
    for (int i = 0; i < total_count; i++) {
        int from = (i + arity) % total_count;
        if (!expr_uses_input(e, from))
            continue;
        kept[count] = in[from];
        with[from] = expr_input(p, count++);
    }
    e = expr_simplify(p, expr_substitute(p, e, with, total_count));
    if (e->op == EXPR_INPUT && shape_equal(&kept[e->index]->shape, &like->shape))
        return kept[e->index];
    return graph_map_shape(d->g, e, kept, count, like->shape, like->channel, like);
}

/* A learned value that can never be 0. */
static bool never_zero(const Node *n) {
    while (n->op == OP_RESHAPE || n->op == OP_TRANSPOSE)
        n = n->in[0];
    if (n->op == OP_FILL)
        return n->attr.value != 0;
    if (n->op != OP_TENSOR)
        return false;
    const Constraint *c = &n->attr.tensor->constraint;
    switch (c->kind) {
    case CONSTRAINT_GREATER: return c->lo >= 0;
    case CONSTRAINT_AT_LEAST: return c->lo > 0;
    case CONSTRAINT_BETWEEN: return c->lo >= 0 || c->hi <= 0;
    default: return false;
    }
}

/* The input whose derivative, and every other, follows from the map's result; -1: there is none. */
static int recoverable_input(const Diff *d, const Node *y) {
    for (int x = 0; x < y->arity && x < 64; x++) {
        uint64_t nonzero;
        bool safe = expr_recoverable(d->g->exprs, y->attr.expr, x, &nonzero);
        for (int i = 0; i < y->arity && safe; i++)
            safe = i >= 64 || !(nonzero >> i & 1) || never_zero(y->in[i]);
        if (safe)
            return x;
    }
    return -1;
}

/* d e / d input[k], from the result where this leaves some input unread */
static const Expr *derivative(ExprPool *p, const Expr *e, int k, int y_input) {
    const Expr *plain = expr_derivative(p, e, k), *recovered = expr_recover(p, e, plain, y_input);
    bool fewer = false;
    for (int i = 0; i < y_input; i++)
        fewer |= expr_uses_input(plain, i) && !expr_uses_input(recovered, i);
    return fewer ? recovered : plain;
}

static void grad_map(Diff *d, Node *y, Node *dy) {
    ExprPool *p = d->g->exprs;
    int arity = y->arity, x = recoverable_input(d, y);
    Node **in = NEW_ARRAY(d->scratch, Node *, arity + 2);
    for (int i = 0; i < arity; i++)
        in[i] = y->in[i];
    in[arity] = dy;
    in[arity + 1] = y;
    for (int k = 0; k < arity; k++) {
        if (!needs(d, y->in[k]) || !expr_uses_input(y->attr.expr, k))
            continue;
        const Expr *by = x >= 0 ? expr_derivative_from_output(p, y->attr.expr, x, k, arity + 1) : NULL;
        if (!by)
            by = derivative(p, y->attr.expr, k, arity + 1);
        if (by->op == EXPR_CONST && by->value == 0)
            continue;
        const Expr *e = expr_make(p, EXPR_MUL, expr_input(p, arity), by, NULL);
        Node *dk = compact_map(d, expr_simplify(p, e), in, arity, arity + 2, y);
        contribute(d, y->in[k], unbroadcast(d, dk, y->in[k]));
    }
}

/* ---- everything else: y = op(x, ..), dy -> dx ---- */

static void grad_sum(Diff *d, Node *y, Node *dy) {
    Node *x = y->in[0];
    contribute(d, x, graph_map_shape(d->g, expr_input(d->g->exprs, 0), &dy, 1, x->shape, x->channel, y));
}

static void grad_conv(Diff *d, Node *y, Node *dy) {
    Node *x = y->in[0], *w = y->in[1];
    if (needs(d, x))
        contribute(d, x, graph_conv_input(d->g, dy, w, &y->attr.window, x->shape, y));
    if (needs(d, w))
        contribute(d, w, graph_conv_weight(d->g, x, dy, &y->attr.window, w->shape, y));
}

static void grad_attention(Diff *d, Node *y, Node *dy) {
    Node *in[4] = { y->in[0], y->in[1], y->in[2], dy };
    for (int i = 0; i < 3; i++)
        if (needs(d, in[i]))
            contribute(d, in[i], graph_attention_gradient(d->g, OP_ATTENTION_Q + (OpId)i, in, &y->attr.attention, y));
}

static void grad_maxpool(Diff *d, Node *y, Node *dy) {
    Node *x = y->in[0];
    contribute(d, x, graph_pool(d->g, OP_MAXPOOL_INPUT, (Node *[]){ x, y, dy }, &y->attr.window, x->shape, y));
}

static void grad_avgpool(Diff *d, Node *y, Node *dy) {
    Node *x = y->in[0];
    contribute(d, x, graph_pool(d->g, OP_AVGPOOL_INPUT, &dy, &y->attr.window, x->shape, y));
}

static void grad_reshape(Diff *d, Node *y, Node *dy) {
    contribute(d, y->in[0], graph_reshape(d->g, dy, y->in[0]->shape, y->in[0]->channel, y));
}

static void grad_transpose(Diff *d, Node *y, Node *dy) {
    int back[MAX_RANK] = { 0 };
    for (int i = 0; i < y->shape.rank; i++)
        back[y->attr.perm[i]] = i;
    contribute(d, y->in[0], graph_transpose(d->g, dy, back, y));
}

static void grad_slice(Diff *d, Node *y, Node *dy) {
    int axis = y->attr.part.axis;
    contribute(d, y->in[0], graph_pad(d->g, dy, axis, y->attr.part.from, y->in[0]->shape.dim[axis], y));
}

static void grad_pad(Diff *d, Node *y, Node *dy) {
    int axis = y->attr.part.axis;
    contribute(d, y->in[0], graph_slice(d->g, dy, axis, y->attr.part.from, y->in[0]->shape.dim[axis], y));
}

static void grad_concat(Diff *d, Node *y, Node *dy) {
    int axis = y->attr.part.axis;
    int64_t from = 0;
    for (int i = 0; i < y->arity; i++) {
        int64_t size = y->in[i]->shape.dim[axis];
        if (needs(d, y->in[i]))
            contribute(d, y->in[i], graph_slice(d->g, dy, axis, from, size, y));
        from += size;
    }
}

static void grad_none(Diff *d, Node *y, Node *dy) {
    (void)d;
    (void)y;
    (void)dy;
}

static void (*const rule[OP_COUNT])(Diff *d, Node *y, Node *dy) = {
#define OP(id, text, arity, class, gradient) [OP_##id] = grad_##gradient,
#include "graph/ops.def"
};

/* ---- the walk ---- */

/* Every reader of a tensor reads its first node, where the whole gradient gathers. */
static void merge_tensors(Graph *g, Arena *scratch) {
    Node **first = NEW_ARRAY(scratch, Node *, g->program->tensor_count);
    forward_start(g);
    for (Node *n = g->first; n; n = n->next) {
        forward_inputs(n);
        if (n->op != OP_TENSOR)
            continue;
        Node **seen = &first[n->attr.tensor->index];
        if (*seen)
            forward_to(n, *seen);
        else
            *seen = n;
    }
    forward_finish(g);
}

static void find_needs(Diff *d) {
    for (Node *n = d->g->first; n; n = n->next) {
        bool through = rule[n->op] != grad_none;
        d->needs[n->id] = n->op == OP_TENSOR && !n->attr.tensor->is_state && !n->attr.tensor->group.frozen;
        for (int i = 0; i < n->arity; i++)
            d->needs[n->id] |= through && d->needs[n->in[i]->id];
    }
}

static void store_gradients(Diff *d, Node *const *tensor) {
    for (int i = 0; i < d->g->program->tensor_count; i++) {
        Node *grad = tensor[i] ? total(d, tensor[i]) : NULL;
        if (grad)
            graph_effect(d->g, EFFECT_GRADIENT, tensor[i]->attr.tensor, grad);
    }
}

void pass_autodiff(Program *p) {
    Graph *g = p->step;
    if (!g)
        return;
    Arena *scratch = arena_new(0);
    Diff d = { .g = g, .scratch = scratch };
    merge_tensors(g, scratch);
    d.needs = NEW_ARRAY(scratch, bool, g->next_id);
    d.grad = arena_alloc_array(scratch, (size_t)g->next_id, sizeof *d.grad);
    find_needs(&d);
    Node **tensor = NEW_ARRAY(scratch, Node *, p->tensor_count);
    Node *loss = g->outputs[0].node, *last = g->last;
    if (needs(&d, loss))
        contribute(&d, loss, graph_fill(g, loss->shape, loss->channel, 1, loss));
    for (Node *n = last; n; n = n->prev) {
        if (!needs(&d, n))
            continue;
        if (n->op == OP_TENSOR) {
            tensor[n->attr.tensor->index] = n;
            continue;
        }
        Node *dy = total(&d, n);
        if (dy)
            rule[n->op](&d, n, dy);
    }
    store_gradients(&d, tensor);
    graph_sort(g);
    arena_destroy(scratch);
}
