/* conv_weight.c - CONV_WEIGHT: dw[o, c, k] = sum over images n and results q of dy[n, o, q] x[n, c, q * stride - pad + k * dilation].
 *
 * A task is (panel of V output channel blocks, one unit of input channels) and sees all images. For every tap
 * and P lanes of the unit, V x P register sums run over the pixels of a strip (some rows of one image, or
 * a few small images), then are added to the chunk's sums in scratch. Chunks of 8 images are added up
 * one after the other: the sum over a batch that is split into whole chunks is the sum of its parts.
 * At the end the sums are written to the plain weights, one output channel after the other.
 *
 * Scratch: [lane][tap][V * W], so that the lanes and taps of an output channel lie at equal steps. */
#include "kernel/conv.h"
#include "kernel/weight_winograd.h"

#include <assert.h>

enum { CHUNK = 8, STRIP_PIXELS = 128, MAX_LANES = 8, MAX_SLOTS = 4, AHEAD_PIXELS = 64 };

typedef struct {
    Lower *l;
    Kernel *k;
    Node *x, *dy, *dw;
    const Window *win;
    int width, slots, lanes;               /* V; P input channels per register tile */
    bool x_blocked, dy_blocked;
    int64_t narrow;                        /* as in ConvPlan */
    int64_t x_pixel, x_lane;               /* steps in x from one pixel, from one channel of a unit to the next */
    int dims;
    int64_t in[MAX_SPATIAL], out[MAX_SPATIAL];
    int64_t x_pixels, dy_pixels, taps;
    int64_t images, in_channels, out_channels, group_in, group_out;
    int64_t unit_lanes;                    /* input channels of a unit */
    int64_t sum_lanes;                     /* of them that every lane of dy meets */
    PanelInputs inputs;                    /* units that a panel needs */
    int64_t units;                         /* of a panel at most */
    int64_t panels;
    int64_t strip_images, strip_rows;
    bool fetches;                          /* the pixels AHEAD_PIXELS on are fetched: tasks read the operands again and again, from L3 */
    bool chunked;                          /* a chunk's sums are kept apart from the total */
    bool single;                           /* one strip is all: its sums are the total */
    int xb, dyb, dwb, total, chunk;        /* buffers; dwb with groups alone */
    WeightRows rows;                       /* without groups */
    Reg acc[MAX_SLOTS][MAX_LANES];
    Reg *take;                             /* narrow: which lanes the lanes take */
    Index panel, unit;
} Weight;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static Index zero(void) { return index_const(0); }

/* ---- plan ---- */

static void plan_units(Weight *s) {
    s->inputs = (PanelInputs){ .channels = (int64_t)s->slots * s->width, .out_channels = s->out_channels, .in_channels = s->in_channels,
                               .group_out = s->group_out, .group_in = s->group_in, .unit = s->unit_lanes };
    if (s->narrow)
        s->inputs = (PanelInputs){ .unit = s->width, .most = 1, .mean = 1, .step = s->slots, .together = 1 };
    else
        panel_inputs_plan(&s->inputs, false);
    s->units = s->inputs.most;
}

static int divisor(int64_t of, int limit) {
    for (int d = limit; d > 1; d--)
        if (of % d == 0)
            return d;
    return 1;
}

static void plan_tile(Weight *s) {
    int registers = s->l->target->registers - (s->l->target->fma ? 1 : 2);
    int64_t blocks = ceil_div(s->out_channels, s->width);
    s->unit_lanes = s->x_blocked ? min64(s->width, s->in_channels) : divisor(s->in_channels, MAX_LANES);
    if (s->narrow)
        s->unit_lanes = s->width;
    s->sum_lanes = s->narrow ? s->narrow : s->unit_lanes;
    s->lanes = divisor(s->sum_lanes, MAX_LANES);
    while (s->lanes > 1 && 2 * s->lanes + 2 > registers)
        s->lanes = divisor(s->sum_lanes, s->lanes - 1);
    s->slots = 1;
    bool grouped = s->win->groups > 1;         /* a panel that spans groups multiplies by zeros */
    for (int v = 2; v <= MAX_SLOTS && !s->narrow && !(grouped && v * s->width > s->group_out); v++)
        if (blocks % v == 0 && v * s->lanes + v <= registers && (v == 2 || v * s->lanes <= 24))
            s->slots = v;
    s->panels = blocks / s->slots;
}

