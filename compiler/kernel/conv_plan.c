/* conv_plan.c - how a convolution is computed: tap lists, register tile, tasks.
 * Decisions depend on shapes and target alone, never on the run-time batch. */
#include "kernel/conv.h"

#include <assert.h>
#include <math.h>

enum { MIN_TASKS = 16, MIN_TASK_FLOPS = 400000, MAX_ROW_PIXELS = 128, MAX_UNIT = 8, MAX_STATEMENTS = 12000, LATENCY = 8, MIN_TILES_WIDENED = 3,
       BYTES_PER_CYCLE = 10 };               /* of weights, from memory or to it */
#define CYCLES_TO_PACK 0.5                     /* a float, in the cache */

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
/* ---- tap lists ---- */

static void forward_dim(TapDim *d, const Window *win, int i) {
    d->phases = 1;
    d->phase[0] = (TapPhase){ .count = d->out, .so = 1, .si = win->stride[i], .off = -win->pad_lo[i],
                              .doff = win->dilation[i], .dk = 1, .taps = win->kernel[i] };
}

/* Result y = q * s + r reads dy row (y + pad - k * dilation) / s for the k that divide; the largest k comes
 * first, so that rows are read upwards. False: more phases than a nest holds. */
static bool backward_dim(TapDim *d, const Window *win, int i) {
    int64_t s = win->stride[i], dil = win->dilation[i], pad = win->pad_lo[i];
    d->phases = 0;
    if (s > MAX_PHASES)
        return false;
    for (int64_t r = 0; r < s && r < d->out; r++) {
        TapPhase p = { .count = ceil_div(d->out - r, s), .so = s, .r = r, .si = 1, .doff = 1 };
        for (int64_t k = win->kernel[i] - 1; k >= 0; k--) {
            if ((r + pad - k * dil) % s != 0)
                continue;
            if (p.taps == 0)
                p.k0 = k;
            else if (p.taps == 1)
                p.dk = k - p.k0;
            p.taps++;
        }
        p.off = (r + pad - p.k0 * dil) / s;          /* exact for a phase with taps */
        if (p.taps > 1)
            p.doff = -p.dk * dil / s;
        d->phase[d->phases++] = p;
    }
    return true;
}

static bool plan_dims(ConvPlan *p) {
    bool fits = true;
    p->dims = p->window->spatial;
    for (int i = 0; i < p->dims; i++) {
        p->dim[i].in = p->x->shape.dim[p->axis + i];
        p->dim[i].out = p->y->shape.dim[p->axis + i];
        if (p->backward)
            fits = backward_dim(&p->dim[i], p->window, i) && fits;
        else
            forward_dim(&p->dim[i], p->window, i);
    }
    return fits;
}

/* ---- the data operand ---- */

static int64_t pixels_of(const ConvPlan *p, const Node *n) {
    int64_t count = 1;
    for (int i = 0; i < p->window->spatial; i++)
        count *= n->shape.dim[p->axis + i];
    return count;
}

static bool is_blocked(const Node *n) { return value_info(n)->layout == LAYOUT_BLOCKED; }

static void plan_strides(ConvPlan *p) {
    int64_t pixels = pixels_of(p, p->x);
    bool blocked = is_blocked(p->x), last = p->window->channel_last;
    int64_t lanes = p->int8 ? p->width / 4 : p->width;
    p->x_pixel = blocked ? lanes : last ? p->in_channels : 1;
    p->x_lane = blocked || last ? 1 : pixels;
    p->x_unit = blocked ? pixels * lanes : p->x_lane;
    p->x_image = blocked ? ceil_div(p->in_channels, p->width) * p->x_unit : p->in_channels * pixels;
    int64_t stride = p->x_pixel;
    for (int i = p->dims - 1; i >= 0; i--) {
        p->x_dim[i] = stride;
        stride *= p->dim[i].in;
    }
}

