/* conv_winograd.c - the loop nests of conv_winograd.h.
 *
 * A task that makes its own V transforms its range's tiles for all input channels into scratch, then takes panel after
 * panel: products of all n^2 points into M, and for every tile the transform of its results and the group's body.
 * Where V is made by a call before, a task is a range and one panel. */
#include "kernel/conv_strassen.h"

typedef WinogradNest Nest;

static Index zero(void) { return index_const(0); }
static Index affine(Nest *c, const char *name, Index a) { return index_var(kb_index(c->k, name, INDEX_AFFINE, a, zero())); }

/* ---- ranges and tiles ---- */

static void find_range(Nest *c) {
    const WinogradPlan *p = c->p;
    c->image = affine(c, "first", index_scale(c->unit, p->unit));
    if (p->unit > 1) {
        Index left = index_add(index_var(VAR_N), index_scale(c->image, -1));
        Index images = index_var(kb_index(c->k, "images", INDEX_MIN, left, index_const(p->unit)));
        c->count = affine(c, "count", index_scale(images, p->image_tiles));
    } else if (p->image_tiles % p->part_tiles) {
        Index left = index_plus(index_scale(c->part, -p->part_tiles), p->image_tiles);
        c->count = index_var(kb_index(c->k, "count", INDEX_MIN, left, index_const(p->part_tiles)));
    } else {
        c->count = index_const(p->part_tiles);
    }
}

Index winograd_groups(Nest *c) {
    int64_t count;
    if (index_is_const(&c->count, &count))
        return index_const(ceil_div(count, c->p->pixels));
    return index_var(kb_index(c->k, "groups", INDEX_DIV, index_plus(c->count, c->p->pixels - 1), index_const(c->p->pixels)));
}

Index winograd_tile(Nest *c, Index slot, Index *image) {
    const WinogradPlan *p = c->p;
    Index tile = index_add(slot, index_scale(c->part, p->part_tiles));
    *image = c->image;
    if (p->unit == 1)
        return tile;
    *image = index_add(*image, index_var(kb_index(c->k, "image", INDEX_DIV, tile, index_const(p->image_tiles))));
    return index_var(kb_index(c->k, "tile", INDEX_MOD, tile, index_const(p->image_tiles)));
}

static TileAt find_tile(Nest *c, Index slot) {
    Index image, tile = winograd_tile(c, slot, &image);
    return tile_find(c->k, &c->p->grid, image, tile);
}

/* ---- V: the operand's tiles ---- */

/* V of the range's tiles. */
static void transform_range(Nest *c, Index begin, Index end) {
    const WinogradPlan *p = c->p;
    if (p->strassen) {
        strassen_range(c, begin, end);
        return;
    }
    Index group = index_var(kb_loop(c->k, "group", zero(), winograd_groups(c), 1));
    Index left = index_add(c->count, index_scale(group, -p->pixels));
    int last = kb_index(c->k, "tiles", INDEX_MIN, left, index_const(p->pixels));
    Index tile = index_var(kb_loop(c->k, "slot", zero(), index_var(last), 1));
    TileAt t = find_tile(c, index_add(index_scale(group, p->pixels), tile));
    Index to = index_add(c->v_base, index_scale(group, p->points * p->blocks * p->pixels * p->width));
    tile_transform(&c->data, &t, index_add(to, index_scale(tile, p->width)), begin, end);
    kb_end(c->k);
    kb_end(c->k);
}

/* ---- M: products ---- */

static Reg *accumulator(const Nest *c, int slot, int tile) { return &c->acc[slot * MAX_TILE_PIXELS + tile]; }

static void zero_sums(Nest *c) {
    for (int v = 0; v < c->p->slots; v++)
        for (int i = 0; i < c->p->pixels; i++) {
            Reg *r = accumulator(c, v, i);
            if (*r == NO_REG)
                *r = kb_reg(c->k, ELEM_F32, true);
            kb_set_const(c->k, *r, 0);
        }
}

static void sum_lanes(Nest *c, Index v, Index u, int count) {
    const WinogradPlan *p = c->p;
    Index v0 = affine(c, "vi", v), u0 = affine(c, "ui", u);
    for (int l = 0; l < count; l++) {
        Reg weight[8];
        for (int s = 0; s < p->slots; s++)
            weight[s] = kb_load(c->k, ACCESS_VECTOR, c->u, index_plus(u0, ((int64_t)l * p->slots + s) * p->width));
        for (int i = 0; i < p->pixels; i++) {
            Reg data = kb_load(c->k, ACCESS_SPLAT, c->v, index_plus(v0, l + (int64_t)i * p->width));
            for (int s = 0; s < p->slots; s++)
                kb_set(c->k, *accumulator(c, s, i), KOP_FMA, data, weight[s], *accumulator(c, s, i));
        }
    }
}