static int64_t row_pixels(const Weight *s) {
    return s->dims ? s->dy_pixels / s->out[0] : 1;
}

static void plan(Weight *s) {
    s->images = s->x->shape.dim[0];
    s->in_channels = s->x->shape.dim[window_channel(s->win)];
    s->out_channels = s->dy->shape.dim[window_channel(s->win)];
    s->group_in = s->in_channels / s->win->groups;
    s->group_out = s->out_channels / s->win->groups;
    s->x_blocked = value_info(s->x)->layout == LAYOUT_BLOCKED;
    assert(!s->x_blocked || s->x->channel == window_channel(s->win));
    s->dy_blocked = value_info(s->dy)->layout == LAYOUT_BLOCKED;
    if (s->x_blocked && s->dy_blocked && conv_is_narrow(s->width, s->group_in, s->group_out, s->win->groups))
        s->narrow = s->group_in;
    s->dims = s->win->spatial;
    s->x_pixels = s->dy_pixels = s->taps = 1;
    for (int i = 0; i < s->dims; i++) {
        s->in[i] = window_sizes(s->win, &s->x->shape)[i];
        s->out[i] = window_sizes(s->win, &s->dy->shape)[i];
        s->x_pixels *= s->in[i];
        s->dy_pixels *= s->out[i];
        s->taps *= s->win->kernel[i];
    }
    s->x_pixel = s->x_blocked ? s->width : s->win->channel_last ? s->in_channels : 1;
    s->x_lane = s->x_blocked || s->win->channel_last ? 1 : s->x_pixels;
    plan_tile(s);
    assert(!s->narrow || s->lanes == s->narrow);
    plan_units(s);
    s->strip_images = 1;
    while (s->strip_images < CHUNK && s->strip_images * 2 * s->dy_pixels <= STRIP_PIXELS)
        s->strip_images *= 2;
    s->strip_rows = s->dims ? min64(s->out[0], STRIP_PIXELS / row_pixels(s) ? STRIP_PIXELS / row_pixels(s) : 1) : 1;
    int64_t operands = (value_floats(s->x, s->width) + value_floats(s->dy, s->width)) * 4;
    s->fetches = s->taps == 1 && s->dims && s->x_blocked && s->dy_blocked && !s->narrow && operands > s->l->target->l2;
    s->single = !s->narrow && s->images <= s->strip_images && (s->dims == 0 || s->strip_rows == s->out[0]);
    s->chunked = s->images > CHUNK && !(s->strip_images == CHUNK && (s->dims == 0 || s->strip_rows == s->out[0]));
}

/* ---- memory ---- */

static Index x_index(const Weight *s, Index image, Index pixel, Index lane) {
    int64_t planes = s->x_blocked ? ceil_div(s->in_channels, s->width) * s->width : s->in_channels;
    int64_t unit = s->unit_lanes * (s->x_blocked ? s->x_pixels : s->x_lane);   /* one of fewer lanes than a block stands alone */
    Index at = index_add(index_scale(image, planes * s->x_pixels), index_scale(s->unit, unit));
    return index_add(index_add(at, index_scale(pixel, s->x_pixel)), index_scale(lane, s->x_lane));
}

/* Of a blocked operand. */
static Index dy_index(const Weight *s, Index image, Index pixel, int slot) {
    Index block = index_plus(index_scale(s->panel, s->slots), slot);
    Index at = index_scale(image, ceil_div(s->out_channels, s->width) * s->dy_pixels);
    at = index_add(index_add(at, index_scale(block, s->dy_pixels)), pixel);
    return index_scale(at, s->width);
}

static Reg load_dy(Weight *s, Index image, Index pixel, int slot) {
    Index block = index_plus(index_scale(s->panel, s->slots), slot);
    if (s->dy_blocked)
        return kb_load(s->k, ACCESS_VECTOR, s->dyb, dy_index(s, image, pixel, slot));
    Index at = index_scale(image, s->out_channels * s->dy_pixels);
    Index lanes = index_plus(index_scale(block, -s->width), s->out_channels);
    if (s->win->channel_last) {
        at = index_add(at, index_add(index_scale(pixel, s->out_channels), index_scale(block, s->width)));
        return kb_load_lanes(s->k, ACCESS_MASKED, s->dyb, at, lanes, 1);
    }
    at = index_add(at, index_scale(block, s->width * s->dy_pixels));
    return kb_load_lanes(s->k, ACCESS_STRIDED, s->dyb, index_add(at, pixel), lanes, s->dy_pixels);
}

