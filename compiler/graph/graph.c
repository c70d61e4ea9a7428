/* graph.c - nodes: building, aligning, replacing, ordering.
 * A builder appends one node and asserts the operator's rule (node_error in shape.c). */
#include "graph/graph.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

Graph *graph_new(Program *p, const char *name) {
    Graph *g = NEW(p->arena, Graph);
    *g = (Graph){ .name = name, .program = p, .arena = p->arena, .exprs = p->exprs };
    return g;
}

static void link_last(Graph *g, Node *n) {
    n->prev = g->last;
    n->next = NULL;
    if (g->last)
        g->last->next = n;
    else
        g->first = n;
    g->last = n;
}

static void unlink_node(Graph *g, Node *n) {
    *(n->prev ? &n->prev->next : &g->first) = n->next;
    *(n->next ? &n->next->prev : &g->last) = n->prev;
    n->prev = n->next = NULL;
}

/* A node that is not in the list yet: f32, its inputs copied, its place taken from `like`. */
static Node *node_new(Graph *g, OpId op, Node *const *in, int arity, Shape s, int channel, const Node *like) {
    Node *n = NEW(g->arena, Node);
    *n = (Node){ .op = op, .shape = s, .type = TYPE_F32, .channel = channel, .arity = arity, .tap = "" };
    n->in = NEW_ARRAY(g->arena, Node *, arity);
    for (int i = 0; i < arity; i++)
        n->in[i] = in[i];
    if (like) {
        n->span = like->span;
        n->tap = like->tap;
        n->trace = like->trace;
    }
    return n;
}

static Node *append(Graph *g, Node *n) {
    assert(!node_error(n));
    n->id = g->next_id++;
    link_last(g, n);
    return n;
}

/* ---- leaves ---- */

Node *graph_copy(Graph *g, const Node *n) {
    Node *copy = node_new(g, n->op, n->in, n->arity, n->shape, n->channel, n);
    copy->type = n->type;
    copy->attr = n->attr;
    copy->again = n->again;
    return append(g, copy);
}

Node *graph_input(Graph *g, const char *name, DType t, Shape s, int channel, const Node *like) {
    Node *n = node_new(g, OP_INPUT, NULL, 0, s, channel, like);
    n->type = t;
    n->attr.input = g->input_count;
    g->inputs = arena_grow(g->arena, g->inputs, (size_t)g->input_count, (size_t)g->input_count + 1, sizeof(Port));
    g->inputs[g->input_count++] = (Port){ name, n };
    return append(g, n);
}

Node *graph_tensor(Graph *g, TensorDecl *t, const Node *like) {
    Node *n = node_new(g, OP_TENSOR, NULL, 0, t->shape, t->channel, like);
    n->attr.tensor = t;
    return append(g, n);
}

Node *graph_fill(Graph *g, Shape s, int channel, double value, const Node *like) {
    Node *n = node_new(g, OP_FILL, NULL, 0, s, channel, like);
    n->attr.value = value;
    return append(g, n);
}

Node *graph_scalar(Graph *g, ScalarId id, const Node *like) {
    Node *n = node_new(g, OP_SCALAR, NULL, 0, (Shape){ 0 }, -1, like);
    n->attr.scalar = id;
    return append(g, n);
}

Node *graph_slab(Graph *g, TableId table, int64_t offset, int64_t count, const Node *like) {
    Node *n = node_new(g, OP_SLAB, NULL, 0, shape_of(false, 1, &count), -1, like);
    n->attr.slab.table = table;
    n->attr.slab.offset = offset;
    return append(g, n);
}

Node *graph_random(Graph *g, Shape s, int channel, uint32_t stream, const Node *like) {
    Node *n = node_new(g, OP_RANDOM, NULL, 0, s, channel, like);
    n->attr.stream = stream;
    return append(g, n);
}

/* ---- maps ---- */

Node *graph_map_shape(Graph *g, const Expr *e, Node *const *in, int arity, Shape s, int channel, const Node *like) {
    Node *n = node_new(g, OP_MAP, in, arity, s, channel, like);
    n->attr.expr = e;
    return append(g, n);
}