/* Sets lanes, blocks and which they are for panels of `slots` blocks. */
static void plan_inputs(ConvPlan *p, int slots) {
    bool plain = !is_blocked(p->x);
    p->inputs = (PanelInputs){ .channels = (int64_t)slots * p->width, .out_channels = p->out_channels, .in_channels = p->in_channels,
                               .group_out = p->group_out, .group_in = p->group_in, .unit = plain ? 1 : p->width };
    if (p->narrow)
        p->inputs = (PanelInputs){ .unit = p->width, .most = 1, .mean = 1, .step = slots, .together = 1 };
    else
        panel_inputs_plan(&p->inputs, plain);
    p->blocks = plain ? 1 : p->inputs.most;
    p->lanes = p->narrow ? p->narrow : plain ? p->inputs.most : min64(p->in_channels, p->width);
    if (p->int8)
        p->lanes = ceil_div(p->lanes, 4);
}

/* ---- tiles ---- */

/* Whether pixels first .. first + pixels - 1 read inside of the operand with every tap. */
static bool is_inside(const TapDim *d, const TapPhase *f, int64_t first, int64_t pixels) {
    int64_t lo = first * f->si + f->off, hi = (first + pixels - 1) * f->si + f->off + (f->taps - 1) * f->doff;
    return f->taps == 0 || (lo >= 0 && hi < d->in);
}

ColumnTiles conv_tiles(const ConvPlan *p, const TapPhase *f) {
    ColumnTiles t = { .count = 0 };
    int64_t tiles = ceil_div(f->count, p->pixels), size = ceil_div(f->count, tiles);
    for (int64_t first = 0; first < f->count; first += size) {
        int64_t pixels = min64(size, f->count - first);
        bool border = !is_inside(&p->dim[p->dims - 1], f, first, pixels);
        ColumnTile *last = t.count ? &t.tile[t.count - 1] : NULL;
        if (last && !border && !last->border && last->pixels == pixels) {
            last->repeat++;
            continue;
        }
        if (t.count == MAX_TILES) {
            t.count++;
            return t;
        }
        t.tile[t.count++] = (ColumnTile){ first, pixels, 1, border };
    }
    return t;
}

int conv_tile_pixels(const Target *t, int slots) {
    int spare = t->registers - slots - (t->fma ? 1 : 2);
    return (int)min64(MAX_TILE_PIXELS, spare / slots);
}

/* Without fused products each takes a copy too, for which a weight's load stands once, and a splat is a load and a shuffle. */
double conv_tile_cost(const Target *t, int slots, int64_t max_pixels, int64_t count) {
    int64_t tiles = ceil_div(count, max_pixels), size = ceil_div(count, tiles);
    double cost = 0, splat = t->fma ? 0.35 : 0.6, weight = t->fma ? 1 : 0;
    for (int64_t first = 0; first < count; first += size) {
        int64_t pixels = min64(size, count - first);
        cost += (double)max64(slots * pixels, LATENCY) + splat * (double)pixels + weight * slots;
    }
    return cost;
}

double conv_balance(double tasks) {
    double share = 0;
    for (int processors = 1; processors <= 8; processors *= 2)
        share += ceil(tasks / processors) * processors / tasks;
    return share / 4 * (1 + 0.5 / tasks);
}

/* Time of one tap over a row, per channel block. */
static double row_cost(const ConvPlan *p, int slots, int max_pixels, int64_t count) {
    double blocks = p->blocks > 1 ? p->inputs.mean : 1;
    return conv_tile_cost(p->target, slots, max_pixels, count) * blocks * (double)p->lanes / slots;
}

/* V divides the number of channel blocks; in binary16 a vector is two of them. */
static void choose_tile(ConvPlan *p, const Target *t, int64_t count) {
    int64_t blocks = ceil_div(p->out_channels, p->width);
    int limit = p->narrow ? 1 : 8, step = p->half ? 2 : 1, best = step;
    double best_cost = 0;
    for (int slots = step; slots <= limit; slots += step) {
        if (blocks % slots || conv_tile_pixels(t, slots / step) < 1)
            continue;
        plan_inputs(p, slots);
        double cost = row_cost(p, slots / step, conv_tile_pixels(t, slots / step), count) / step;
        if (slots == step || cost < best_cost * 0.995) {
            best = slots;
            best_cost = cost;
        }
    }
    p->slots = best;
    p->pixels = conv_tile_pixels(t, best / step);
    if (p->narrow > 1)                         /* beside the sums: weights, and which lanes are taken, of a whole group */
        p->pixels = (int)min64(p->pixels, max64(t->registers - 2 * p->narrow - 2, 4));
    plan_inputs(p, best);
}

