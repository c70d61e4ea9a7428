/* attention_plan.c - how attention is computed: chunks of queries, tiles, tasks. Shapes and target decide. */
#include "kernel/attention.h"

enum { MIN_TASKS = 16, MIN_TASK_FLOPS = 400000, LATENCY = 8, MAX_PIXELS = 14 };

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Tokens of a tile of `slots` vectors: sums, vectors and one broadcast value fit into the registers. */
static int tile_tokens(const Target *t, int slots) {
    int spare = t->registers - slots - (t->fma ? 1 : 2);
    return (int)min64(min64(MAX_PIXELS, MAX_HEAD_ACC / slots), spare / slots);
}

/* Time of one step of the sums over `tokens` tokens: products, loads, a bound by the latency of products. */
static double tile_cost(const Target *t, int slots, int64_t tokens) {
    int64_t tiles = ceil_div(tokens, tile_tokens(t, slots)), size = ceil_div(tokens, tiles);
    return (double)tiles * ((double)max64(slots * size, LATENCY) + 0.35 * (double)size + slots);
}

static void plan_chunks(Heads *h, const Target *t) {
    int64_t all = ceil_div(h->queries, h->width);
    double best = 0;
    for (int v = 1; v <= MAX_HEAD_VECTORS && v <= all && tile_tokens(t, v) >= 1; v++) {
        if (v > 1 && h->keys * v * h->width * 8 > t->l2 / 2)
            break;
        double cost = tile_cost(t, v, h->keys) * (double)ceil_div(all, v);
        if (v == 1 || cost < best * 0.99) {
            h->vectors = v;
            best = cost;
        }
    }
    int most = tile_tokens(t, h->vectors);
    h->key_tile = (int)ceil_div(h->keys, ceil_div(h->keys, most));
    h->lanes = (int64_t)h->vectors * h->width;
    h->chunks = ceil_div(h->queries, h->lanes);
    h->static_count = h->chunks == 1 ? h->queries : h->queries % h->lanes == 0 ? h->lanes : 0;
}

static void plan_rows(Heads *h, const Target *t) {
    double best = 0;
    for (int slots = 1; slots <= 4 && slots <= h->blocks; slots++) {
        if (h->blocks % slots || tile_tokens(t, slots) < 1)
            continue;
        double cost = tile_cost(t, slots, min64(h->queries, h->lanes)) / slots;
        if (slots == 1 || cost < best * 0.99) {
            h->row_slots = slots;
            best = cost;
        }
    }
    h->row_tile = tile_tokens(t, h->row_slots);
}

void heads_plan(Heads *h, Lower *l, const Node *n, bool sums_queries) {
    const Shape *q = &n->in[0]->shape;
    *h = (Heads){.l = l, .attr = n->attr.attention, .width = l->target->width, .batched = q->batched, .images = q->dim[0],
                 .queries = q->dim[1], .keys = n->in[1]->shape.dim[1], .channels = q->dim[2]};
    h->head = h->channels / h->attr.heads;
    h->blocks = ceil_div(h->head, h->width);
    h->row = h->blocks * h->width;
    plan_chunks(h, l->target);
    plan_rows(h, l->target);
    int64_t tasks = h->images * h->attr.heads;
    double flops = 4.0 * (double)h->queries * (double)h->keys * (double)h->head;
    h->parts = 1;
    if (tasks < MIN_TASKS && !sums_queries)
        h->parts = min64(h->chunks, ceil_div(MIN_TASKS, tasks));
    h->parts = max64(1, min64(h->parts, (int64_t)(flops / MIN_TASK_FLOPS)));
    h->part_chunks = ceil_div(h->chunks, h->parts);
    h->parts = ceil_div(h->chunks, h->part_chunks);
    for (int i = 0; i < MAX_HEAD_ACC; i++)
        h->acc[i] = NO_REG;
}

HeadRows heads_argument(Heads *h, const char *name, Node *n, bool written) {
    HeadRows r = {.tokens = n->shape.dim[1]};
    for (; n->op == OP_SLICE && value_info(n)->alias; n = n->in[0])
        r.channel += n->attr.part.from;
    r.node = n;
    r.direct = h->head % h->width == 0 && (value_info(n)->layout == LAYOUT_PLAIN || r.channel % h->width == 0);
    r.argument = r.buffer = kb_arg(h->k, name, ELEM_F32, written, value_floats(n, h->width), shape_text(h->l->arena, TYPE_F32, &n->shape));
    return r;
}

const char *heads_title(const Heads *h) {
    return arena_printf(h->l->arena, "attention of %d heads of %lld: tile %lld queries x %d keys, rows of %d x %d", h->attr.heads,
                        (long long)h->head, (long long)h->lanes, h->key_tile, h->row_slots * h->width, h->row_tile);
}

void heads_scratch(Heads *h) {
    h->transposed = kb_scratch(h->k, "q_lanes", ELEM_F32, h->head * h->lanes);
    h->scores = kb_scratch(h->k, "scores", ELEM_F32, h->keys * h->lanes);
    h->largest = kb_scratch(h->k, "largest", ELEM_F32, h->lanes);
    h->inverse = kb_scratch(h->k, "inverse", ELEM_F32, h->lanes);
}

void heads_call(const Heads *h, PlannedCall *c, const Group *g, double products) {
    c->group = g;
    c->tasks = h->attr.heads * h->parts * (h->batched ? 1 : h->images);
    c->unit = h->batched ? 1 : 0;
    c->flops = products * (double)h->queries * (double)h->keys * (double)h->head / (double)h->parts;
}
