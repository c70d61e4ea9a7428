/* weight_winograd.c - the loop nests of weight_winograd.h. */
#include "kernel/weight_winograd.h"

enum { TAPS = WINOGRAD_TAPS * WINOGRAD_TAPS };

typedef struct {
    Kernel *k;
    const WeightPlan *p;
    TileSource x, dy;
    int v, z, s, half, to;                 /* scratch; where weights go: a unit's part, or scratch too */
    WeightRows rows;                       /* of one unit */
    Index unit, in, out;                   /* the task: unit of images, first input and output block */
    Reg acc[WEIGHT_SLOTS][WEIGHT_LANES];
} Nest;

static Index zero(void) { return index_const(0); }
static Index affine(Nest *c, const char *name, Index a) { return index_var(kb_index(c->k, name, INDEX_AFFINE, a, zero())); }

static int64_t v_step(const WeightPlan *p) { return (p->chunk * p->in_group + 1) * p->width; }    /* of a point: no power of two */
static int64_t z_step(const WeightPlan *p) { return (p->chunk * p->out_group + 1) * p->width; }

static Index sums_index(const WeightPlan *p, Index slice, Index channel, Index block) {
    Index at = index_add(index_scale(slice, p->in_group * p->lanes), channel);
    return index_scale(index_add(index_scale(at, p->out_group), block), p->width);
}

static int64_t sums_floats(const WeightPlan *p) { return p->slices * p->in_group * p->lanes * p->out_group * p->width; }

/* ---- a chunk of tiles ---- */

static void transform_chunk(Nest *c, Index first, Index chunk, Index tiles) {
    const WeightPlan *p = c->p;
    Index t = index_var(kb_loop(c->k, "t", zero(), tiles, 1)), tile = index_add(chunk, t), image = first;
    if (p->unit > 1) {
        image = index_add(first, index_var(kb_index(c->k, "image", INDEX_DIV, tile, index_const(p->image_tiles))));
        tile = index_var(kb_index(c->k, "tile", INDEX_MOD, tile, index_const(p->image_tiles)));
    }
    TileAt at = tile_find(c->k, &p->grid, image, tile);
    Index v = index_scale(index_add(index_scale(t, p->in_group), index_scale(c->in, -1)), p->width);
    Index z = index_scale(index_add(index_scale(t, p->out_group), index_scale(c->out, -1)), p->width);
    tile_transform(&c->x, &at, v, c->in, index_plus(c->in, p->in_group));
    tile_transform(&c->dy, &at, z, c->out, index_plus(c->out, p->out_group));
    kb_end(c->k);
}

/* slots x together sums over the slice's points and the chunk's tiles. */
static void multiply_tile(Nest *c, const WinogradSlice *slice, Index block, Index lane, Index out, Index tiles) {
    const WeightPlan *p = c->p;
    for (int s = 0; s < p->slots; s++)
        for (int i = 0; i < p->together; i++)
            kb_set_const(c->k, c->acc[s][i], 0);
    Index point = winograd_points(c->k, &p->f, slice);
    Index v0 = index_add(index_scale(point, v_step(p)), index_add(index_scale(block, p->width), lane));
    Index z0 = index_add(index_scale(point, z_step(p)), index_scale(out, p->width));
    Index t = index_var(kb_loop(c->k, "t", zero(), tiles, 1));
    Index v = affine(c, "vi", index_add(v0, index_scale(t, p->in_group * p->width)));
    Index z = affine(c, "zi", index_add(z0, index_scale(t, p->out_group * p->width)));
    Reg dy[WEIGHT_SLOTS];
    for (int s = 0; s < p->slots; s++)
        dy[s] = kb_load(c->k, ACCESS_VECTOR, c->z, index_plus(z, (int64_t)s * p->width));
    for (int i = 0; i < p->together; i++) {
        Reg x = kb_load(c->k, ACCESS_SPLAT, c->v, index_plus(v, i));
        for (int s = 0; s < p->slots; s++)
            kb_set(c->k, c->acc[s][i], KOP_FMA, x, dy[s], c->acc[s][i]);
    }
    for (int k = 1 + winograd_point_loops(&p->f); k; k--)
        kb_end(c->k);
    Index channel = index_add(index_scale(block, p->lanes), lane);
    Index to = affine(c, "to", sums_index(p, slice->slice, channel, out));
    for (int i = 0; i < p->together; i++)
        for (int s = 0; s < p->slots; s++)
            kb_add_to(c->k, ACCESS_VECTOR, c->s, index_plus(to, (i * p->out_group + s) * p->width), zero(), c->acc[s][i]);
}