static int64_t longest_row(const ConvPlan *p) {
    int64_t count = 1;
    for (int i = 0; p->dims && i < p->dim[p->dims - 1].phases; i++)
        count = max64(count, p->dim[p->dims - 1].phase[i].count);
    return count;
}

/* ---- 1x1: rows laid end to end ---- */

static bool is_pointwise(const Window *w) {
    for (int i = 0; i < w->spatial; i++)
        if (w->kernel[i] != 1 || w->stride[i] != 1 || w->pad_lo[i] != 0 || w->pad_hi[i] != 0)
            return false;
    return w->spatial > 0;
}

/* The number of rows to join whose tiles are cheapest. */
static void merge_rows(ConvPlan *p, const Target *t) {
    int64_t rows = 1, length = p->dim[p->dims - 1].out, best = 1;
    double best_cost = 0;
    for (int i = 0; i < p->dims - 1; i++)
        rows *= p->dim[i].out;
    for (int64_t m = 1; m <= rows && (m == 1 || m * length <= MAX_ROW_PIXELS); m++) {
        if (rows % m)
            continue;
        choose_tile(p, t, m * length);
        double cost = row_cost(p, p->slots, p->pixels, m * length) / (double)m;
        if (m == 1 || cost < best_cost * 0.99) {
            best = m;
            best_cost = cost;
        }
    }
    p->dims = 2;
    p->merged = best;
    p->dim[0] = (TapDim){ .in = rows / best, .out = rows / best, .phases = 1 };
    p->dim[0].phase[0] = (TapPhase){ .count = rows / best, .so = 1, .si = 1, .doff = 1, .dk = 1, .taps = 1 };
    p->dim[1] = p->dim[0];
    p->dim[1].in = p->dim[1].out = p->dim[1].phase[0].count = best * length;
    p->x_dim[0] = best * length * p->x_pixel;
    p->x_dim[1] = p->x_pixel;
}

/* ---- combinations of phases, packed weights ---- */

int conv_combinations(const ConvPlan *p) {
    int count = 1;
    for (int i = 0; i < p->dims; i++)
        count *= p->dim[i].phases;
    return count;
}

void conv_combination(const ConvPlan *p, int combination, const TapPhase **phase) {
    for (int i = p->dims - 1; i >= 0; i--) {
        phase[i] = &p->dim[i].phase[combination % p->dim[i].phases];
        combination /= p->dim[i].phases;
    }
}

int64_t conv_taps(const ConvPlan *p, int combination) {
    const TapPhase *phase[MAX_SPATIAL];
    int64_t taps = 1;
    conv_combination(p, combination, phase);
    for (int i = 0; i < p->dims; i++)
        taps *= phase[i]->taps;
    return taps;
}

int64_t conv_phase_offset(const ConvPlan *p, int combination) {
    int64_t taps = 0;
    for (int i = 0; i < combination; i++)
        taps += conv_taps(p, i);
    return taps * p->blocks * p->lanes * p->slots * p->width;
}

/* ---- form ---- */

static int divisor(int64_t of, int limit) {
    if (of <= limit)
        return (int)of;
    for (int u = limit; u > 1; u--)
        if (of % u == 0)
            return u;
    return 1;
}

/* Statements that the tiles of a nest take. */
static int64_t statements(const ConvPlan *p) {
    const TapDim *d = &p->dim[p->dims - 1];
    int64_t sum = 0;
    for (int i = 0; i < d->phases; i++) {
        ColumnTiles t = conv_tiles(p, &d->phase[i]);
        if (t.count > MAX_TILES)
            return INT64_MAX;
        for (int k = 0; k < t.count; k++) {
            int64_t one = t.tile[k].pixels * (p->slots + 1) + p->slots;
            sum += t.tile[k].border ? one * p->border_unroll * d->phase[i].taps : one * p->unroll;
        }
    }
    for (int i = 0; i < p->dims - 1; i++)
        sum *= p->dim[i].phases;
    return sum;
}