static Index sum_index(const Weight *s, Index tap, Index lane, int slot) {
    Index at = index_add(index_scale(lane, s->taps), tap);
    return index_scale(index_plus(index_scale(at, s->slots), slot), s->width);
}

static int64_t sum_floats(const Weight *s) {
    return s->taps * s->sum_lanes * s->slots * s->width;
}

/* Whole groups of W vectors, as write_dense reads them. */
static int64_t total_floats(const Weight *s) {
    int64_t group = (int64_t)s->width * s->slots * s->width;
    return ceil_div(sum_floats(s), group) * group;
}

/* ---- one strip ---- */

static Index quotient(Weight *s, Index a, int64_t d, int64_t lift) {
    if (d == 1)
        return a;
    int q = kb_index(s->k, "q", INDEX_DIV, index_plus(a, lift * d), index_const(d));
    return index_plus(index_var(q), -lift);
}

/* Opens the loop over results of dimension i in [from, to) that read inside with this tap. */
static Index open_results(Weight *s, int i, Index tap, Index from, Index to) {
    static const char *const name[MAX_SPATIAL] = { "i", "j", "l" };
    int64_t stride = s->win->stride[i], pad = s->win->pad_lo[i], dil = s->win->dilation[i], kernel = s->win->kernel[i];
    int64_t lift = kernel * dil + s->in[i] + pad + stride;
    if (pad > 0) {                             /* q >= (pad - k * dilation) / stride, rounded up */
        Index need = quotient(s, index_plus(index_scale(tap, -dil), pad + stride - 1), stride, lift);
        from = index_var(kb_index(s->k, "from", INDEX_MAX, need, from));
    }
    if ((s->out[i] - 1) * stride - pad + (kernel - 1) * dil >= s->in[i]) {
        Index room = quotient(s, index_plus(index_scale(tap, -dil), s->in[i] - 1 + pad), stride, lift);
        to = index_var(kb_index(s->k, "to", INDEX_MIN, index_plus(room, 1), to));
    }
    return index_var(kb_loop(s->k, name[i], from, to, 1));
}

/* V x P products of one pixel. */
static void multiply(Weight *s, Index image, Index x_pixel, Index dy_pixel, Index lane) {
    Kernel *k = s->k;
    Reg dy[MAX_SLOTS];
    for (int v = 0; v < s->slots; v++)
        dy[v] = load_dy(s, image, dy_pixel, v);
    int at = kb_index(k, "xi", INDEX_AFFINE, x_index(s, image, x_pixel, s->narrow ? zero() : lane), zero());
    if (s->fetches) {                          /* beyond an image's end it fetches what nobody waits for */
        kb_prefetch(k, s->xb, index_plus(index_var(at), AHEAD_PIXELS * s->win->stride[s->dims - 1] * s->x_pixel), 1);
        for (int v = 0; v < s->slots; v++)
            kb_prefetch(k, s->dyb, dy_index(s, image, index_plus(dy_pixel, AHEAD_PIXELS), v), 1);
    }
    Reg all = s->narrow ? kb_load(k, ACCESS_VECTOR, s->xb, index_var(at)) : NO_REG;
    for (int p = 0; p < s->lanes; p++) {
        Reg x = all;
        if (!s->narrow)
            x = kb_load(k, ACCESS_SPLAT, s->xb, index_plus(index_var(at), p * s->x_lane));
        else if (s->narrow > 1)
            x = kb_op(k, KOP_TAKE, all, s->take[p], NO_REG);
        for (int v = 0; v < s->slots; v++)
            kb_set(k, s->acc[v][p], KOP_FMA, x, dy[v], s->acc[v][p]);
    }
}