Index winograd_sums(const WinogradPlan *p, Index point, Index tile, Index slot) {
    Index at = index_add(index_scale(point, p->groups * p->pixels), tile);
    return index_scale(index_add(index_scale(at, p->slots), slot), p->width);
}

static int64_t sums_floats(const WinogradPlan *p) { return p->groups * p->pixels * p->points * p->slots * p->width; }

/* Where a register tile's sums are in M. */
static Index tile_sums(Nest *c, Index point, Index group) {
    return affine(c, "to", winograd_sums(c->p, point, index_scale(group, c->p->pixels), zero()));
}

static Index tile_sum(const Nest *c, Index to, int slot, int tile) {
    return index_plus(to, ((int64_t)tile * c->p->slots + slot) * c->p->width);
}

static void load_sums(Nest *c, Index to) {
    for (int i = 0; i < c->p->pixels; i++)
        for (int s = 0; s < c->p->slots; s++) {
            Reg *r = accumulator(c, s, i);
            if (*r == NO_REG)
                *r = kb_reg(c->k, ELEM_F32, true);
            kb_set(c->k, *r, KOP_MOVE, kb_load(c->k, ACCESS_VECTOR, c->m, tile_sum(c, to, s, i)), NO_REG, NO_REG);
        }
}

static void store_sums(Nest *c, Index to) {
    for (int i = 0; i < c->p->pixels; i++)
        for (int s = 0; s < c->p->slots; s++)
            kb_store(c->k, ACCESS_VECTOR, c->m, tile_sum(c, to, s, i), *accumulator(c, s, i));
}

/* The lanes of a block, added to the sums; v and u: of its first. next: where the weights that are fetched ahead begin, or NULL. */
static void sum_block(Nest *c, Index block, Index v, Index u, const Index *next) {
    const WinogradPlan *p = c->p;
    int unroll = winograd_unroll(p);
    Index lane = zero(), begin = zero(), end = index_const(p->lanes);
    if (p->inputs.most > 1)
        panel_lanes(c->k, &p->inputs, &c->inputs, block, unroll, &begin, &end);
    if (p->lanes > unroll)
        lane = index_var(kb_loop(c->k, "lane", begin, end, unroll));
    if (next)
        ahead_fetch(c->k, p->ahead, c->u, *next, index_add(index_scale(block, p->lanes), lane));
    sum_lanes(c, index_add(v, lane), index_add(u, index_scale(lane, (int64_t)p->slots * p->width)), unroll);
    if (p->lanes > unroll)
        kb_end(c->k);
}

/* A loop over the slices of weights; by Strassen's algorithm every point has its own. */
static WinogradSlice open_slices(Nest *c) {
    if (!c->p->strassen)
        return winograd_slices(c->k, &c->p->f);
    return (WinogradSlice){ .slice = index_var(kb_loop(c->k, "point", zero(), index_const(c->p->points), 1)) };
}

/* All points of all tiles with one panel: n^2 products of matrices, those that share weights one after the other. */
static void multiply(Nest *c) {
    const WinogradPlan *p = c->p;
    int64_t block_floats = p->lanes * p->slots * p->width, tile_block = (int64_t)p->pixels * p->width;
    Index groups = winograd_groups(c);
    c->inputs = panel_inputs(c->k, &p->inputs, c->panel);
    WinogradSlice slice = open_slices(c);
    Index point = winograd_points(c->k, &p->f, &slice);
    Index group = index_var(kb_loop(c->k, "group", zero(), groups, 1));
    Index v = index_add(index_scale(group, p->points), point);
    v = index_add(c->v_base, index_scale(v, p->blocks * tile_block));
    v = index_add(v, index_scale(c->inputs.first, tile_block));
    Index u = index_add(index_scale(c->panel, p->panel_floats), index_scale(slice.slice, p->inputs.most * block_floats)), block = zero();
    Index next = index_add(index_plus(u, p->inputs.most * block_floats), index_scale(group, p->ahead.share));
    zero_sums(c);
    if (p->inputs.most > 1)
        block = index_var(kb_loop(c->k, "block", zero(), c->inputs.count, 1));
    sum_block(c, block, index_add(v, index_scale(block, tile_block)), index_add(u, index_scale(block, block_floats)), &next);
    if (p->inputs.most > 1)
        kb_end(c->k);
    store_sums(c, tile_sums(c, point, group));
    for (int k = 2 + winograd_point_loops(&p->f); k; k--)
        kb_end(c->k);
}