Node *graph_map_integer(Graph *g, const Expr *e, Node *const *in, int arity, Shape s, int channel, DType type, const Node *like) {
    Node *n = node_new(g, OP_MAP, in, arity, s, channel, like);
    n->attr.expr = e;
    n->type = type;
    return append(g, n);
}

Node *graph_map(Graph *g, const Expr *e, Node *const *in, int arity, const Node *like) {
    Shape s = { 0 };
    int channel = -1;
    for (int i = 0; i < arity; i++) {
        bool fits = shape_join(&s, &in[i]->shape, &s);
        assert(fits && "inputs of a map broadcast");
        (void)fits;
        if (channel < 0)
            channel = in[i]->channel;
    }
    return graph_map_shape(g, e, in, arity, s, channel, like);
}

Node *graph_unary(Graph *g, ExprOp op, Node *x, const Node *like) {
    return graph_map(g, expr_make(g->exprs, op, expr_input(g->exprs, 0), NULL, NULL), &x, 1, like);
}

/* Dimensions of x as an operand over target, whose rank is the larger; false where they cannot be. */
static bool aligned_shape(const Node *x, const Shape *target, int channel, Shape *result, int *first) {
    if (x->shape.batched || x->shape.rank > target->rank)
        return false;
    *first = x->shape.rank == 1 && channel >= 0 ? channel : target->rank - x->shape.rank;
    *result = (Shape){ .rank = target->rank };
    for (int i = 0; i < target->rank; i++)
        result->dim[i] = i >= *first && i < *first + x->shape.rank ? x->shape.dim[i - *first] : 1;
    return true;
}

Node *graph_align(Graph *g, Node *x, const Shape *target, int channel, const Node *like) {
    Shape s, joined;
    int first;
    if (x->shape.rank == 0)
        return x;
    if (x->shape.rank == target->rank)
        return shape_join(&x->shape, target, &joined) ? x : NULL;
    if (!aligned_shape(x, target, channel, &s, &first) || !shape_join(&s, target, &joined))
        return NULL;
    int own = x->shape.rank == 1 ? 0 : x->channel;
    return graph_reshape(g, x, s, own < 0 ? -1 : first + own, like);
}

Node *graph_binary(Graph *g, ExprOp op, Node *x, Node *y, const Node *like) {
    const Expr *e = expr_make(g->exprs, op, expr_input(g->exprs, 0), expr_input(g->exprs, 1), NULL);
    Node *in[2] = { x, y };
    if (x->shape.rank < y->shape.rank)
        in[0] = graph_align(g, x, &y->shape, y->channel, like);
    else
        in[1] = graph_align(g, y, &x->shape, x->channel, like);
    assert(in[0] && in[1] && "operands broadcast");
    int channel = x->shape.rank < y->shape.rank ? y->channel : x->shape.rank > y->shape.rank ? x->channel : -1;
    if (x->shape.rank == y->shape.rank)
        channel = x->channel >= 0 ? x->channel : y->channel;
    Shape s;
    bool fits = shape_join(&in[0]->shape, &in[1]->shape, &s);
    assert(fits);
    (void)fits;
    return graph_map_shape(g, e, in, 2, s, channel, like);
}

/* ---- reductions, windows, moves ---- */

Node *graph_reduce(Graph *g, OpId op, Node *x, unsigned axes, const Node *like) {
    assert(op_info[op].class == CLASS_REDUCE);
    Shape s = x->shape;
    for (int i = 0; i < s.rank; i++)
        if (axes >> i & 1)
            s.dim[i] = 1;
    s.batched = s.batched && !(axes & 1);
    Node *n = node_new(g, op, &x, 1, s, x->channel, like);
    n->attr.axes = axes;
    return append(g, n);
}

static Node *window_node(Graph *g, OpId op, Node *const *in, Shape s, int channel, const Window *win, const Node *like) {
    Node *n = node_new(g, op, in, op_info[op].arity, s, channel, like);
    n->attr.window = *win;
    return append(g, n);
}

static Shape conv_shape(const Node *x, const Node *w, const Window *win) {
    Shape s = x->shape;
    int64_t *sizes = s.dim + (window_sizes(win, &s) - s.dim);
    bool fits = x->shape.rank == win->spatial + 2 && window_result(win, window_sizes(win, &x->shape), sizes);
    assert(fits && "the window fits");
    (void)fits;
    s.dim[window_channel(win)] = w->shape.dim[0];
    return s;
}

