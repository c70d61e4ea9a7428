/* weight_winograd_plan.c - groups of blocks, chunks of tiles and units of images: every way that fits the cache is
 * priced, the cheapest is taken. */
#include "kernel/conv_winograd.h"
#include "kernel/weight_winograd.h"

enum { MAX_CHUNK = 128, MAX_GROUP = 8, TASKS = 16 };

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

bool weight_winograd_applies(const Lower *l, const Group *g) {
    const Node *a = g->anchor;
    return a->attr.window.groups == 1 && winograd_window(l, &a->attr.window) && value_info(a->in[0])->layout == LAYOUT_BLOCKED && value_info(a->in[1])->layout == LAYOUT_BLOCKED;
}

static int64_t scratch_bytes(const WeightPlan *p) {
    int64_t tiles = p->points * (p->chunk + 1) * (p->in_group + p->out_group);
    return 4 * p->width * (tiles + p->slices * p->in_group * p->lanes * p->out_group);
}

static double task_cost(const WeightPlan *p, const Target *t) {
    int64_t tiles = p->unit * p->image_tiles, chunks = ceil_div(tiles, p->chunk), channels = p->in_group * p->lanes;
    double vectors = (double)(channels * p->out_group);
    double transforms = (double)p->in_group * tile_cost(&p->f.data) + (double)p->out_group * tile_cost(&p->f.gradient);
    double product = conv_tile_cost(t, p->slots, p->together, p->together) * vectors / (p->slots * p->together) * p->points;
    double sums = 3.0 * vectors * p->slices * (double)(chunks + 1);
    double back = vectors * (WINOGRAD_TAPS * WINOGRAD_TAPS * p->width + p->slices + 2 * tile_cost(&p->f.back));
    return (double)tiles * (transforms + product) + sums + back;
}

static void price(WeightPlan *best, WeightPlan p, const Target *t) {
    if (scratch_bytes(&p) > t->l2 * 9 / 16 && !(p.in_group == 1 && p.out_group == p.slots && p.chunk <= 8))
        return;
    double groups = (double)(p.in_blocks / p.in_group * (p.out_blocks / p.out_group)), tasks = groups * (double)p.units;
    double read = (double)(value_floats(p.x, p.width) * (p.out_blocks / p.out_group) + value_floats(p.dy, p.width) * (p.in_blocks / p.in_group));
    double parts = p.units > 1 ? (double)(p.units * p.in_channels * p.out_blocks * p.width * WINOGRAD_TAPS * WINOGRAD_TAPS) : 0;
    p.cost = (tasks * task_cost(&p, t) + (read + 2 * parts) * 4 / 20) * conv_balance(tasks);
    if (best->cost == 0 || p.cost < best->cost)
        *best = p;
}

static void try_groups(WeightPlan *best, WeightPlan p, const Target *t) {
    static const int chunks[] = { 4, 8, 16, 24, 32, 48, 64, 96, MAX_CHUNK };
    int64_t groups = p.in_blocks / p.in_group * (p.out_blocks / p.out_group);
    p.unit = p.images;
    while (p.unit > 1 && groups * ceil_div(p.images, p.unit) < TASKS)
        p.unit = ceil_div(p.unit, 2);
    p.units = ceil_div(p.images, p.unit);
    for (int i = 0; i < COUNT(chunks); i++) {
        p.chunk = min64(chunks[i], p.unit * p.image_tiles);
        price(best, p, t);
    }
}

/* Output blocks and input channels whose sums, and the operands of one tile, the registers hold. */
static void register_tile(WeightPlan *p, const Target *t) {
    int registers = t->registers - (t->fma ? 1 : 2);
    p->together = WEIGHT_LANES;
    while (p->lanes % p->together || 2 * p->together + 2 > registers)
        p->together--;
    p->slots = 1;
    for (int v = 2; v <= WEIGHT_SLOTS; v++)
        if (p->out_group % v == 0 && v * p->together + v <= registers)
            p->slots = v;
}

WeightPlan weight_winograd_plan(const Lower *l, const Group *g, int m) {
    const Node *a = g->anchor;
    WeightPlan p = { .f = winograd_make(m, (int)a->attr.window.stride[0]), .width = l->target->width, .x = a->in[0], .dy = a->in[1], .dw = g->anchor };
    p.points = p.f.n * p.f.n;
    p.slices = p.f.distinct * p.f.distinct;
    p.images = p.x->shape.dim[0];
    p.in_channels = p.x->shape.dim[1];
    p.out_channels = p.dy->shape.dim[1];
    p.in_blocks = ceil_div(p.in_channels, p.width);
    p.out_blocks = ceil_div(p.out_channels, p.width);
    p.lanes = min64(p.in_channels, p.width);
    for (int i = 0; i < 2; i++)
        p.grid.count[i] = ceil_div(p.dy->shape.dim[2 + i], m);
    p.image_tiles = p.grid.count[0] * p.grid.count[1];
    WeightPlan best = { .cost = 0 };
    for (p.in_group = 1; p.in_group <= min64(p.in_blocks, MAX_GROUP); p.in_group++)
        for (p.out_group = 1; p.out_group <= min64(p.out_blocks, MAX_GROUP); p.out_group++)
            if (p.in_blocks % p.in_group == 0 && p.out_blocks % p.out_group == 0) {
                register_tile(&p, l->target);
                try_groups(&best, p, l->target);
            }
    return best;
}
