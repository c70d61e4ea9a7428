/* narrow.c - what is cut away is not computed: a node of which all readers take the same slice is computed for that
 * slice alone, from slices of its inputs. A vision transformer that reads one token in the end computes its last block,
 * keys and values apart, for this token; the gradients, which are derived after this pass, follow.
 * Values do not change: no operator here mixes places along the axis that is cut.
 * needs: topological order     keeps: shapes of what is read     spoils: use counts, order (restored at its end) */
#include "passes/passes.h"

typedef struct {
    Node **slice;                     /* readers that are SLICEs */
    int count, cap;
    bool other;                       /* an output, an effect or another reader */
} Readers;

typedef struct {
    Graph *g;
    Arena *scratch;
    Readers *readers;                 /* by id of the nodes that were there before */
} Narrow;

static void read_by(Narrow *w, const Node *x, Node *reader) {
    Readers *r = &w->readers[x->id];
    if (reader && reader->op == OP_SLICE)
        ARENA_PUSH(w->scratch, r->slice, r->count, r->cap, reader);
    else
        r->other = true;
}

/* The one slice that all readers of n take; NULL: they do not. */
static const Node *common_slice(const Narrow *w, const Node *n) {
    const Readers *r = &w->readers[n->id];
    for (int i = 1; i < r->count; i++)
        if (r->slice[i]->attr.part.axis != r->slice[0]->attr.part.axis || r->slice[i]->attr.part.from != r->slice[0]->attr.part.from ||
            !shape_equal(&r->slice[i]->shape, &r->slice[0]->shape))
            return NULL;
    return r->count && !r->other && !shape_equal(&r->slice[0]->shape, &n->shape) ? r->slice[0] : NULL;
}

/* Every place along the axis is computed from the same place of the image alone. */
static bool is_pointwise(const Window *win, int axis) {
    int i = axis - (win->channel_last ? 1 : 2);
    return i >= 0 && i < win->spatial && axis != window_channel(win) && win->kernel[i] == 1 && win->stride[i] == 1 &&
           win->pad_lo[i] == 0 && win->pad_hi[i] == 0;
}

/* Input i of n cut like `slice` along an axis of its own; itself where it has one place for all. */
static Node *cut(Narrow *w, const Node *n, int i, const Node *slice, int axis) {
    Node *x = n->in[i];
    int64_t size = slice->shape.dim[slice->attr.part.axis];
    if (x->shape.rank == 0 || x->shape.dim[axis] == 1) {
        read_by(w, x, NULL);
        return x;
    }
    const Readers *r = &w->readers[x->id];
    for (int k = 0; k < r->count; k++)
        if (r->slice[k]->attr.part.axis == axis && r->slice[k]->attr.part.from == slice->attr.part.from && r->slice[k]->shape.dim[axis] == size)
            return r->slice[k];
    Node *part = graph_slice(w->g, x, axis, slice->attr.part.from, size, n);
    read_by(w, x, part);
    return part;
}

static Node *narrow_map(Narrow *w, const Node *n, const Node *slice) {
    Node **in = NEW_ARRAY(w->scratch, Node *, n->arity);
    if (n->attr.expr->coord_limit > 0)
        return NULL;
    for (int i = 0; i < n->arity; i++)
        in[i] = cut(w, n, i, slice, slice->attr.part.axis);
    return graph_map_shape(w->g, n->attr.expr, in, n->arity, slice->shape, n->channel, n);
}

static Node *narrow_attention(Narrow *w, const Node *n, const Node *slice) {
    if (slice->attr.part.axis != 1 || n->attr.attention.causal)
        return NULL;
    Node *q = cut(w, n, 0, slice, 1);
    read_by(w, n->in[1], NULL);
    read_by(w, n->in[2], NULL);
    return graph_attention(w->g, q, n->in[1], n->in[2], &n->attr.attention, n);
}

static Node *narrow_conv(Narrow *w, const Node *n, const Node *slice) {
    if (!is_pointwise(&n->attr.window, slice->attr.part.axis))
        return NULL;
    read_by(w, n->in[1], NULL);
    return graph_conv(w->g, cut(w, n, 0, slice, slice->attr.part.axis), n->in[1], &n->attr.window, n);
}

static Node *narrow_reduce(Narrow *w, const Node *n, const Node *slice) {
    int axis = slice->attr.part.axis;
    return n->attr.axes >> axis & 1 ? NULL : graph_reduce(w->g, n->op, cut(w, n, 0, slice, axis), n->attr.axes, n);
}

/* Along the same axis the two become one. Slices along different axes stay as they are, so that the parts of a split
 * remain its parts. */
static Node *narrow_slice(Narrow *w, const Node *n, const Node *slice) {
    int axis = slice->attr.part.axis;
    if (axis != n->attr.part.axis)
        return NULL;
    Node *part = graph_slice(w->g, n->in[0], axis, n->attr.part.from + slice->attr.part.from, slice->shape.dim[axis], n);
    read_by(w, n->in[0], part);
    return part;
}

/* n for the slice alone; NULL: it needs what is cut away. */
static Node *narrowed(Narrow *w, const Node *n, const Node *slice) {
    int axis = slice->attr.part.axis;
    switch (n->op) {
    case OP_MAP: return narrow_map(w, n, slice);
    case OP_ATTENTION: return narrow_attention(w, n, slice);
    case OP_CONV: return narrow_conv(w, n, slice);
    case OP_SUM: case OP_MAXIMUM: return narrow_reduce(w, n, slice);
    case OP_SLICE: return narrow_slice(w, n, slice);
    case OP_TRANSPOSE: return graph_transpose(w->g, cut(w, n, 0, slice, n->attr.perm[axis]), n->attr.perm, n);
    default: return NULL;
    }
}

static void visit(Narrow *w, Node *n) {
    const Readers *r = &w->readers[n->id];
    const Node *slice = common_slice(w, n);
    Node *with = slice ? narrowed(w, n, slice) : NULL;
    for (int i = 0; with && i < r->count; i++)
        forward_to(r->slice[i], with);
    for (int i = 0; !with && (r->count || r->other) && i < n->arity; i++)
        read_by(w, n->in[i], n);
}

void graph_narrow(Graph *g) {
    Arena *scratch = arena_new(0);
    Narrow w = { .g = g, .scratch = scratch };
    w.readers = arena_alloc_array(scratch, (size_t)g->next_id, sizeof *w.readers);
    forward_start(g);
    for (int i = 0; i < g->output_count; i++)
        read_by(&w, g->outputs[i].node, NULL);
    for (int i = 0; i < g->effect_count; i++)
        read_by(&w, g->effects[i].value, NULL);
    for (Node *n = g->last; n; n = n->prev)
        visit(&w, n);
    for (Node *n = g->first; n; n = n->next)
        forward_inputs(n);
    forward_finish(g);
    graph_sort(g);
    graph_dce(g);
    arena_destroy(scratch);
}
