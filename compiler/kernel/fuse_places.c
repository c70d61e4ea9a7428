/* fuse_places.c - how values lie in memory: what must have memory, blocked or plain, aliases, places that are given. */
#include "kernel/fuse.h"

Node *fuse_resolve(Node *n) {
    while (value_info(n)->alias)
        n = value_info(n)->alias;
    return n;
}

/* ---- leaves that a loop nest cannot read as they are ---- */

bool fuse_immediate(const Node *n) { return n->op == OP_FILL || n->op == OP_SCALAR; }

/* A constant or run-time scalar where memory is needed becomes a MAP that writes it. */
static Node *materialise_immediate(Fuse *f, Node *n, Node *before) {
    Graph *g = f->graph;
    const Expr *e = n->op == OP_FILL ? expr_const(g->exprs, n->attr.value) : expr_input(g->exprs, 0);
    Node *map = graph_map_shape(g, e, &n, n->op == OP_FILL ? 0 : 1, n->shape, n->channel, n);
    if (before)
        graph_move_before(g, map, before);
    return map;
}

/* Leaves are never written in place: an output or effect that is one goes through a MAP. */
static Node *through_map(Fuse *f, Node *n) {
    if (fuse_immediate(n))
        return materialise_immediate(f, n, NULL);
    if (op_info[n->op].class != CLASS_LEAF)
        return n;
    return graph_map_shape(f->graph, expr_input(f->graph->exprs, 0), &n, 1, n->shape, n->channel, n);
}

void fuse_leaves(Fuse *f) {
    Graph *g = f->graph;
    for (Node *n = g->first; n; n = n->next) {
        if (n->op == OP_MAP)
            continue;
        for (int i = 0; i < n->arity; i++)
            if (fuse_immediate(n->in[i]))
                n->in[i] = materialise_immediate(f, n->in[i], n);
    }
    for (int i = 0; i < g->output_count; i++)
        g->outputs[i].node = through_map(f, g->outputs[i].node);
    for (int i = 0; i < g->effect_count; i++)
        g->effects[i].value = through_map(f, g->effects[i].value);
}

/* ---- layouts ---- */

/* Elements of an image before its channel axis (behind: after it). */
static int64_t positions(const Node *n, bool behind) {
    int64_t count = 1;
    for (int i = behind ? n->channel + 1 : 1; i < (behind ? n->shape.rank : n->channel); i++)
        count *= n->shape.dim[i];
    return count;
}

/* Whether blocked x, read as the reshaped n, is the same memory: the channels are the same, and what is
 * counted before and behind them. [N, C, 1, 1] is [N, C], [N, C, 8, 8] is [N, C, 64]. */
static bool same_blocks(const Node *x, const Node *n) {
    return layout_wants_blocks(n) && x->shape.dim[x->channel] == n->shape.dim[n->channel] &&
           positions(x, false) == positions(n, false) && positions(x, true) == positions(n, true);
}

/* Whether blocked x is laid out as if it were plain. */
static bool blocks_are_plain(const Node *x, int width) {
    int64_t channels = x->shape.dim[x->channel];
    return channels % width == 0 && positions(x, true) == 1 && (channels == width || positions(x, false) == 1);
}

static void layout_reshape(Node *n, int width) {
    Node *x = n->in[0];
    ValueInfo *v = value_info(n);
    if (value_info(x)->layout == LAYOUT_BLOCKED && same_blocks(x, n)) {
        v->layout = LAYOUT_BLOCKED;
        v->alias = x;
    } else if (value_info(x)->layout == LAYOUT_PLAIN || blocks_are_plain(x, width)) {
        v->alias = x;
    }
}

/* Whether the axes of x longer than 1, but for those of `but`, keep their order in the transposed n. */
static bool same_order(const Node *x, const Node *n, int but) {
    int last = -1;
    for (int i = 0; i < n->shape.rank; i++) {
        int from = n->attr.perm[i];
        if (from == but || x->shape.dim[from] == 1)
            continue;
        if (from < last)
            return false;
        last = from;
    }
    return true;
}

/* Blocked channels may go anywhere: their place in memory stays. */
static void layout_transpose(Node *n) {
    Node *x = n->in[0];
    ValueInfo *v = value_info(n);
    bool blocked = value_info(x)->layout == LAYOUT_BLOCKED;
    bool follows = blocked && layout_wants_blocks(n) && n->attr.perm[n->channel] == x->channel;
    if ((blocked && !follows) || !same_order(x, n, blocked ? x->channel : -1))
        return;
    v->layout = value_info(x)->layout;
    v->alias = x;
}