static void multiply_chunk(Nest *c, Index tiles) {
    const WeightPlan *p = c->p;
    WinogradSlice slice = winograd_slices(c->k, &p->f);
    Index block = index_var(kb_loop(c->k, "block", zero(), index_const(p->in_group), 1));
    Index lane = index_var(kb_loop(c->k, "lane", zero(), index_const(p->lanes), p->together));
    Index out = index_var(kb_loop(c->k, "out", zero(), index_const(p->out_group), p->slots));
    multiply_tile(c, &slice, block, lane, out, tiles);
    for (int i = 0; i < 4; i++)
        kb_end(c->k);
}

/* ---- from sums to weights ---- */

/* The 9 vectors of an input channel and an output block, to `at` of the task's weights. */
static void transform_sums(Nest *c, Index channel, Index out, Index at) {
    const WeightPlan *p = c->p;
    int n = p->f.distinct;
    Index j = index_var(kb_loop(c->k, "j", zero(), index_const(n), 1));
    Reg in[WINOGRAD_SIZE], column[WINOGRAD_TAPS];
    for (int i = 0; i < n; i++)
        in[i] = kb_load(c->k, ACCESS_VECTOR, c->s, sums_index(p, index_plus(j, (int64_t)i * n), channel, out));
    winograd_apply(c->k, &p->f.back, in, column);
    for (int i = 0; i < WINOGRAD_TAPS; i++)
        kb_store(c->k, ACCESS_VECTOR, c->half, index_scale(index_plus(j, (int64_t)i * n), p->width), column[i]);
    kb_end(c->k);
    for (int i = 0; i < WINOGRAD_TAPS; i++) {
        for (int l = 0; l < n; l++)
            in[l] = kb_load(c->k, ACCESS_VECTOR, c->half, index_const((int64_t)(i * n + l) * p->width));
        winograd_apply(c->k, &p->f.back, in, column);
        for (int l = 0; l < WINOGRAD_TAPS; l++)
            kb_store(c->k, ACCESS_VECTOR, c->to, index_plus(at, (int64_t)(i * WINOGRAD_TAPS + l) * p->width), column[l]);
    }
}

/* A block of input channels and one of output channels after the other: to the unit's part, or by way of scratch to the rows. */
static void finish(Nest *c) {
    const WeightPlan *p = c->p;
    bool parts = p->units > 1;
    Index block = index_var(kb_loop(c->k, "block", zero(), index_const(p->in_group), 1));
    Index out = index_var(kb_loop(c->k, "out", zero(), index_const(p->out_group), 1));
    Index first = index_scale(index_add(c->in, block), p->lanes), end = index_const(p->lanes), to = zero();
    if (p->in_channels % p->lanes)
        end = index_var(kb_index(c->k, "channels", INDEX_MIN, index_plus(index_scale(first, -1), p->in_channels), end));
    if (parts) {
        Index part = index_add(index_scale(c->unit, p->out_blocks), index_add(c->out, out));
        to = index_scale(index_add(index_scale(part, p->in_channels), first), TAPS * p->width);
    }
    Index lane = index_var(kb_loop(c->k, "lane", zero(), end, 1));
    transform_sums(c, index_add(index_scale(block, p->lanes), lane), out, index_add(to, index_scale(lane, TAPS * p->width)));
    kb_end(c->k);
    if (!parts)
        weight_rows_copy(&c->rows, c->to, zero(), p->width, index_add(c->out, out), index_scale(first, TAPS), index_scale(end, TAPS),
                         p->lanes * TAPS % p->width == 0 && p->in_channels % p->lanes == 0);
    kb_end(c->k);
    kb_end(c->k);
}

/* ---- kernels ---- */