Node *graph_conv(Graph *g, Node *x, Node *w, const Window *win, const Node *like) {
    return window_node(g, OP_CONV, (Node *[]){ x, w }, conv_shape(x, w, win), window_channel(win), win, like);
}

Node *graph_conv_half(Graph *g, Node *x, Node *w, const Window *win, const Node *like) {
    return window_node(g, OP_CONV_HALF, (Node *[]){ x, w }, conv_shape(x, w, win), window_channel(win), win, like);
}

Node *graph_conv_int8(Graph *g, Node *x, Node *w, Node *zero, Node *step, const Window *win, const Node *like) {
    return window_node(g, OP_CONV_INT8, (Node *[]){ x, w, zero, step }, conv_shape(x, w, win), window_channel(win), win, like);
}

Node *graph_conv_input(Graph *g, Node *dy, Node *w, const Window *win, Shape x, const Node *like) {
    return window_node(g, OP_CONV_INPUT, (Node *[]){ dy, w }, x, window_channel(win), win, like);
}

Node *graph_conv_weight(Graph *g, Node *x, Node *dy, const Window *win, Shape w, const Node *like) {
    return window_node(g, OP_CONV_WEIGHT, (Node *[]){ x, dy }, w, -1, win, like);
}

Node *graph_pool(Graph *g, OpId op, Node *const *in, const Window *win, Shape result, const Node *like) {
    assert(op_info[op].class == CLASS_POOL);
    return window_node(g, op, in, result, 1, win, like);
}

Node *graph_reshape(Graph *g, Node *x, Shape s, int channel, const Node *like) {
    Node *n = node_new(g, OP_RESHAPE, &x, 1, s, channel, like);
    n->type = x->type;
    return append(g, n);
}

Node *graph_transpose(Graph *g, Node *x, const int *perm, const Node *like) {
    Node *n = node_new(g, OP_TRANSPOSE, &x, 1, x->shape, -1, like);
    n->type = x->type;
    for (int i = 0; i < x->shape.rank; i++) {
        n->attr.perm[i] = perm[i];
        n->shape.dim[i] = x->shape.dim[perm[i]];
        if (perm[i] == x->channel)
            n->channel = i;
    }
    return append(g, n);
}

static Node *attention_node(Graph *g, OpId op, Node *const *in, const Node *shaped, const Attention *a, const Node *like) {
    Node *n = node_new(g, op, in, op_info[op].arity, shaped->shape, 2, like);
    n->attr.attention = *a;
    return append(g, n);
}

Node *graph_attention(Graph *g, Node *q, Node *k, Node *v, const Attention *a, const Node *like) {
    return attention_node(g, OP_ATTENTION, (Node *[]){ q, k, v }, q, a, like);
}

Node *graph_attention_gradient(Graph *g, OpId op, Node *const *in, const Attention *a, const Node *like) {
    assert(op >= OP_ATTENTION_Q && op <= OP_ATTENTION_V);
    return attention_node(g, op, in, in[op - OP_ATTENTION_Q], a, like);
}

/* in[0] with another size along an axis */
static Node *part_node(Graph *g, OpId op, Node *const *in, int count, int axis, int64_t from, int64_t size, const Node *like) {
    Node *n = node_new(g, op, in, count, in[0]->shape, in[0]->channel, like);
    n->type = in[0]->type;
    assert(axis >= 0 && axis < n->shape.rank);
    n->shape.dim[axis] = size;
    n->attr.part.axis = axis;
    n->attr.part.from = from;
    return append(g, n);
}

Node *graph_slice(Graph *g, Node *x, int axis, int64_t from, int64_t size, const Node *like) {
    return part_node(g, OP_SLICE, &x, 1, axis, from, size, like);
}

Node *graph_pad(Graph *g, Node *x, int axis, int64_t from, int64_t size, const Node *like) {
    return part_node(g, OP_PAD, &x, 1, axis, from, size, like);
}

Node *graph_concat(Graph *g, Node *const *in, int count, int axis, const Node *like) {
    int64_t size = 0;
    for (int i = 0; i < count; i++)
        size += in[i]->shape.dim[axis];
    return part_node(g, OP_CONCAT, in, count, axis, 0, size, like);
}