static void become_points(ConvPlan *p, const char *why) {
    p->form = CONV_POINTS;
    p->why = why;
    for (int i = 0; i < p->dims; i++) {
        p->dim[i].phases = 1;
        p->dim[i].phase[0] = (TapPhase){ .count = p->dim[i].out, .so = 1, .dk = 1, .taps = p->window->kernel[i] };
    }
    p->pixels = 1;
}

static void choose_form(ConvPlan *p, const Target *t, const Group *g, bool fits) {
    if (p->dims == 0) {
        p->form = CONV_IMAGES;
        p->why = "images are the pixels";
        choose_tile(p, t, min64(p->images, MAX_TILE_PIXELS * 4));
        p->pixels = (int)ceil_div(p->images, ceil_div(p->images, p->pixels));
        return;
    }
    p->form = CONV_TILED;
    p->why = "tiles of a row";
    if (fits && is_pointwise(p->window) && body_flat(g) && !p->plain)
        merge_rows(p, t);
    choose_tile(p, t, longest_row(p));
    if (!fits)
        become_points(p, "more phases than a nest holds");
}

/* ---- tasks ---- */

static double total_flops(const ConvPlan *p) {
    double taps = 1;
    for (int i = 0; i < p->window->spatial; i++)
        taps *= (double)p->window->kernel[i];
    double pixels = (double)pixels_of(p, p->backward ? p->x : p->y);
    return 2 * (double)p->images * pixels * (double)p->out_channels * (double)p->group_in * taps;
}

int64_t conv_weight_bytes(const ConvPlan *p) { return p->panels * p->panel_floats * store_bytes(p->storage); }

/* Rows of dimension 0 in one phase. */
static int64_t most_rows(const ConvPlan *p) {
    int64_t rows = 1;
    for (int i = 0; p->dims > 1 && i < p->dim[0].phases; i++)
        rows = max64(rows, p->dim[0].phase[i].count);
    return rows;
}

/* Rows are parted when images and panels alone are too few for the threads; images are joined when there are many. */
static void plan_tasks(ConvPlan *p, const Target *t, const Group *g) {
    double flops = total_flops(p);
    int64_t rows = most_rows(p);
    p->parts = 1;
    p->unit = 1;
    int64_t weights = conv_weight_bytes(p), image = p->x_image * 4;
    if (p->form == CONV_IMAGES) {
        p->unit = g->sum_count ? MAX_UNIT : 8 * p->pixels;
    } else {
        int64_t tasks = p->images * p->panels;
        if (tasks < MIN_TASKS && !p->plain)
            p->parts = min64(rows, ceil_div(MIN_TASKS, tasks));
        p->parts = min64(p->parts, max64(1, (int64_t)(flops / (double)tasks / MIN_TASK_FLOPS)));
        bool stays = weights <= t->l2 / 2 && image * 2 > t->l2 / 2;
        while (p->unit < MAX_UNIT && !stays && ceil_div(p->images, 2 * p->unit) * p->panels * p->parts >= MIN_TASKS)
            p->unit *= 2;
    }
    p->unit = min64(p->unit, p->images);
    p->part_rows = ceil_div(rows, p->parts);
    p->parts = ceil_div(rows, p->part_rows);
    p->panel_inner = weights <= t->l2 / 2;
    p->flops = flops / (double)(ceil_div(p->images, p->unit) * p->panels * p->parts);
}

/* The share of the taps of dimension i that read inside. */
static double inside_share(const ConvPlan *p, int i) {
    const TapDim *d = &p->dim[i];
    double inside = 0, all = 0;
    for (int f = 0; f < d->phases; f++)
        for (int64_t q = 0; q < d->phase[f].count; q++)
            for (int64_t t = 0; t < d->phase[f].taps; t++) {
                int64_t at = q * d->phase[f].si + d->phase[f].off + t * d->phase[f].doff;
                inside += at >= 0 && at < d->in;
                all++;
            }
    return all > 0 ? inside / all : 1;
}

/* One slot, one input block of a row after the other: splats are operands of fused products, and short sums overlap the next row's. */
static double single_row_cost(const ConvPlan *p, int64_t count) {
    return (double)((count + ceil_div(count, p->pixels)) * p->blocks * p->lanes);
}

