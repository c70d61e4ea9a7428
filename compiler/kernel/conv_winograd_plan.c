/* conv_winograd_plan.c - tiles, register tile and tasks of a convolution by Winograd's algorithm: every way that fits
 * the caches is priced, the cheapest is taken. Decisions depend on shapes and target alone. */
#include "kernel/conv_strassen.h"

#include <assert.h>

enum { MAX_RANGE_TILES = 128, MIN_SHARES = 16 };

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

bool winograd_window(const Lower *l, const Window *w) {
    if (l->math == MATH_STRICT || w->spatial != 2)
        return false;
    for (int i = 0; i < 2; i++)
        if (w->kernel[i] != WINOGRAD_TAPS || w->stride[i] != w->stride[0] || w->stride[i] > 2 || w->dilation[i] != 1)
            return false;
    return true;
}

/* One transform serves both dimensions: those of an input gradient with stride 2 begin with the same phase. */
static bool same_phases(const Node *a) {
    const Window *w = &a->attr.window;
    return a->op != OP_CONV_INPUT || w->stride[0] == 1 || (w->pad_lo[0] - w->pad_lo[1]) % 2 == 0;
}

bool winograd_applies(const Lower *l, const Group *g) {
    const Node *a = g->anchor;
    if (!winograd_window(l, &a->attr.window) || !same_phases(a) || !a->shape.batched || a->shape.dim[1] == 1)
        return false;
    return value_info(a->in[0])->layout == LAYOUT_BLOCKED && group_is_blocked(g);
}

static int64_t weight_bytes(const WinogradPlan *p) { return p->panels * p->panel_floats * store_bytes(p->storage); }

/* ---- price ---- */

/* Cycles to read `bytes` from where so many of them lie; half of it hides behind products. */
static double read_cost(const Target *t, double bytes, double resident) {
    double rate = resident <= (double)t->l2 / 2 ? 32 : resident <= 16e6 ? 10 : 5;
    return bytes / rate / 2;
}

/* One range's transforms, loads and stores included, of the operand and of one panel's results. */
static double data_cost(const WinogradPlan *p) {
    return (double)(p->range_tiles * p->blocks) * (p->strassen ? STRASSEN_DATA_COST : tile_cost(&p->f.data));
}

static double result_cost(const WinogradPlan *p) {
    return (double)(p->range_tiles * p->slots) * (p->strassen ? STRASSEN_RESULT_COST : tile_cost(&p->f.result));
}

/* Products while `bytes` that they multiply with stream in: the longer of the two, and what of the other does not hide. */
static double overlapped(const WinogradPlan *p, const Target *t, double products, double bytes, double resident) {
    double stream = bytes / (resident <= (double)t->l2 / 2 ? 32 : resident <= 16e6 ? 14 : 10), rest = p->strassen ? 0.1 : 0.3;
    return products > stream ? products + rest * stream : stream + 0.3 * products;
}

/* What is fetched of the next slice of weights while one is multiplied. */
static Ahead slices_ahead(const WinogradPlan *p, const Target *t, double ranges) {
    int64_t lanes = p->inputs.most * p->lanes;
    return ahead_plan(t, lanes * p->slots * p->width, p->groups, p->groups * (int64_t)ranges, lanes, winograd_unroll(p));
}

/* All products. A slice of weights streams in while the first group of tiles is multiplied, from memory for the first range; the
 * other groups and points find it in the cache of level 2, or of level 1 where it is small. */
static double product_cost(const WinogradPlan *p, const Target *t, double ranges) {
    double weights = (double)weight_bytes(p), slice = weights / (double)(p->panels * p->slices);
    double group = conv_tile_cost(t, p->slots, p->pixels, p->pixels) * (double)(p->panels * p->slices * p->lanes) * p->inputs.mean;
    double uses = (double)(p->groups * p->points) / p->slices;
    if (p->packs)                              /* one range, and weights that are in the cache */
        return uses * group;
    bool fetched = !p->strassen || slices_ahead(p, t, ranges).lines > 0;
    double first = fetched ? overlapped(p, t, group, weights, 1e9) : group + weights / 20;
    double again = overlapped(p, t, (ranges - 1) * group, (ranges - 1) * weights, weights);
    double others = (uses - 1) * group;
    if (slice > (double)t->l1 / 2)
        others += read_cost(t, (uses - 1) * weights, slice);
    return first + again + ranges * others;
}