/* The same, one input block after the other, whose weights are transformed here; every sum runs in the same order. */
static void multiply_by_block(Nest *c) {
    const WinogradPlan *p = c->p;
    int64_t tile_block = (int64_t)p->pixels * p->width;
    Index groups = winograd_groups(c), block = zero();
    c->inputs = panel_inputs(c->k, &p->inputs, c->panel);
    Index i = index_var(kb_loop(c->k, "i", zero(), index_const(sums_floats(p)), p->width));
    kb_store(c->k, ACCESS_VECTOR, c->m, i, kb_const(c->k, 0, true));
    kb_end(c->k);
    if (p->blocks > 1)
        block = index_var(kb_loop(c->k, "block", zero(), index_const(p->blocks), 1));
    pack_winograd_block(c->k, p, c->w, c->u, c->panel, block);
    WinogradSlice slice = winograd_slices(c->k, &p->f);
    Index point = winograd_points(c->k, &p->f, &slice);
    Index group = index_var(kb_loop(c->k, "group", zero(), groups, 1));
    Index v = index_add(index_scale(group, p->points), point);
    v = index_add(c->v_base, index_add(index_scale(v, p->blocks * tile_block), index_scale(block, tile_block)));
    Index to = tile_sums(c, point, group);
    load_sums(c, to);
    sum_block(c, block, v, index_scale(slice.slice, p->lanes * p->slots * p->width), NULL);
    store_sums(c, to);
    for (int k = 2 + winograd_point_loops(&p->f) + (p->blocks > 1); k; k--)
        kb_end(c->k);
}

/* ---- results ---- */

static Index line_index(const WinogradPlan *p, Index row, Index col) {
    return index_scale(index_add(index_scale(row, p->f.n), col), p->width);
}

static void result_columns(Nest *c, Index tile, Index slot) {
    const WinogradPlan *p = c->p;
    int n = p->f.n;
    Index j = index_var(kb_loop(c->k, "j", zero(), index_const(n), 1));
    Index from = affine(c, "from", winograd_sums(p, j, tile, slot));
    int64_t row = winograd_sums(p, index_const(n), zero(), zero()).base;
    Reg in[WINOGRAD_SIZE], out[WINOGRAD_SIZE];
    for (int i = 0; i < n; i++)
        in[i] = kb_load(c->k, ACCESS_VECTOR, c->m, index_plus(from, i * row));
    winograd_apply(c->k, &p->f.result, in, out);
    for (int i = 0; i < p->f.result.rows; i++)
        kb_store(c->k, ACCESS_VECTOR, c->lines, line_index(p, index_const(i), j), out[i]);
    kb_end(c->k);
}

/* Results of a tile along one dimension that exist, from number `first` on. */
static Index existing(Nest *c, const char *name, Index first, int dim) {
    int64_t m = c->p->f.result.rows, out = c->p->out[dim];
    if (out % m == 0)
        return index_const(m);
    return index_var(kb_index(c->k, name, INDEX_MIN, index_plus(index_scale(first, -1), out), index_const(m)));
}

/* Rows of the tile that exist, results in place of what they are made of; then the group's body over the columns that exist. */
static void result_rows(Nest *c, const TileAt *t, Index block) {
    const WinogradPlan *p = c->p;
    int m = p->f.result.rows, n = p->f.n;
    Index at[MAX_RANK], row = index_scale(t->row, m), col = index_scale(t->col, m);
    for (int i = 0; i < MAX_RANK; i++)
        at[i] = zero();
    Index rows = existing(c, "rows", row, 0), columns = existing(c, "columns", col, 1);
    Index i = index_var(kb_loop(c->k, "i", zero(), rows, 1));
    Reg in[WINOGRAD_SIZE], out[WINOGRAD_SIZE];
    for (int j = 0; j < n; j++)
        in[j] = kb_load(c->k, ACCESS_VECTOR, c->lines, line_index(p, i, index_const(j)));
    winograd_apply(c->k, &p->f.result, in, out);
    for (int j = 0; j < m; j++)
        kb_store(c->k, ACCESS_VECTOR, c->lines, line_index(p, i, index_const(j)), out[j]);
    Index j = index_var(kb_loop(c->k, "j", zero(), columns, 1));
    at[0] = t->image;
    at[2] = index_add(row, i);
    at[3] = index_add(col, j);
    body_point(c->body, 0, at, block, kb_load(c->k, ACCESS_VECTOR, c->lines, line_index(p, i, j)));
    kb_end(c->k);
    kb_end(c->k);
}