/* Sums of one tap and P lanes over a strip's pixels. */
static void sum_strip(Weight *s, const Index *tap, Index lane, Index image, Index image_end, Index row, Index row_end) {
    Index x_pixel = zero(), dy_pixel = zero();
    for (int v = 0; v < s->slots; v++)
        for (int p = 0; p < s->lanes; p++)
            kb_set_const(s->k, s->acc[v][p], 0);
    if (s->strip_images > 1)
        image = index_var(kb_loop(s->k, "image", image, image_end, 1));
    for (int i = 0; i < s->dims; i++) {
        Index from = i ? zero() : row, to = i ? index_const(s->out[i]) : row_end;
        Index q = open_results(s, i, tap[i], from, to);
        Index read = index_plus(index_add(index_scale(q, s->win->stride[i]), index_scale(tap[i], s->win->dilation[i])), -s->win->pad_lo[i]);
        x_pixel = index_add(index_scale(x_pixel, s->in[i]), read);
        dy_pixel = index_add(index_scale(dy_pixel, s->out[i]), q);
    }
    multiply(s, image, x_pixel, dy_pixel, lane);
    for (int i = 0; i < s->dims + (s->strip_images > 1); i++)
        kb_end(s->k);
}

/* What stands behind the sums, a few rows at a time between products: lines that are to be written are fetched first, too. */
static void prefetch_result(Weight *s, Index number, Index lane) {
    int64_t rows = (int64_t)s->slots * s->width, groups = s->sum_lanes / s->lanes, each = ceil_div(rows, s->taps * groups);
    Index group = zero();
    if (groups > 1)
        group = index_var(kb_index(s->k, "lane_group", INDEX_DIV, lane, index_const(s->lanes)));
    Index row = index_scale(index_add(index_scale(number, groups), group), each);
    row = index_add(row, index_scale(s->panel, rows));
    for (int64_t i = 0; i < each; i++) {
        Index at = index_add(index_scale(index_plus(row, i), s->in_channels), index_scale(s->unit, s->unit_lanes));
        body_prefetch(s->rows.body, index_scale(at, s->taps), s->unit_lanes * s->taps);
    }
}

/* All taps and lanes of the unit over one strip, added to `to`; a single strip's are stored. */
static void add_strip(Weight *s, int to, Index image, Index image_end, Index row, Index row_end) {
    Index tap[MAX_SPATIAL], number = zero(), lane = zero();
    int64_t lanes = s->sum_lanes;
    for (int i = 0; i < s->dims; i++) {
        tap[i] = index_var(kb_loop(s->k, "tap", zero(), index_const(s->win->kernel[i]), 1));
        number = index_add(index_scale(number, s->win->kernel[i]), tap[i]);
    }
    if (lanes > s->lanes)
        lane = index_var(kb_loop(s->k, "lane", zero(), index_const(lanes), s->lanes));
    if (s->single && s->win->groups == 1)
        prefetch_result(s, number, lane);
    sum_strip(s, tap, lane, image, image_end, row, row_end);
    for (int p = 0; p < s->lanes; p++)
        for (int v = 0; v < s->slots; v++) {
            Index at = sum_index(s, number, index_plus(lane, p), v);
            if (s->single)
                kb_store(s->k, ACCESS_VECTOR, to, at, s->acc[v][p]);
            else
                kb_add_to(s->k, ACCESS_VECTOR, to, at, zero(), s->acc[v][p]);
        }
    for (int i = 0; i < s->dims + (lanes > s->lanes); i++)
        kb_end(s->k);
}

/* ---- all images ---- */

static void each_vector(Weight *s, int to, int from) {
    Index i = index_var(kb_loop(s->k, "i", zero(), index_const(sum_floats(s)), s->width));
    if (from < 0)
        kb_store(s->k, ACCESS_VECTOR, to, i, kb_const(s->k, 0, true));
    else
        kb_add_to(s->k, ACCESS_VECTOR, to, i, zero(), kb_load(s->k, ACCESS_VECTOR, from, i));
    kb_end(s->k);
}

