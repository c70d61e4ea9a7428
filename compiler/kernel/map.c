/* map.c - groups without an anchor: one pass over their space, and the sums added up on it. */
#include "kernel/lower.h"

enum { CHUNK_VECTORS = 4096 };     /* vectors of one task at most, where the space may be cut */

typedef struct {
    Lower *l;
    const Group *g;
    Kernel *k;
    Body *body;
    bool blocked, flat;
    int64_t blocks;                /* of the vector axis: channel blocks, or vectors of a plain row */
    int64_t walk;                  /* points per channel block (blocked, flat) */
    int64_t chunks;                /* tasks per channel block, or per image of a plain space */
} Map;

static int64_t product_behind_batch(const Group *g, int but) {
    int64_t count = 1;
    for (int i = g->space.batched ? 1 : 0; i < g->space.rank; i++)
        if (i != but)
            count *= g->space.dim[i];
    return count;
}

static Index chunk_end(Kernel *k, Index chunk, int64_t size, int64_t count) {
    Index end = index_scale(index_plus(chunk, 1), size);
    return index_var(kb_index(k, "end", INDEX_MIN, end, index_const(count)));
}

/* Loops over the axes of `axes` (bit mask), in order, setting at[]; returns how many were opened. */
static int open_axes(Map *m, unsigned axes, Index *at) {
    static const char *const names[MAX_RANK] = {"i", "j", "y", "x", "z", "w"};
    int opened = 0;
    for (int i = 0; i < m->g->space.rank; i++) {
        if (!(axes >> i & 1))
            continue;
        at[i] = index_const(0);
        if (m->g->space.dim[i] == 1)
            continue;
        at[i] = index_var(kb_loop(m->k, names[i], index_const(0), index_const(m->g->space.dim[i]), 1));
        opened++;
    }
    return opened;
}

static void clear(Index *at) {
    for (int i = 0; i < MAX_RANK; i++)
        at[i] = index_const(0);
}

/* One task: a channel block of an image, or a chunk of its points. */
static void blocked_task(Map *m) {
    Kernel *k = m->k;
    Index at[MAX_RANK], image;
    clear(at);
    Index rest = task_split(k, true, m->blocks * m->chunks, &image);
    Index block = rest, chunk = index_const(0);
    if (m->chunks > 1) {
        block = index_var(kb_index(k, "block", INDEX_DIV, rest, index_const(m->chunks)));
        chunk = index_var(kb_index(k, "chunk", INDEX_MOD, rest, index_const(m->chunks)));
    }
    at[0] = image;
    body_start(m->body);
    body_channels(m->body, 0, block);
    int opened;
    if (m->flat) {
        int64_t size = ceil_div(m->walk, m->chunks);
        Index end = m->chunks > 1 ? chunk_end(k, chunk, size, m->walk) : index_const(m->walk);
        int last = m->g->space.rank - 1 - (m->g->channel == m->g->space.rank - 1);
        int s = kb_loop(k, "s", index_scale(chunk, size), end, 1);
        if (last > 0)
            at[last] = index_var(s);
        opened = 1;
    } else {
        opened = open_axes(m, ((1u << m->g->space.rank) - 1) & ~1u & ~(1u << m->g->channel), at);
    }
    body_point(m->body, 0, at, block, NO_REG);
    while (opened--)
        kb_end(k);
    body_finish(m->body, block, m->blocks, index_add(index_scale(image, m->chunks), chunk), m->chunks, 1);
}

/* One task of a plain space: an image's rows, or a chunk of its vectors when it is walked as one axis. */
static void plain_task(Map *m) {
    Kernel *k = m->k;
    const Group *g = m->g;
    Index at[MAX_RANK], image;
    clear(at);
    Index chunk = task_split(k, g->space.batched, m->chunks, &image);
    if (g->space.batched)
        at[0] = image;
    body_start(m->body);
    int opened = 0;
    if (!m->flat && g->space.rank > 1)
        opened = open_axes(m, ((1u << (g->space.rank - 1)) - 1) & ~(g->space.batched ? 1u : 0u), at);
    int64_t size = ceil_div(m->blocks, m->chunks);
    Index end = m->chunks > 1 ? chunk_end(k, chunk, size, m->blocks) : index_const(m->blocks);
    Index begin = m->chunks > 1 ? index_scale(chunk, size) : index_const(0);
    Index block = index_var(kb_loop(k, "v", begin, end, 1));
    body_channels(m->body, 0, block);
    body_point(m->body, 0, at, block, NO_REG);
    for (opened++; opened--;)
        kb_end(k);
    Index row = m->chunks > 1 ? index_add(index_scale(image, m->chunks), chunk) : image;
    body_finish(m->body, index_const(0), 1, row, m->chunks, g->space.batched ? 1 : 0);
}

static void shape_tasks(Map *m) {
    const Group *g = m->g;
    int width = m->l->target->width;
    m->flat = body_flat(g);
    if (m->blocked) {
        m->blocks = ceil_div(g->space.dim[g->channel], width);
        m->walk = product_behind_batch(g, g->channel);
        m->chunks = m->flat ? ceil_div(m->walk, CHUNK_VECTORS) : 1;
        return;
    }
    bool one = g->space.rank == 0 || (g->space.rank == 1 && g->space.batched);
    int64_t row = one ? 1 : m->flat ? product_behind_batch(g, -1) : g->space.dim[g->space.rank - 1];
    m->blocks = ceil_div(row, width);
    m->chunks = m->flat ? ceil_div(m->blocks, CHUNK_VECTORS) : 1;
}

static double map_flops(const Group *g) {
    double ops = 1;
    for (int i = 0; i < g->map_count; i++)
        ops += expr_size(g->maps[i]->attr.expr);
    return ops * (double)product_behind_batch(g, -1);
}

static Node *main_output(const Group *g) {
    return g->output_count ? g->outputs[g->output_count - 1] : g->sums[0];
}

void lower_map(Lower *l, const Group *g) {
    Map m = {.l = l, .g = g};
    m.blocked = group_is_blocked(g);
    m.k = lower_kernel(l, g, "");
    m.body = body_new(l, m.k, g, 1);
    shape_tasks(&m);
    if (m.blocked)
        blocked_task(&m);
    else
        plain_task(&m);
    kernel_finish(m.k);
    PlannedCall *c = lower_call(l, m.k, g->prepare);
    body_args(m.body, c);
    c->group = g;
    c->unit = g->space.batched ? 1 : 0;
    c->tasks = m.blocked ? m.blocks * m.chunks : m.chunks;
    c->flops = map_flops(g) / (double)c->tasks;
    c->tap = main_output(g);
    c->out = g->output_count ? c->arg_count - g->sum_count - 1 : -1;
    body_sums(m.body);
}