static double plan_cost(const WinogradPlan *p, const Target *t) {
    double ranges = (double)(ceil_div(p->images, p->unit) * p->parts), panels = (double)p->panels;
    double weights = (double)weight_bytes(p), data = (double)winograd_range_floats(p) * 4;
    double sums = (double)(p->groups * p->pixels * p->points * p->slots * p->width * 4);
    double task = panels * (result_cost(p) + read_cost(t, 2 * sums, sums)) + data_cost(p);
    double whole = weights + (double)value_floats(p->x, p->width) * 4;
    double cost = ranges * task + product_cost(p, t, ranges);
    if (p->split) {
        double all = data * ranges, beyond = all > (double)t->l2 ? all - (double)t->l2 : 0;
        double again = read_cost(t, all * panels, p->panel_inner ? data : all);
        if (p->strassen)                       /* long runs of V, which the processor fetches ahead; few additions to hide stores */
            cost += again / 2 + 2 * read_cost(t, 2 * beyond, all) + 2000;
        else
            cost += again + read_cost(t, 2 * all, all) + 2000;
    } else {
        double beside = p->strassen ? 0 : min64((int64_t)whole, t->l2 / 4);
        cost += read_cost(t, data * ranges * panels, data + sums + beside);
    }
    if (p->packs)                              /* sums wait in M from block to block */
        cost += panels * (double)p->blocks * read_cost(t, 2 * sums, sums);
    return cost * conv_balance(ranges * (p->split ? panels : 1));
}

/* The weights' transform; transformed ones go to memory unless the task keeps them. */
static double pack_cost(const WinogradPlan *p) {
    if (p->strassen)
        return strassen_pack_cost(p);
    enum { BYTES_PER_CYCLE = 40, TO_TRANSPOSE = 12, TO_STORE = 4 };
    double vectors = (double)(p->inputs.most * p->lanes) * (double)(p->panels * p->slots);
    double operations = (WINOGRAD_TAPS + p->f.distinct) * winograd_operations(&p->f.weights) + TO_STORE * p->slices;
    double traffic = p->packs ? 0 : (double)p->slices * p->width * 8 / BYTES_PER_CYCLE;
    return vectors * (operations + TO_TRANSPOSE * WINOGRAD_TAPS * WINOGRAD_TAPS + traffic);
}

/* ---- ways ---- */

static void set_range(WinogradPlan *p, const Target *t, int64_t unit, int64_t parts) {
    p->unit = unit;
    p->part_tiles = ceil_div(p->image_tiles, parts);
    p->parts = ceil_div(p->image_tiles, p->part_tiles);
    p->range_tiles = unit > 1 ? unit * p->image_tiles : p->part_tiles;
    int limit = conv_tile_pixels(t, p->slots);
    p->groups = ceil_div(p->range_tiles, limit);
    p->pixels = (int)ceil_div(p->range_tiles, p->groups);
}

static bool fits(const WinogradPlan *p, const Target *t) {
    int64_t sums = p->groups * p->pixels * p->points * p->slots * p->width * 4;
    return p->split ? sums <= t->l2 * 5 / 8 : sums + winograd_range_floats(p) * 4 <= t->l2 * 3 / 4;
}

static void try_range(WinogradPlan *best, WinogradPlan p, const Target *t, int64_t unit, int64_t parts) {
    bool each_time = p.packs;
    set_range(&p, t, unit, parts);
    for (int split = 0; split < 2; split++) {
        p.split = split;
        bool least = p.range_tiles <= p.pixels;      /* no smaller range would do better */
        if (!least && (!fits(&p, t) || p.range_tiles > MAX_RANGE_TILES))
            continue;
        p.packs = each_time && split && p.parts == 1 && p.images <= p.unit && p.panels >= MIN_SHARES / 2;
        p.panel_inner = weight_bytes(&p) <= t->l2 / 2;
        p.cost = plan_cost(&p, t);
        p.pack_cost = pack_cost(&p);
        double cost = p.cost + (each_time ? p.pack_cost : 0), least_cost = best->cost + (each_time ? best->pack_cost : 0);
        if (best->cost == 0 || cost < least_cost)
            *best = p;
    }
}

static void try_slots(WinogradPlan *best, WinogradPlan p, const Target *t, int slots) {
    p.slots = slots;
    p.panels = ceil_div(p.out_channels, p.width) / slots;
    p.inputs.channels = (int64_t)slots * p.width;
    panel_inputs_plan(&p.inputs, false);
    p.panel_floats = p.slices * p.inputs.most * p.lanes * slots * p.width;
    int64_t pixels = conv_tile_pixels(t, slots), most = ceil_div(p.image_tiles, pixels);
    for (int64_t parts = 1, last = 0; parts <= most; parts++) {
        int64_t tiles = ceil_div(p.image_tiles, parts);
        if (tiles != last && (tiles <= MAX_RANGE_TILES || parts == most))
            try_range(best, p, t, 1, parts);
        last = tiles;
    }
    for (int64_t unit = 2; unit <= p.images && unit * p.image_tiles <= MAX_RANGE_TILES; unit *= 2)
        try_range(best, p, t, unit, 1);
}