static void find_task(Nest *c) {
    const WeightPlan *p = c->p;
    int64_t ins = p->in_blocks / p->in_group, outs = p->out_blocks / p->out_group;
    Index local = zero();
    c->unit = index_var(VAR_TASK);
    if (ins * outs > 1) {
        c->unit = index_var(kb_index(c->k, "unit", INDEX_DIV, index_var(VAR_TASK), index_const(ins * outs)));
        local = index_var(kb_index(c->k, "local", INDEX_MOD, index_var(VAR_TASK), index_const(ins * outs)));
    }
    c->out = index_scale(index_var(kb_index(c->k, "out_group", INDEX_DIV, local, index_const(ins))), p->out_group);
    c->in = index_scale(index_var(kb_index(c->k, "in_group", INDEX_MOD, local, index_const(ins))), p->in_group);
}

static TileSource source(Nest *c, const Node *n, const Transform *t, int64_t step, int64_t pad_h, int64_t pad_w, int from) {
    const WeightPlan *p = c->p;
    return (TileSource){ .k = c->k, .t = t, .width = p->width, .size = { n->shape.dim[2], n->shape.dim[3] }, .off = { -pad_h, -pad_w },
                         .blocks = ceil_div(n->shape.dim[1], p->width), .grid = &p->grid, .step = step, .from = from, .block_step = p->width };
}

static void scratch(Nest *c) {
    const WeightPlan *p = c->p;
    c->s = kb_scratch(c->k, "sums", ELEM_F32, sums_floats(p));
    c->v = c->x.to = kb_scratch(c->k, "v", ELEM_F32, p->points * v_step(p));
    c->z = c->dy.to = kb_scratch(c->k, "z", ELEM_F32, p->points * z_step(p));
    if (p->units == 1)                     /* read W vectors at a time */
        c->to = kb_scratch(c->k, "weights", ELEM_F32, ceil_div(p->lanes * TAPS, p->width) * p->width * p->width);
    c->half = kb_scratch(c->k, "part", ELEM_F32, (int64_t)WINOGRAD_TAPS * p->f.distinct * p->width);
    c->x.point_step = v_step(p);
    c->dy.point_step = z_step(p);
    tile_scratch(&c->x);
    tile_scratch(&c->dy);
    for (int s = 0; s < p->slots; s++)
        for (int i = 0; i < p->together; i++)
            c->acc[s][i] = kb_reg(c->k, ELEM_F32, true);
}

static void build(Nest *c) {
    const WeightPlan *p = c->p;
    if (c->rows.body)
        body_start(c->rows.body);
    find_task(c);
    Index first = affine(c, "first", index_scale(c->unit, p->unit)), left = index_add(index_var(VAR_N), index_scale(first, -1));
    Index images = index_var(kb_index(c->k, "images", INDEX_MIN, left, index_const(p->unit)));
    Index count = affine(c, "count", index_scale(images, p->image_tiles));
    Index i = index_var(kb_loop(c->k, "i", zero(), index_const(sums_floats(p)), p->width));
    kb_store(c->k, ACCESS_VECTOR, c->s, i, kb_const(c->k, 0, true));
    kb_end(c->k);
    Index chunk = index_var(kb_loop(c->k, "chunk", zero(), count, p->chunk));
    Index rest = index_add(count, index_scale(chunk, -1));
    Index tiles = index_var(kb_index(c->k, "tiles", INDEX_MIN, rest, index_const(p->chunk)));
    transform_chunk(c, first, chunk, tiles);
    multiply_chunk(c, tiles);
    kb_end(c->k);
    finish(c);
}

static int64_t part_floats(const WeightPlan *p) { return p->out_blocks * p->in_channels * TAPS * p->width; }

/* They are read W vectors at a time. */
static int64_t parts_floats(const WeightPlan *p) { return p->units * part_floats(p) + (int64_t)p->width * p->width; }