/* Cycles of all products. */
static double product_cost(const ConvPlan *p) {
    double inside = 1, cost = 0;
    for (int i = 0; i < p->dims; i++)
        inside *= inside_share(p, i);
    for (int c = 0; c < conv_combinations(p); c++) {
        const TapPhase *phase[MAX_SPATIAL];
        conv_combination(p, c, phase);
        double rows = (double)(p->images * conv_taps(p, c));
        for (int i = 0; i < p->dims - 1; i++)
            rows *= (double)phase[i]->count;
        int64_t count = phase[p->dims - 1]->count;
        cost += rows * (p->packs && p->slots == 1 && p->target->fma ? single_row_cost(p, count) : row_cost(p, p->slots, p->pixels, count));
    }
    return cost * inside * (double)(p->panels * p->slots);
}

static void set_slots(ConvPlan *p, const Target *t, int slots) {
    p->slots = slots;
    p->pixels = conv_tile_pixels(t, slots);
    plan_inputs(p, slots);
    p->panels = ceil_div(p->out_channels, p->width) / slots;
    p->panel_floats = conv_phase_offset(p, conv_combinations(p));
}

/* Whether each task packs its own weights: where all images are one unit and there are enough panels to be the tasks, packed
 * weights would be written once and read once, by way of memory. A smaller tile may make more panels. */
static void plan_packing(ConvPlan *p, const Target *t) {
    if (p->form != CONV_TILED || p->int8 || p->plain || p->window->groups > 1 || p->images > p->unit)
        return;
    ConvPlan q = *p;
    int64_t blocks = ceil_div(p->out_channels, p->width), sums = p->unit;
    while (q.slots > 1 && (q.panels < MIN_TASKS || blocks % q.slots))
        if (blocks % --q.slots == 0)
            q.panels = blocks / q.slots;
    set_slots(&q, t, q.slots);
    for (int i = 0; i < p->dims; i++)
        sums *= p->dim[i].out;
    int64_t scratch = (sums * q.slots * q.width + q.panel_floats / q.blocks) * 4;
    double traffic = (double)(p->panels * p->panel_floats * 12) / BYTES_PER_CYCLE;
    if (q.panels < MIN_TASKS / 2 || scratch > t->l2 / 2 || product_cost(&q) > product_cost(p) + traffic)
        return;
    *p = q;
    p->by_block = p->packs = true;
    p->staged = true;
    p->parts = 1;
    p->part_rows = most_rows(p);
    p->flops = total_flops(p) / (double)p->panels;
}

/* Tiles that a task reads its panel for. */
static int64_t tiles_of_task(const ConvPlan *p) {
    if (p->dims == 0)
        return p->unit;
    const TapDim *last = &p->dim[p->dims - 1];
    int64_t tiles = 0;
    for (int i = 0; i < last->phases; i++)
        tiles += ceil_div(last->phase[i].count, p->pixels);
    for (int i = 1; i < p->dims - 1; i++)
        tiles *= p->dim[i].out;
    return tiles * (p->dims > 1 ? p->part_rows : 1) * p->unit;
}

/* Tiles of all images that use a panel. */
static void plan_ahead(ConvPlan *p, const Target *t) {
    if (conv_combinations(p) > 1 || p->form == CONV_POINTS || p->by_block || p->widened)
        return;
    int64_t tiles = p->dims ? ceil_div(p->dim[p->dims - 1].phase[0].count, p->pixels) : 1;
    for (int i = 0; i < p->dims - 1; i++)
        tiles *= p->dim[i].phase[0].count;
    int64_t uses = p->dims ? tiles * p->images : ceil_div(p->images, p->pixels);
    p->ahead = ahead_plan(t, p->panel_floats, tiles, uses, p->blocks * p->lanes * conv_taps(p, 0), p->unroll);
}

/* A body of a few operations stands behind every tile; a longer one behind the row, once. */
static bool is_long_body(const Group *g) {
    int size = g->sum_count + g->output_count;
    for (int i = 0; i < g->map_count; i++)
        size += expr_size(g->maps[i]->attr.expr) + g->maps[i]->arity;
    return size > 4;
}