/* Whether n's schedule reads a blocked x as it is. */
static bool reads_blocks(const Node *n, const Node *x) {
    switch (op_info[n->op].class) {
    case CLASS_MAP: return layout_wants_blocks(n) && n->channel == x->channel;
    case CLASS_CONTRACT: return x->channel == (is_attention(n) ? 2 : window_channel(&n->attr.window));
    case CLASS_POOL: return x->channel == 1;
    default: return true;
    }
}

/* Blocked operands that n does not read as they are, such as over other channels than its own, are copied to plain. */
static void conform_operands(Fuse *f, Node *n) {
    for (int i = 0; i < n->arity; i++) {
        Node *x = n->in[i];
        if (value_info(x)->layout == LAYOUT_PLAIN || reads_blocks(n, x))
            continue;
        Node *plain = graph_reshape(f->graph, x, x->shape, -1, x);
        graph_move_before(f->graph, plain, n);
        plain->note = NEW(f->arena, ValueInfo);
        layout_reshape(plain, f->target->width);
        n->in[i] = plain;
    }
}

/* For every node whether something else than attention reads it. */
static bool *find_other_readers(const Fuse *f) {
    const Graph *g = f->graph;
    bool *other = NEW_ARRAY(f->arena, bool, g->next_id);
    for (const Node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->arity; i++)
            other[n->in[i]->id] |= !is_attention(n);
    for (int i = 0; i < g->output_count; i++)
        other[g->outputs[i].node->id] = true;
    for (int i = 0; i < g->effect_count; i++)
        other[g->effects[i].value->id] = true;
    return other;
}

/* Attention reads some channels of a blocked value where they are. */
static bool is_read_in_place(const Node *n) {
    return n->op == OP_SLICE && n->attr.part.axis == n->channel && value_info(n->in[0])->layout == LAYOUT_BLOCKED &&
           n->in[0]->channel == n->channel && layout_wants_blocks(n);
}

void fuse_layouts(Fuse *f) {
    const bool *other = find_other_readers(f);
    int known = f->graph->next_id;
    for (Node *n = f->graph->first; n; n = n->next) {
        n->note = NEW(f->arena, ValueInfo);
        conform_operands(f, n);
        if (op_info[n->op].class == CLASS_LEAF)
            continue;
        if (n->op == OP_RESHAPE)
            layout_reshape(n, f->target->width);
        else if (n->op == OP_TRANSPOSE)
            layout_transpose(n);
        else if (layout_wants_blocks(n))
            value_info(n)->layout = LAYOUT_BLOCKED;
        if (n->id < known && !other[n->id] && is_read_in_place(n))
            value_info(n)->alias = n->in[0];
    }
}

/* ---- places ---- */

void fuse_claim(Node *n, int space, int64_t offset) {
    ValueInfo *v = value_info(n);
    v->placed = true;
    v->space = space;
    v->offset = offset;
}

/* n itself where its value can be written straight to a plain place of its own; else a MAP that copies it there. */
static Node *claim_place(Fuse *f, Node *n, int space, int64_t offset) {
    Node *base = fuse_resolve(n);
    if (value_info(base)->layout == LAYOUT_PLAIN && !value_info(base)->placed) {
        fuse_claim(base, space, offset);
        return n;
    }
    Node *copy = graph_map_shape(f->graph, expr_input(f->graph->exprs, 0), &n, 1, n->shape, n->channel, n);
    copy->note = NEW(f->arena, ValueInfo);
    conform_operands(f, copy);
    fuse_claim(copy, space, offset);
    return copy;
}

int64_t fuse_effect_offset(const Effect *e) {
    return 4 * (e->kind == EFFECT_SLAB ? e->offset : e->tensor->offset);
}

int fuse_effect_space(const Effect *e) {
    if (e->kind == EFFECT_SLAB)
        return (int)e->table;
    return e->kind == EFFECT_STATE ? SPACE_STATES : SPACE_GRADS;
}

static void claim_leaf(Node *n) {
    if (n->op == OP_INPUT)
        fuse_claim(n, SPACE_INPUT + n->attr.input, 0);
    else if (n->op == OP_TENSOR)
        fuse_claim(n, n->attr.tensor->is_state ? SPACE_STATES : SPACE_PARAMS, 4 * n->attr.tensor->offset);
    else if (n->op == OP_SLAB)
        fuse_claim(n, (int)n->attr.slab.table, 4 * n->attr.slab.offset);
}

void fuse_places(Fuse *f) {
    Graph *g = f->graph;
    for (Node *n = g->first; n; n = n->next)
        claim_leaf(n);
    for (int i = 0; i < g->output_count; i++)
        g->outputs[i].node = claim_place(f, g->outputs[i].node, SPACE_OUTPUT + i, 0);
    for (int i = 0; i < g->effect_count; i++)
        g->effects[i].value = claim_place(f, g->effects[i].value, fuse_effect_space(&g->effects[i]), fuse_effect_offset(&g->effects[i]));
}
