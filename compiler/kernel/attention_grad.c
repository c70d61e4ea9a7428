/* attention_grad.c - ATTENTION_Q, _K, _V: the gradients by queries, keys and values (attention.h).
 * Those of one attention are computed together, by the call of the first: with p = softmax(scale q k),
 *
 *   dp = dy v,  ds = scale p (dp - sum over keys: p dp),  dq = sum over keys: ds k,  dk = sum over queries: ds q,  dv = sum over queries: p dy
 *
 * p is computed again. Sums over queries go over the chunks in order, so one task has all queries of a head then. */
#include "kernel/attention.h"

enum { DQ, DK, DV, RESULTS };

typedef struct {
    Heads h;
    Node *result[RESULTS];                     /* NULL: not wanted */
    HeadRows q, k, v, dy, d[RESULTS];
    int slopes, dy_lanes, mean;                /* scratch: dp, then ds, [key][lane]; dy transposed; sum over keys: p dp */
} Gradients;

static bool same_inputs(const Node *a, const Node *b) {
    for (int i = 0; i < 4; i++)
        if (a->in[i] != b->in[i])
            return false;
    return a->attr.attention.heads == b->attr.attention.heads && a->attr.attention.scale == b->attr.attention.scale &&
           a->attr.attention.causal == b->attr.attention.causal;
}

/* The gradients of g's attention that are wanted; false where an earlier group has computed them. */
static bool find_results(const Lower *l, const Group *g, Node **result) {
    for (int i = 0; i < l->grouping->count; i++) {
        const Group *other = l->grouping->groups[i];
        Node *n = other->anchor;
        if (!n || n->op < OP_ATTENTION_Q || n->op > OP_ATTENTION_V || !same_inputs(n, g->anchor) || result[n->op - OP_ATTENTION_Q])
            continue;
        if (other->id < g->id)
            return false;
        result[n->op - OP_ATTENTION_Q] = n;
    }
    return true;
}

static bool wants_slopes(const Gradients *s) { return s->result[DQ] || s->result[DK]; }

static Index lane_vector(const Heads *h, int v) { return index_const((int64_t)v * h->width); }

/* p, normalized, and dp; their product is added up over the keys. */
static void finish_slope(Heads *h, void *context, Index key, int keys) {
    const Gradients *s = context;
    Kernel *k = h->k;
    for (int v = 0; v < h->vectors; v++) {
        Reg inverse = kb_load(k, ACCESS_VECTOR, h->inverse, lane_vector(h, v));
        Reg mean = kb_load(k, ACCESS_VECTOR, s->mean, lane_vector(h, v));
        for (int i = 0; i < keys; i++) {
            Index at = heads_lane(h, index_plus(key, i), v);
            Reg dp = h->acc[i * h->vectors + v], p = kb_op(k, KOP_FMUL, kb_load(k, ACCESS_VECTOR, h->scores, at), inverse, NO_REG);
            kb_store(k, ACCESS_VECTOR, h->scores, at, p);
            kb_store(k, ACCESS_VECTOR, s->slopes, at, dp);
            mean = kb_op(k, KOP_FMA, p, dp, mean);
        }
        kb_store(k, ACCESS_VECTOR, s->mean, lane_vector(h, v), mean);
    }
}

static void slopes(Gradients *s) {
    Heads *h = &s->h;
    Kernel *k = h->k;
    Reg mean[MAX_HEAD_VECTORS];
    heads_transpose(h, &s->dy, s->dy_lanes, 1);
    for (int v = 0; v < h->vectors; v++)
        kb_store(k, ACCESS_VECTOR, s->mean, lane_vector(h, v), kb_const(k, 0, true));
    heads_lanes(h, &s->v, s->dy_lanes, finish_slope, s);
    for (int v = 0; v < h->vectors; v++)
        mean[v] = kb_load(k, ACCESS_VECTOR, s->mean, lane_vector(h, v));
    Index key = index_var(kb_loop(k, "key", index_const(0), index_const(h->keys), 1));
    for (int v = 0; v < h->vectors; v++) {
        Index at = heads_lane(h, key, v);
        Reg p = kb_load(k, ACCESS_VECTOR, h->scores, at), dp = kb_load(k, ACCESS_VECTOR, s->slopes, at);
        Reg ds = kb_op(k, KOP_FMUL, p, kb_op(k, KOP_FSUB, dp, mean[v], NO_REG), NO_REG);
        kb_store(k, ACCESS_VECTOR, s->slopes, at, kb_op(k, KOP_FMUL, ds, kb_const(k, h->attr.scale, true), NO_REG));
    }
    kb_end(k);
}

static void normalize(Gradients *s) {
    Heads *h = &s->h;
    Kernel *k = h->k;
    Reg inverse[MAX_HEAD_VECTORS];
    for (int v = 0; v < h->vectors; v++)
        inverse[v] = kb_load(k, ACCESS_VECTOR, h->inverse, lane_vector(h, v));
    Index key = index_var(kb_loop(k, "key", index_const(0), index_const(h->keys), 1));
    for (int v = 0; v < h->vectors; v++) {
        Index at = heads_lane(h, key, v);
        kb_store(k, ACCESS_VECTOR, h->scores, at, kb_op(k, KOP_FMUL, kb_load(k, ACCESS_VECTOR, h->scores, at), inverse[v], NO_REG));
    }
    kb_end(k);
}