static void finish_slot(Nest *c, Index slot, Index block) {
    Index tile = index_var(kb_loop(c->k, "tile", zero(), c->count, 1));
    TileAt t = find_tile(c, tile);
    result_columns(c, tile, slot);
    result_rows(c, &t, block);
    kb_end(c->k);
}

static void finish_panel(Nest *c) {
    const WinogradPlan *p = c->p;
    int slots = winograd_body_slots(p);
    Index slot = zero(), row = index_add(index_scale(c->unit, p->parts), c->part);
    if (p->strassen)
        strassen_results(c);
    body_start(c->body);
    if (slots > 1)
        slot = index_var(kb_loop(c->k, "slot", zero(), index_const(slots), 1));
    Index block = index_add(index_scale(c->panel, slots), slot);
    body_slot(c->body, block);
    if (p->strassen)
        strassen_finish_slot(c, slot, block);
    else
        finish_slot(c, slot, block);
    body_slot_end(c->body, block, row, p->parts, p->unit);
    if (slots > 1)
        kb_end(c->k);
    body_finish(c->body, c->panel, p->panels, row, p->parts, p->unit);
}

/* ---- kernels ---- */

/* Parts a number below high * low; both are zero where there is one. */
static void part_number(Nest *c, Index number, int64_t highs, int64_t lows, Index *high, Index *low) {
    *high = highs > 1 ? number : zero();
    *low = zero();
    if (lows > 1) {
        *high = highs > 1 ? index_var(kb_index(c->k, "high", INDEX_DIV, number, index_const(lows))) : zero();
        *low = index_var(kb_index(c->k, "low", INDEX_MOD, number, index_const(lows)));
    }
}

/* The unit of the task; the rest of its number, which is below `tasks`. */
static Index find_unit(Nest *c, int64_t tasks) {
    c->unit = index_var(VAR_TASK);
    if (tasks == 1)
        return zero();
    c->unit = index_var(kb_index(c->k, "unit", INDEX_DIV, index_var(VAR_TASK), index_const(tasks)));
    return index_var(kb_index(c->k, "local", INDEX_MOD, index_var(VAR_TASK), index_const(tasks)));
}

static Index range_base(const Nest *c) {
    Index range = index_add(index_scale(c->unit, c->p->parts), c->part);
    return index_scale(range, winograd_range_floats(c->p));
}

static int data_argument(Lower *l, Kernel *k, const WinogradPlan *p) {
    return kb_arg(k, "x", ELEM_F32, false, value_floats(p->x, p->width), shape_text(l->arena, TYPE_F32, &p->x->shape));
}

static void data_source(Nest *c, int x) {
    const WinogradPlan *p = c->p;
    int64_t block_step = (int64_t)p->pixels * p->width;
    c->x = x;
    if (p->strassen)
        return;
    c->data = (TileSource){ .k = c->k, .t = &p->f.data, .width = p->width, .size = { p->in[0], p->in[1] }, .off = { p->off[0], p->off[1] },
                            .blocks = p->blocks, .grid = &p->grid, .step = p->f.read_step, .from = x, .to = c->v, .point_step = p->blocks * block_step,
                            .block_step = block_step };
    tile_scratch(&c->data);
}

static int64_t range_count(const WinogradPlan *p) { return ceil_div(p->images, p->unit) * p->parts; }

/* The call that makes V; its temporary. */
static int lower_data(Lower *l, const Group *g, const WinogradPlan *p, double *flops) {
    int64_t count = range_count(p) * winograd_range_floats(p);
    int temp = lower_temp(l, count * 4, false, "transformed tiles");
    Nest c = { .k = lower_kernel(l, g, "_tiles"), .p = p, .v_base = zero() };
    c.k->title = arena_printf(l->arena, "%s; tiles of %s transformed, %lld input blocks a task", c.k->title, p->backward ? "dy" : "x",
                              (long long)p->share_blocks);
    int x = data_argument(l, c.k, p);
    c.v = kb_arg(c.k, "v", ELEM_F32, true, count, "[range][group][point][block][tile]");
    data_source(&c, x);
    Index share;
    part_number(&c, find_unit(&c, p->parts * p->shares), p->parts, p->shares, &c.part, &share);
    find_range(&c);
    c.v_base = range_base(&c);
    Index begin = index_scale(share, p->share_blocks);
    int end = kb_index(c.k, "blocks", INDEX_MIN, index_plus(begin, p->share_blocks), index_const(p->blocks));
    transform_range(&c, begin, index_var(end));
    kernel_finish(c.k);
    PlannedCall *call = lower_call(l, c.k, false);
    call->tasks = p->parts * p->shares;
    call->unit = p->unit;
    double operations = p->strassen ? STRASSEN_OPERATIONS : 2.0 * p->f.n * winograd_operations(&p->f.data);
    *flops = 2 * (double)(p->range_tiles * p->blocks * p->width) * operations;
    call->flops = *flops / (double)p->shares;
    *flops *= (double)range_count(p);
    call->group = g;
    call_arg_value(call, p->x);
    call_arg_temp(call, temp);
    return temp;
}