ConvPlan conv_plan(const Lower *l, const Group *g) {
    const Node *a = g->anchor;
    ConvPlan p = { .backward = a->op == OP_CONV_INPUT, .int8 = a->op == OP_CONV_INT8, .half = a->op == OP_CONV_HALF, .x = a->in[0], .w = a->in[1], .y = g->anchor,
                   .window = &a->attr.window, .target = l->target, .width = l->target->width, .merged = 0 };
    int channel = window_channel(p.window);
    p.storage = p.int8 ? STORE_WHOLE : p.half ? STORE_F16 : lower_storage(l, pack_is_constant(p.w));
    assert(!is_blocked(p.x) || p.x->channel == channel);
    p.axis = p.window->channel_last ? 1 : 2;
    int64_t in = p.x->shape.dim[channel], out = a->shape.dim[channel];
    assert(a->shape.batched && "a convolution over something without a batch");
    p.images = a->shape.dim[0];
    p.in_channels = in;
    p.out_channels = out;
    p.group_in = in / p.window->groups;
    p.group_out = out / p.window->groups;
    p.narrow = is_blocked(p.x) && conv_is_narrow(p.width, p.group_in, p.group_out, p.window->groups) ? p.group_in : 0;
    p.plain = out == 1 && p.window->spatial > 0;
    bool fits = plan_dims(&p);
    plan_strides(&p);
    choose_form(&p, l->target, g, fits);
    p.unroll = p.narrow ? (int)p.narrow : divisor(p.lanes, p.slots * p.pixels < LARGE_TILE ? 4 : 2);
    p.border_unroll = p.narrow ? (int)p.narrow : divisor(p.lanes, 2);
    if (p.form == CONV_TILED && statements(&p) > MAX_STATEMENTS)
        become_points(&p, "the borders of this window take too many tiles");
    p.panels = ceil_div(p.out_channels, p.width) / p.slots;
    p.panel_floats = conv_phase_offset(&p, conv_combinations(&p));
    p.staged = p.plain || p.form == CONV_IMAGES || (p.form == CONV_TILED && is_long_body(g));
    plan_tasks(&p, l->target, g);
    if (conv_packs_each_time(l, p.w))
        plan_packing(&p, l->target);
    bool fits_cache = p.panel_floats * 4 <= l->target->l2 / 2, rereads = tiles_of_task(&p) >= MIN_TILES_WIDENED;
    p.widened = p.storage != STORE_WHOLE && p.form == CONV_TILED && !p.half && !p.by_block && fits_cache && rereads;
    plan_ahead(&p, l->target);
    p.data_ahead = ahead_data_plan(l->target, &p);
    return p;
}

double conv_plan_cost(const ConvPlan *p) {
    double tasks = (double)(ceil_div(p->images, p->unit) * p->panels * p->parts);
    double weights = (double)conv_weight_bytes(p) / BYTES_PER_CYCLE;
    return (product_cost(p) + weights) * conv_balance(tasks);
}

double conv_pack_cost(const ConvPlan *p) {
    double floats = (double)(p->panels * p->panel_floats);
    return floats * CYCLES_TO_PACK + (p->packs ? 0 : floats * 8 / BYTES_PER_CYCLE);
}

void conv_plan_print(Writer *out, const ConvPlan *p) {
    static const char *const form[] = { "tiled", "images", "points" };
    writer_printf(out, "%s%s %lld->%lld: %s (%s), tile %d x %d pixels", p->narrow == 1 ? "depthwise " : p->narrow ? "narrow groups " : "",
                  op_info[p->y->op].text, (long long)p->in_channels, (long long)p->out_channels,
                  form[p->form], p->why, p->slots * p->width, p->pixels);
    if (p->merged > 1)
        writer_printf(out, ", %lld rows joined", (long long)p->merged);
    writer_printf(out, ", %lld input blocks of %lld%s, %lld panels of %lld KiB, tasks of %lld images x %lld rows%s%s",
                  (long long)p->blocks, (long long)p->lanes, p->int8 ? " words" : "", (long long)p->panels,
                  (long long)(conv_weight_bytes(p) / p->panels / 1024), (long long)p->unit, (long long)p->part_rows, p->staged ? ", sums staged" : "",
                  p->packs ? ", weights packed by each task" : "");
    if (p->storage != STORE_WHOLE)
        writer_printf(out, ", weights %s%s", store_text[p->storage], p->widened ? ", widened per task" : "");
}