/* Sums over the chunk's queries: dk and dv. */
static void add_queries(Gradients *s, int weights, const HeadRows *x, const HeadRows *to) {
    Heads *h = &s->h;
    heads_rows(h, &(RowProduct){.weights = weights, .row_step = h->lanes, .sum_step = 1, .x = x, .x_first = h->first, .sums = h->count,
                                .static_sums = h->static_count, .to = to, .to_first = index_const(0), .rows = index_const(h->keys),
                                .static_rows = h->keys, .factor = -1, .add = h->chunks > 1});
}

static void chunk(Gradients *s) {
    Heads *h = &s->h;
    heads_softmax(h, &s->q, &s->k);
    if (wants_slopes(s))
        slopes(s);
    else
        normalize(s);
    if (s->result[DQ]) {
        heads_rows(h, &(RowProduct){.weights = s->slopes, .row_step = 1, .sum_step = h->lanes, .x = &s->k, .x_first = index_const(0),
                                    .sums = index_const(h->keys), .static_sums = h->keys, .to = &s->d[DQ], .to_first = h->first,
                                    .rows = h->count, .static_rows = h->static_count, .factor = -1});
        heads_scatter(h, &s->d[DQ], h->first, index_add(h->first, h->count));
    }
    if (s->result[DK])
        add_queries(s, s->slopes, &s->q, &s->d[DK]);
    if (s->result[DV])
        add_queries(s, h->scores, &s->dy, &s->d[DV]);
}

static void clear_rows(Heads *h, const HeadRows *r) {
    Kernel *k = h->k;
    Index block = index_var(kb_loop(k, "block", index_const(0), index_const(h->blocks), 1));
    Index token = index_var(kb_loop(k, "token", index_const(0), index_const(r->tokens), 1));
    Index at = index_add(index_scale(block, r->block_step), index_scale(token, r->token_step));
    kb_store(k, ACCESS_VECTOR, r->buffer, index_add(r->base, at), kb_const(k, 0, true));
    kb_end(k);
    kb_end(k);
}

static void build(Gradients *s) {
    Heads *h = &s->h;
    HeadRows *in[] = {&s->q, &s->k, &s->v, &s->dy};
    heads_begin(h);
    for (int i = 0; i < COUNT(in); i++) {
        heads_place(h, in[i]);
        heads_gather(h, in[i]);
    }
    for (int i = 0; i < RESULTS; i++)
        if (s->result[i])
            heads_place(h, &s->d[i]);
    for (int i = DK; i < RESULTS; i++)
        if (s->result[i] && h->chunks > 1)
            clear_rows(h, &s->d[i]);
    int opened = heads_chunks(h);
    chunk(s);
    while (opened--)
        kb_end(h->k);
    for (int i = DK; i < RESULTS; i++)
        if (s->result[i])
            heads_scatter(h, &s->d[i], index_const(0), index_const(h->keys));
}

static void declare(Gradients *s, const Node *n) {
    static const char *const names[RESULTS] = {"dq", "dk", "dv"};
    Heads *h = &s->h;
    s->q = heads_argument(h, "q", n->in[0], false);
    s->k = heads_argument(h, "k", n->in[1], false);
    s->v = heads_argument(h, "v", n->in[2], false);
    s->dy = heads_argument(h, "dy", n->in[3], false);
    for (int i = 0; i < RESULTS; i++)
        if (s->result[i])
            s->d[i] = heads_argument(h, names[i], s->result[i], true);
    heads_scratch(h);
    if (!wants_slopes(s))
        return;
    s->slopes = kb_scratch(h->k, "slopes", ELEM_F32, h->keys * h->lanes);
    s->dy_lanes = kb_scratch(h->k, "dy_lanes", ELEM_F32, h->head * h->lanes);
    s->mean = kb_scratch(h->k, "mean", ELEM_F32, h->lanes);
}

void lower_attention_gradients(Lower *l, const Group *g) {
    Gradients s = {.slopes = -1};
    Heads *h = &s.h;
    Node *n = g->anchor;
    if (!find_results(l, g, s.result))
        return;
    heads_plan(h, l, n, s.result[DK] || s.result[DV]);
    h->k = lower_kernel(l, g, "_gradient");
    h->k->title = arena_printf(l->arena, "%s; gradient%s%s%s of %s", h->k->title, s.result[DQ] ? " q" : "", s.result[DK] ? " k" : "",
                               s.result[DV] ? " v" : "", heads_title(h));
    declare(&s, n);
    build(&s);
    kernel_finish(h->k);
    PlannedCall *c = lower_call(l, h->k, g->prepare);
    for (int i = 0; i < 4; i++)
        call_arg_value(c, n->in[i]);
    int results = 0;
    for (int i = 0; i < RESULTS; i++)
        if (s.result[i]) {
            call_arg_value(c, s.result[i]);
            results++;
        }
    heads_call(h, c, g, 2.0 * (results + (wants_slopes(&s) ? 2 : 1)));
    c->tap = n;
    c->out = 4;
    for (int i = 0; s.result[i] != n; i++)
        c->out += s.result[i] != NULL;
}