static void chunk_of_images(Weight *s, Index first) {
    int to = s->chunked ? s->chunk : s->total;
    if (s->chunked)
        each_vector(s, to, -1);
    int last = kb_index(s->k, "last", INDEX_MIN, index_plus(first, CHUNK), index_var(VAR_N));
    Index image = first, end = index_var(last), row = zero(), row_end = index_const(s->dims ? s->out[0] : 1);
    if (s->strip_images < CHUNK) {
        image = index_var(kb_loop(s->k, "strip", first, index_var(last), s->strip_images));
        if (s->strip_images > 1)
            end = index_var(kb_index(s->k, "strip_end", INDEX_MIN, index_plus(image, s->strip_images), index_var(last)));
    }
    bool rows = s->dims && s->strip_rows < s->out[0];
    if (rows) {
        row = index_var(kb_loop(s->k, "rows", zero(), index_const(s->out[0]), s->strip_rows));
        row_end = index_var(kb_index(s->k, "rows_end", INDEX_MIN, index_plus(row, s->strip_rows), index_const(s->out[0])));
    }
    add_strip(s, to, image, end, row, row_end);
    if (rows)
        kb_end(s->k);
    if (s->strip_images < CHUNK)
        kb_end(s->k);
    if (s->chunked)
        each_vector(s, s->total, s->chunk);
}

/* ---- to the plain weights ---- */

static void write_dense(Weight *s) {
    Kernel *k = s->k;
    int64_t step = (int64_t)s->slots * s->width, whole = s->unit_lanes * s->taps;
    Index first = index_scale(s->unit, s->unit_lanes * s->taps), count = index_const(whole), slot = zero();
    if (s->in_channels % s->unit_lanes) {
        Index left = index_plus(index_scale(first, -1), s->in_channels * s->taps);
        count = index_var(kb_index(k, "count", INDEX_MIN, count, left));
    }
    if (s->slots > 1)
        slot = index_var(kb_loop(k, "slot", zero(), index_const(s->slots), 1));
    Index out = index_add(index_scale(s->panel, s->slots), slot);
    bool all = whole % s->width == 0 && s->in_channels % s->unit_lanes == 0;
    weight_rows_copy(&s->rows, s->total, index_scale(slot, s->width), step, out, first, count, all);
    if (s->slots > 1)
        kb_end(k);
}

/* Lanes are output channels, each with the lanes of its group. */
static void write_narrow(Weight *s) {
    Kernel *k = s->k;
    int64_t step = s->narrow * s->taps;        /* from one output channel to the next */
    Index lane = index_var(kb_loop(k, "lane", zero(), index_const(s->narrow), 1));
    Index tap = index_var(kb_loop(k, "tap", zero(), index_const(s->taps), 1));
    for (int v = 0; v < s->slots; v++) {
        Index out = index_scale(index_plus(index_scale(s->panel, s->slots), v), s->width);
        Reg sum = kb_load(k, ACCESS_VECTOR, s->total, sum_index(s, tap, lane, v));
        Index to = index_add(index_add(index_scale(out, step), index_scale(lane, s->taps)), tap);
        kb_store_lanes(k, ACCESS_STRIDED, s->dwb, to, index_plus(index_scale(out, -1), s->out_channels), step, sum);
    }
    kb_end(k);
    kb_end(k);
}

/* With groups an output channel takes the lanes of its own group only. */
static void write_groups(Weight *s) {
    Kernel *k = s->k;
    int64_t step = (int64_t)s->slots * s->width;
    Index first = index_scale(s->panel, step);
    int end = kb_index(k, "out_end", INDEX_MIN, index_plus(first, step), index_const(s->out_channels));
    Index out = index_var(kb_loop(k, "out", first, index_var(end), 1));
    Index group = index_var(kb_index(k, "group", INDEX_DIV, out, index_const(s->group_out)));
    Index lane = index_var(kb_loop(k, "lane", zero(), index_const(s->unit_lanes), 1));
    Index in = index_add(index_add(index_scale(s->unit, s->unit_lanes), lane), index_scale(group, -s->group_in));
    kb_if(k, index_const(-1), in);
    kb_if(k, in, index_const(s->group_in));
    Index tap = index_var(kb_loop(k, "tap", zero(), index_const(s->taps), 1));
    Index from = index_add(sum_index(s, tap, lane, 0), index_add(out, index_scale(first, -1)));
    Index to = index_add(index_scale(index_add(index_scale(out, s->group_in), in), s->taps), tap);
    kb_store(k, ACCESS_SCALAR, s->dwb, to, kb_load(k, ACCESS_SCALAR, s->total, from));
    for (int i = 0; i < 5; i++)
        kb_end(k);
}

/* ---- the kernel ---- */