/* The call that adds the units' parts up: a task is an output block. */
static void lower_parts(Lower *l, const Group *g, const WeightPlan *p, int parts) {
    Kernel *k = lower_kernel(l, g, "_weight_sum");
    int from = kb_arg(k, "parts", ELEM_F32, false, parts_floats(p), "[unit][output block][input channel][tap]");
    WeightRows rows = weight_rows(l, k, g);
    body_start(rows.body);
    Index used = index_var(kb_index(k, "units", INDEX_DIV, index_plus(index_var(VAR_N), p->unit - 1), index_const(p->unit)));
    Index out = index_var(VAR_TASK), count = index_const(p->in_channels * TAPS);
    Index i = index_var(kb_loop(k, "i", zero(), count, p->width));
    Index at = index_scale(index_add(index_scale(out, p->in_channels * TAPS), i), p->width);
    Reg sums[TRANSPOSE_WIDTH];
    for (int r = 0; r < p->width; r++) {
        sums[r] = kb_reg(k, ELEM_F32, true);
        kb_set_const(k, sums[r], 0);
    }
    Index unit = index_var(kb_loop(k, "unit", zero(), used, 1));
    Index part = index_var(kb_index(k, "part", INDEX_AFFINE, index_add(at, index_scale(unit, part_floats(p))), zero()));
    for (int r = 0; r < p->width; r++)
        kb_set(k, sums[r], KOP_FADD, sums[r], kb_load(k, ACCESS_VECTOR, from, index_plus(part, (int64_t)r * p->width)), NO_REG);
    kb_end(k);
    weight_rows_put(&rows, out, i, index_add(count, index_scale(i, -1)), p->in_channels * TAPS % p->width == 0, sums);
    kb_end(k);
    kernel_finish(k);
    PlannedCall *c = lower_call(l, k, false);
    c->tasks = p->out_blocks;
    c->flops = (double)(p->units * p->in_channels * TAPS * p->width);
    call_arg_temp(c, parts);
    weight_rows_args(&rows, c, g);
}

static double nominal_flops(const WeightPlan *p) {
    double pixels = (double)(p->dy->shape.dim[2] * p->dy->shape.dim[3]);
    return 2 * TAPS * (double)p->images * pixels * (double)(p->in_channels * p->out_channels);
}

void lower_weight_winograd(Lower *l, const Group *g, const WeightPlan *p, const char *why) {
    const Window *w = &g->anchor->attr.window;
    Nest c = { .k = lower_kernel(l, g, "_weight"), .p = p };
    int64_t groups = p->in_blocks / p->in_group * (p->out_blocks / p->out_group);
    c.k->title = arena_printf(l->arena, "%s; conv.weight %lld->%lld: winograd F(%dx%d, 3x3%s), tile %d x %d channels, tasks of %lld x %lld channels and "
                              "%lld images, %lld tiles at a time%s", c.k->title, (long long)p->in_channels, (long long)p->out_channels,
                              p->f.m, p->f.m, winograd_stride_text(&p->f), p->slots * p->width, p->together, (long long)(p->out_group * p->width),
                              (long long)(p->in_group * p->lanes), (long long)p->unit, (long long)p->chunk, why);
    int x = kb_arg(c.k, "x", ELEM_F32, false, value_floats(p->x, p->width), shape_text(l->arena, TYPE_F32, &p->x->shape));
    int dy = kb_arg(c.k, "dy", ELEM_F32, false, value_floats(p->dy, p->width), shape_text(l->arena, TYPE_F32, &p->dy->shape));
    bool parts = p->units > 1;
    if (parts)
        c.to = kb_arg(c.k, "parts", ELEM_F32, true, parts_floats(p), "parts of dw");
    else
        c.rows = weight_rows(l, c.k, g);
    c.x = source(&c, p->x, &p->f.data, p->f.read_step, w->pad_lo[0], w->pad_lo[1], x);
    c.dy = source(&c, p->dy, &p->f.gradient, p->f.m, 0, 0, dy);
    scratch(&c);
    build(&c);
    kernel_finish(c.k);
    PlannedCall *call = lower_call(l, c.k, false);
    call->tasks = groups;
    call->unit = parts ? p->unit : 0;
    call->flops = nominal_flops(p) / (double)(groups * p->units);
    call->group = g;
    call_arg_value(call, p->x);
    call_arg_value(call, p->dy);
    if (!parts) {
        weight_rows_args(&c.rows, call, g);
        return;
    }
    int temp = lower_temp(l, parts_floats(p) * 4, false, "parts of a gradient");
    call_arg_temp(call, temp);
    lower_parts(l, g, p, temp);
}