static void build(Nest *c) {
    const WinogradPlan *p = c->p;
    if (!p->split) {
        c->part = find_unit(c, p->parts);
        find_range(c);
        transform_range(c, zero(), index_const(p->blocks));
        c->panel = zero();
        if (p->panels > 1)
            c->panel = index_var(kb_loop(c->k, "panel", zero(), index_const(p->panels), 1));
        multiply(c);
        finish_panel(c);
        if (p->panels > 1)
            kb_end(c->k);
        return;
    }
    Index local = find_unit(c, p->parts * p->panels);
    if (p->panel_inner)
        part_number(c, local, p->parts, p->panels, &c->part, &c->panel);
    else
        part_number(c, local, p->panels, p->parts, &c->panel, &c->part);
    find_range(c);
    c->v_base = range_base(c);
    if (p->packs)
        multiply_by_block(c);
    else
        multiply(c);
    finish_panel(c);
}

static double nominal_flops(const WinogradPlan *p) {
    if (p->strassen)
        return strassen_flops(p);
    double pixels = (double)(p->backward ? p->in[0] * p->in[1] : p->out[0] * p->out[1]);
    return 2 * (double)p->images * pixels * (double)(p->out_channels * p->in_channels) * WINOGRAD_TAPS * WINOGRAD_TAPS;
}

void lower_conv_winograd(Lower *l, const Group *g, const WinogradPlan *p, const char *why) {
    double data_flops = 0;
    int weights = p->packs ? -1 : p->strassen ? pack_strassen(l, g, p) : pack_winograd(l, g, p);
    int data = p->split ? lower_data(l, g, p, &data_flops) : -1;
    Nest c = { .k = lower_kernel(l, g, ""), .p = p, .v_base = zero(), .part = zero() };
    Writer *title = writer_new(l->arena);
    winograd_plan_print(title, p);
    c.k->title = arena_printf(l->arena, "%s; %s%s", c.k->title, title->data, why);
    int x = -1;
    if (p->split)
        c.v = kb_arg(c.k, "v", ELEM_F32, false, range_count(p) * winograd_range_floats(p), "transformed tiles");
    else
        x = data_argument(l, c.k, p);
    if (p->packs)
        c.w = kb_arg(c.k, "w", ELEM_F32, false, shape_count(&p->w->shape), shape_text(l->arena, TYPE_F32, &p->w->shape));
    else
        c.u = kb_arg(c.k, "u", ELEM_F32, false, p->panels * p->panel_floats, "transformed weights");
    if (!p->packs)
        c.k->buffers[c.u].store = p->storage;
    c.body = body_new_rolled(l, c.k, g, winograd_body_slots(p));
    if (!p->split) {
        c.v = kb_scratch(c.k, "v", ELEM_F32, winograd_range_floats(p));
        data_source(&c, x);
    }
    if (p->packs)
        c.u = kb_scratch(c.k, "u", ELEM_F32, p->panel_floats / p->blocks);
    c.m = kb_scratch(c.k, "m", ELEM_F32, sums_floats(p));
    if (!p->strassen)
        c.lines = kb_scratch(c.k, "lines", ELEM_F32, (int64_t)p->f.result.rows * p->f.n * p->width);
    c.acc = NEW_ARRAY(l->arena, Reg, p->slots * MAX_TILE_PIXELS);
    for (int i = 0; i < p->slots * MAX_TILE_PIXELS; i++)
        c.acc[i] = NO_REG;
    build(&c);
    kernel_finish(c.k);
    PlannedCall *call = lower_call(l, c.k, false);
    call->tasks = p->parts * (p->split ? p->panels : 1);
    call->unit = p->unit;
    call->flops = (nominal_flops(p) - data_flops) / (double)(range_count(p) * (p->split ? p->panels : 1));
    call->group = g;
    if (p->split)
        call_arg_temp(call, data);
    else
        call_arg_value(call, p->x);
    if (p->packs)
        call_arg_value(call, p->w);
    else
        call_arg_temp(call, weights);
    body_args(c.body, call);
    if (g->output_count) {
        call->tap = g->outputs[g->output_count - 1];
        call->out = call->arg_count - g->sum_count - 1;
    }
    body_sums(c.body);
}