/* ---- results ---- */

static void add_effect(Graph *g, Effect e) {
    ARENA_PUSH(g->arena, g->effects, g->effect_count, g->effect_cap, e);
}

void graph_effect(Graph *g, EffectKind kind, TensorDecl *t, Node *value) {
    assert(kind == EFFECT_STATE || kind == EFFECT_GRADIENT);
    add_effect(g, (Effect){ .kind = kind, .tensor = t, .value = value });
}

void graph_effect_slab(Graph *g, TableId table, int64_t offset, Node *value) {
    add_effect(g, (Effect){ .kind = EFFECT_SLAB, .table = table, .offset = offset, .value = value });
}

void graph_output(Graph *g, const char *name, Node *node) {
    g->outputs = arena_grow(g->arena, g->outputs, (size_t)g->output_count, (size_t)g->output_count + 1, sizeof(Port));
    g->outputs[g->output_count++] = (Port){ name, node };
}

/* ---- changing ---- */

void graph_replace(Graph *g, Node *old, Node *with) {
    for (Node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->arity && n != with; i++)
            if (n->in[i] == old)
                n->in[i] = with;
    for (int i = 0; i < g->output_count; i++)
        if (g->outputs[i].node == old)
            g->outputs[i].node = with;
    for (int i = 0; i < g->effect_count; i++)
        if (g->effects[i].value == old)
            g->effects[i].value = with;
}

void graph_remove(Graph *g, Node *n) {
    assert(n->op != OP_INPUT && "inputs are part of the interface");
    unlink_node(g, n);
}

void graph_move_before(Graph *g, Node *n, Node *before) {
    if (n == before)
        return;
    unlink_node(g, n);
    n->next = before;
    n->prev = before->prev;
    *(before->prev ? &before->prev->next : &g->first) = n;
    before->prev = n;
}

int graph_count(const Graph *g) {
    int count = 0;
    for (const Node *n = g->first; n; n = n->next)
        count++;
    return count;
}

/* ---- ordering ---- */

enum { MARK_OUTSIDE, MARK_WAITING, MARK_OPEN, MARK_DONE };

typedef struct {
    unsigned char *mark;                          /* by id */
    struct { Node *node; int next; } *stack;      /* nodes whose inputs are being placed */
    Node **order;
    int count;
} Sort;

/* Places n behind everything it reads. */
static void place(Sort *s, Node *n) {
    int depth = 0;
    if (s->mark[n->id] == MARK_DONE)
        return;
    s->mark[n->id] = MARK_OPEN;
    s->stack[depth].node = n;
    s->stack[depth++].next = 0;
    while (depth) {
        Node *top = s->stack[depth - 1].node;
        if (s->stack[depth - 1].next == top->arity) {
            s->mark[top->id] = MARK_DONE;
            s->order[s->count++] = top;
            depth--;
            continue;
        }
        Node *in = top->in[s->stack[depth - 1].next++];
        assert(s->mark[in->id] != MARK_OPEN && "no cycle");
        assert(s->mark[in->id] != MARK_OUTSIDE && "every input is a node of the graph");
        if (s->mark[in->id] == MARK_WAITING) {
            s->mark[in->id] = MARK_OPEN;
            s->stack[depth].node = in;
            s->stack[depth++].next = 0;
        }
    }
}

void graph_sort(Graph *g) {
    Arena *scratch = arena_new(0);
    int count = graph_count(g);
    Sort s = { .mark = NEW_ARRAY(scratch, unsigned char, g->next_id), .order = NEW_ARRAY(scratch, Node *, count) };
    s.stack = arena_alloc_array(scratch, (size_t)count, sizeof *s.stack);
    for (Node *n = g->first; n; n = n->next)
        s.mark[n->id] = MARK_WAITING;
    for (Node *n = g->first; n; n = n->next)
        place(&s, n);
    g->first = g->last = NULL;
    for (int i = 0; i < s.count; i++) {
        s.order[i]->id = i;
        link_last(g, s.order[i]);
    }
    g->next_id = s.count;
    arena_destroy(scratch);
}