/* Where the first tile begins in the operand. */
static int64_t first_read(const WinogradPlan *p, int64_t pad) {
    if (!p->backward)
        return -pad;
    return p->f.stride == 1 ? pad - (WINOGRAD_TAPS - 1) : pad % 2 ? (pad - 1) / 2 : pad / 2 - 1;
}

static Winograd transforms(const Node *a, int m) {
    const Window *w = &a->attr.window;
    return a->op == OP_CONV_INPUT && w->stride[0] == 2 ? winograd_make_input(m, w->pad_lo[0] % 2) : winograd_make(m, (int)w->stride[0]);
}

WinogradPlan winograd_cheapest(const Target *t, WinogradPlan p) {
    WinogradPlan best = { .cost = 0 };
    int64_t out_blocks = ceil_div(p.out_channels, p.width);
    for (int slots = 1; slots <= (p.strassen ? 4 : 8); slots++)
        if (out_blocks % slots == 0 && conv_tile_pixels(t, slots) > 0)
            try_slots(&best, p, t, slots);
    int64_t ranges = ceil_div(best.images, best.unit) * best.parts;
    if (!best.packs)
        best.ahead = slices_ahead(&best, t, (double)ranges);
    best.share_blocks = max64(1, best.blocks * ranges / MIN_SHARES);
    best.shares = ceil_div(best.blocks, best.share_blocks);
    return best;
}

WinogradPlan winograd_plan(const Lower *l, const Group *g, int m) {
    const Node *a = g->anchor;
    WinogradPlan p = { .f = transforms(a, m), .backward = a->op == OP_CONV_INPUT, .x = a->in[0], .w = a->in[1], .y = g->anchor,
                       .images = a->shape.dim[0], .in_channels = a->in[0]->shape.dim[1], .out_channels = a->shape.dim[1],
                       .width = l->target->width, .storage = lower_storage(l, pack_is_constant(a->in[1])),
                       .packs = a->attr.window.groups == 1 && conv_packs_each_time(l, a->in[1]) };
    assert(p.x->channel == 1);
    p.points = p.f.n * p.f.n;
    p.slices = p.f.distinct * p.f.distinct;
    p.blocks = ceil_div(p.in_channels, p.width);
    p.lanes = min64(p.in_channels, p.width);
    p.inputs = (PanelInputs){ .out_channels = p.out_channels, .in_channels = p.in_channels, .unit = p.width,
                              .group_out = p.out_channels / a->attr.window.groups, .group_in = p.in_channels / a->attr.window.groups };
    for (int i = 0; i < 2; i++) {
        p.in[i] = p.x->shape.dim[2 + i];
        p.out[i] = a->shape.dim[2 + i];
        p.off[i] = first_read(&p, a->attr.window.pad_lo[i]);
        p.grid.count[i] = ceil_div(p.out[i], p.f.result.rows);
    }
    p.image_tiles = p.grid.count[0] * p.grid.count[1];
    return winograd_cheapest(l->target, p);
}

void winograd_plan_print(Writer *out, const WinogradPlan *p) {
    if (p->strassen)
        strassen_plan_print(out, p);
    else
        writer_printf(out, "%s %lld->%lld: winograd F(%dx%d, 3x3%s), ", p->backward ? "conv.input" : "conv", (long long)p->in_channels,
                      (long long)p->out_channels, p->f.m, p->f.m, winograd_stride_text(&p->f));
    writer_printf(out, "tile %d x %d tiles of %lld, %lld panels of %lld KiB, ", p->slots * p->width, p->pixels,
                  (long long)p->image_tiles, (long long)p->panels, (long long)(weight_bytes(p) / p->panels / 1024));
    if (p->unit > 1)
        writer_printf(out, "tasks of %lld images", (long long)p->unit);
    else
        writer_printf(out, "tasks of %lld tiles", (long long)p->part_tiles);
    writer_text(out, p->split ? " x a panel" : "");
    if (p->storage != STORE_WHOLE)
        writer_printf(out, ", weights %s", store_text[p->storage]);
    writer_text(out, p->packs ? ", weights transformed by each task" : "");
}