static void build(Weight *s) {
    Kernel *k = s->k;
    Index local = zero();
    s->panel = index_var(VAR_TASK);
    if (s->units > 1) {
        s->panel = index_var(kb_index(k, "panel", INDEX_DIV, index_var(VAR_TASK), index_const(s->units)));
        local = index_var(kb_index(k, "local", INDEX_MOD, index_var(VAR_TASK), index_const(s->units)));
    }
    InputRange inputs = panel_inputs(k, &s->inputs, s->panel);
    s->unit = index_var(kb_index(k, "unit", INDEX_AFFINE, index_add(inputs.first, local), zero()));
    if (s->inputs.uneven)
        kb_if(k, local, inputs.count);
    for (int v = 0; v < s->slots; v++)
        for (int p = 0; p < s->lanes; p++)
            s->acc[v][p] = kb_reg(k, ELEM_F32, true);
    s->take = conv_narrow_lanes(k, s->narrow);
    if (s->rows.body)
        body_start(s->rows.body);
    if (!s->single)
        each_vector(s, s->total, -1);
    if (s->images > CHUNK) {
        chunk_of_images(s, index_var(kb_loop(k, "chunk", zero(), index_var(VAR_N), CHUNK)));
        kb_end(k);
    } else {
        chunk_of_images(s, zero());
    }
    if (s->narrow)
        write_narrow(s);
    else if (s->win->groups == 1)
        write_dense(s);
    else
        write_groups(s);
    if (s->inputs.uneven)
        kb_end(k);
}

/* Cycles of one processor for the whole batch. */
static double direct_cost(const Weight *s) {
    double inside = 1, tasks = (double)s->panels * s->inputs.mean;
    for (int i = 0; i < s->dims; i++) {
        double all = (double)(s->out[i] * s->win->kernel[i]);
        inside *= 1 - (double)(s->win->pad_lo[i] + s->win->pad_hi[i]) / all;
    }
    double pixels = (double)(s->images * s->dy_pixels * s->taps) * inside, lanes = (double)s->sum_lanes / s->lanes;
    return pixels * tasks * lanes * conv_tile_cost(s->l->target, s->slots, s->lanes, s->lanes) * conv_balance((double)(s->panels * s->units));
}

void lower_conv_weight(Lower *l, const Group *g) {
    Node *a = g->anchor;
    Weight s = { .l = l, .x = a->in[0], .dy = a->in[1], .dw = a, .win = &a->attr.window, .width = l->target->width };
    plan(&s);
    WeightChoice choice = weight_choose(l, g, direct_cost(&s));
    if (choice.algorithm != CONV_DIRECT) {
        lower_weight_winograd(l, g, &choice.plan, choice.why);
        return;
    }
    s.k = lower_kernel(l, g, "_weight");
    s.k->title = arena_printf(l->arena, "%s; conv.weight: tile %d x %d channels, strips of %lld images x %lld rows%s", s.k->title,
                              s.slots * s.width, s.lanes, (long long)s.strip_images, (long long)s.strip_rows, choice.why);
    s.xb = kb_arg(s.k, "x", ELEM_F32, false, value_floats(s.x, s.width), shape_text(l->arena, TYPE_F32, &s.x->shape));
    s.dyb = kb_arg(s.k, "dy", ELEM_F32, false, value_floats(s.dy, s.width), shape_text(l->arena, TYPE_F32, &s.dy->shape));
    if (s.win->groups > 1)
        s.dwb = kb_arg(s.k, "dw", ELEM_F32, true, shape_count(&a->shape), shape_text(l->arena, TYPE_F32, &a->shape));
    else
        s.rows = weight_rows(l, s.k, g);
    s.total = kb_scratch(s.k, "total", ELEM_F32, total_floats(&s));
    s.chunk = s.chunked ? kb_scratch(s.k, "chunk_sum", ELEM_F32, sum_floats(&s)) : -1;
    build(&s);
    kernel_finish(s.k);
    PlannedCall *c = lower_call(l, s.k, false);
    c->tasks = s.panels * s.units;
    c->group = g;
    c->flops = 2 * (double)s.images * (double)(s.dy_pixels * s.taps * s.sum_lanes) * s.slots * s.width;
    call_arg_value(c, s.x);
    call_arg_value(c, s.dy);
    if (s.rows.body) {
        weight_rows_args(&s.rows, c, g);
        return;
    }
    call_arg_value(c, a);
    c->tap = a;
    c->out = 2;
}
