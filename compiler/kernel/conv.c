/* conv.c - the loop nest of CONV and CONV_INPUT: register tiles over tap lists (conv.h).
 *
 * for image of the unit, rows of the part, tiles of the row: sums in registers over
 * (input block, taps, lanes), then the group's body. Border tiles have the last dimension's taps unrolled and
 * leave out what lies outside; rows outside are left out by the bounds of the tap loops. */
#include "kernel/conv_winograd.h"

/* Where the walk over dimensions stands. */
typedef struct {
    ConvNest *c;
    int combination;
    const TapPhase *phase[MAX_SPATIAL];
    Index q[MAX_SPATIAL];                  /* of the outer dimensions */
    TapRange taps[MAX_SPATIAL];
    Index row_begin, row_end;              /* the task's part of dimension 0 */
    Index block;                           /* by_block: the input block */
} Walk;

static Index zero(void) { return index_const(0); }

Index conv_block(const ConvNest *c, int slot) {
    return index_plus(index_scale(c->panel, c->p->slots), slot);
}

InputRange conv_inputs(Kernel *k, const ConvPlan *p, Index panel) {
    InputRange r = panel_inputs(k, &p->inputs, panel);
    if (!p->inputs.uneven)
        r.count = index_const(p->blocks);      /* a plain operand's channels are the lanes of one */
    return r;
}

bool conv_is_narrow(int width, int64_t group_in, int64_t group_out, int64_t groups) {
    return groups > 1 && group_in == group_out && group_in <= MAX_NARROW && group_in < width && width % group_in == 0;
}

Reg *conv_narrow_lanes(Kernel *k, int64_t narrow) {
    Reg *take = NEW_ARRAY(k->arena, Reg, narrow > 0 ? narrow : 1);
    if (narrow <= 1)
        return take;
    Reg first = kb_op(k, KOP_IAND, kb_iota(k), kb_int(k, (int32_t)-narrow, true), NO_REG);
    for (int i = 0; i < narrow; i++)
        take[i] = kb_op(k, KOP_IADD, first, kb_int(k, i, true), NO_REG);
    return take;
}

Reg conv_sum(ConvNest *c, int slot, int pixel) {
    Reg *r = &c->acc[slot * MAX_TILE_PIXELS + pixel];
    if (*r == NO_REG)
        *r = kb_reg(c->k, c->p->int8 ? ELEM_I32 : c->p->half ? ELEM_F16 : ELEM_F32, true);
    return *r;
}

/* Slots whose sums are one vector. */
static int vector_slots(const ConvPlan *p) { return p->half ? 2 : 1; }

void conv_zero(ConvNest *c, int pixels) {
    for (int v = 0; v < c->p->slots; v += vector_slots(c->p))
        for (int i = 0; i < pixels; i++)
            kb_set_const(c->k, conv_sum(c, v, i), 0);
}

/* ---- one tile ---- */

typedef struct { int pixels; unsigned valid; int64_t pixel_step; } Tile;

void conv_narrow(ConvNest *c, int pixels, unsigned valid, int64_t pixel_step, Index x, Index w) {
    Kernel *k = c->k;
    int g = (int)c->p->narrow;
    Reg weight[MAX_NARROW];
    int x0 = kb_index(k, "xi", INDEX_AFFINE, x, zero()), w0 = kb_index(k, "wi", INDEX_AFFINE, w, zero());
    for (int u = 0; u < g; u++)
        weight[u] = kb_load(k, ACCESS_VECTOR, c->w, index_plus(index_var(w0), (int64_t)u * c->p->width));
    for (int i = 0; i < pixels; i++) {
        if (!(valid >> i & 1))
            continue;
        Reg data = kb_load(k, ACCESS_VECTOR, c->x, index_plus(index_var(x0), i * pixel_step));
        for (int u = 0; u < g; u++) {
            Reg taken = g > 1 ? kb_op(k, KOP_TAKE, data, c->take[u], NO_REG) : data;
            kb_set(k, conv_sum(c, 0, i), KOP_FMA, taken, weight[u], conv_sum(c, 0, i));
        }
    }
}

/* a / d, where d divides every coefficient. */
static Index index_part(Index a, int64_t d) {
    a.base /= d;
    for (int i = 0; i < a.count; i++)
        a.term[i].coef /= d;
    return a;
}

/* `count` lanes from number `lane` on of one tap: weights at w, pixel i of the operand at x + i * pixel_step. */
static void sum_lanes(ConvNest *c, const Tile *t, Index x, Index w, Index lane, int count) {
    const ConvPlan *p = c->p;
    int step = vector_slots(p);
    int x0 = kb_index(c->k, "xi", INDEX_AFFINE, x, zero()), w0 = kb_index(c->k, "wi", INDEX_AFFINE, w, zero());
    Index passed = index_add(w, index_scale(c->weights, -1));
    ahead_fetch(c->k, p->ahead, c->w, c->ahead, index_part(passed, (int64_t)p->slots * p->width));
    ahead_fetch_data(c, x, lane);
    for (int u = 0; u < count; u++) {
        Reg weight[8];
        for (int v = 0; v < p->slots; v += step)
            weight[v] = kb_load(c->k, ACCESS_VECTOR, c->w, index_plus(index_var(w0), ((int64_t)u * p->slots + v) * p->width));
        for (int i = 0; i < t->pixels; i++) {
            if (!(t->valid >> i & 1))
                continue;
            Reg data = kb_load(c->k, ACCESS_SPLAT, c->x, index_plus(index_var(x0), u * p->x_lane + i * t->pixel_step));
            for (int v = 0; v < p->slots; v += step)
                kb_set(c->k, conv_sum(c, v, i), p->int8 ? KOP_DOT4 : p->half ? KOP_HFMA : KOP_FMA, data, weight[v], conv_sum(c, v, i));
        }
    }
}

static void begin_block(ConvNest *c, Index block) {
    const ConvPlan *p = c->p;
    c->lane_begin = zero();
    c->lane_end = index_const(p->lanes);
    if (p->lanes == p->inputs.unit)            /* blocks of floats */
        panel_lanes(c->k, &p->inputs, &c->inputs, block, p->unroll, &c->lane_begin, &c->lane_end);
}

static void sum_block(ConvNest *c, const Tile *t, Index x, Index w, int unroll) {
    const ConvPlan *p = c->p;
    if (p->narrow) {
        conv_narrow(c, t->pixels, t->valid, t->pixel_step, x, w);
        return;
    }
    if (p->lanes == unroll) {
        sum_lanes(c, t, x, w, zero(), unroll);
        return;
    }
    int lane = kb_loop(c->k, "lane", c->lane_begin, c->lane_end, unroll);
    sum_lanes(c, t, index_add(x, index_scale(index_var(lane), p->x_lane)),
              index_add(w, index_scale(index_var(lane), (int64_t)p->slots * p->width)), index_var(lane), unroll);
    kb_end(c->k);
}

/* Which pixels of a tile have tap t of the last dimension inside of the operand. */
static unsigned valid_pixels(const TapDim *d, const TapPhase *f, const ColumnTile *tile, int64_t t) {
    unsigned valid = 0;
    for (int i = 0; i < tile->pixels; i++) {
        int64_t at = (tile->first + i) * f->si + f->off + t * f->doff;
        if (at >= 0 && at < d->in)
            valid |= 1u << i;
    }
    return valid;
}

/* Taps tap .. tap + count - 1 of the last dimension, all with the same valid pixels. */
static void sum_taps(Walk *s, const Tile *t, int64_t tap, int64_t count, Index x, Index w, int unroll) {
    ConvNest *c = s->c;
    const ConvPlan *p = c->p;
    int64_t w_tap = p->lanes * p->slots * p->width, x_tap = s->phase[p->dims - 1]->doff * p->x_pixel;
    Index at = index_const(tap);
    if (count > 1)
        at = index_var(kb_loop(c->k, "kw", at, index_const(tap + count), 1));
    if (s->phase[p->dims - 1]->taps > 1)
        kb_opaque(c->k, c->x);                 /* neighbouring taps read the same elements: kept, they would spill */
    sum_block(c, t, index_add(x, index_scale(at, x_tap)), index_add(w, index_scale(at, w_tap)), unroll);
    if (count > 1)
        kb_end(c->k);
}

/* The last dimension's taps: loops over those that all pixels have, one by one those that some lack. */
static void sum_columns(Walk *s, const ColumnTile *tile, Index x, Index w) {
    const ConvPlan *p = s->c->p;
    const TapPhase *f = s->phase[p->dims - 1];
    const TapDim *d = &p->dim[p->dims - 1];
    unsigned all = (1u << tile->pixels) - 1;
    for (int64_t tap = 0, count; tap < f->taps; tap += count) {
        Tile t = { (int)tile->pixels, valid_pixels(d, f, tile, tap), f->si * p->x_pixel };
        count = 1;
        while (t.valid == all && tap + count < f->taps && valid_pixels(d, f, tile, tap + count) == all)
            count++;
        if (t.valid)
            sum_taps(s, &t, tap, count, x, w, t.valid == all ? p->unroll : p->border_unroll);
    }
}

/* Input blocks first .. end and the outer dimensions' taps around it. x, w: of block 0, tap 0, column of the tile. */
static void sum_blocks(Walk *s, const ColumnTile *tile, Index x, Index w, Index first, Index end) {
    ConvNest *c = s->c;
    const ConvPlan *p = c->p;
    int64_t taps = conv_taps(p, s->combination), w_lanes = p->lanes * p->slots * p->width;
    int opened = 0;
    if (p->blocks > 1 && !p->by_block) {
        Index block = index_var(kb_loop(c->k, "block", first, end, 1));
        begin_block(c, block);
        x = index_add(x, index_scale(block, p->x_unit));
        w = index_add(w, index_scale(block, taps * w_lanes));
        opened++;
    }
    int64_t inner = taps;
    for (int i = 0; i < p->dims - 1; i++) {
        const TapPhase *f = s->phase[i];
        inner /= f->taps;
        if (f->taps == 1 && s->taps[i].all)
            continue;
        Index tap = index_var(kb_loop(c->k, i == p->dims - 2 ? "kh" : "kd", s->taps[i].begin, s->taps[i].end, 1));
        x = index_add(x, index_scale(tap, f->doff * p->x_dim[i]));
        w = index_add(w, index_scale(tap, inner * w_lanes));
        opened++;
    }
    sum_columns(s, tile, x, w);
    while (opened--)
        kb_end(c->k);
}

/* All input blocks; sums in binary16 only of some of them at a time. */
static void sum_tile(Walk *s, const ColumnTile *tile, Index x, Index w) {
    ConvNest *c = s->c;
    const ConvPlan *p = c->p;
    Index first = zero(), end = c->inputs.count;
    if (!p->half) {
        sum_blocks(s, tile, x, w, first, end);
        return;
    }
    int64_t step = conv_half_blocks(p, s->combination);
    bool several = p->blocks > step;
    if (several) {
        first = index_var(kb_loop(c->k, "some", zero(), end, step));
        end = index_var(kb_index(c->k, "end", INDEX_MIN, index_plus(first, step), end));
    }
    conv_zero(c, (int)tile->pixels);
    sum_blocks(s, tile, x, w, first, end);
    conv_half_add(c, (int)tile->pixels);
    if (several)
        kb_end(c->k);
}

/* ---- the body behind tiles and rows ---- */

/* Position of column `col` of the walk's row. */
static void position(const Walk *s, Index col, Index *at) {
    const ConvPlan *p = s->c->p;
    for (int i = 0; i < MAX_RANK; i++)
        at[i] = zero();
    at[0] = s->c->image;
    if (p->merged) {
        at[p->axis + p->window->spatial - 1] = index_add(col, index_scale(s->q[0], p->dim[1].out));
        return;
    }
    for (int i = 0; i < p->dims - 1; i++)
        at[p->axis + i] = index_plus(index_scale(s->q[i], s->phase[i]->so), s->phase[i]->r);
    at[p->axis + p->dims - 1] = col;
}

/* Element of an image staged whole. */
static Index image_element(const Walk *s, Index col) {
    const ConvPlan *p = s->c->p;
    Index at[MAX_RANK], e = zero();
    position(s, col, at);
    for (int i = 0; i < p->dims; i++)
        e = index_add(index_scale(e, p->dim[i].out), at[p->axis + i]);
    return e;
}

/* by_block: where the sums of a pixel of the walk's row wait. */
static Index sums_index(const Walk *s, Index col, int slot) {
    const ConvPlan *p = s->c->p;
    Index e = index_add(s->c->image, index_scale(s->c->image_begin, -1));
    for (int i = 0; i < p->dims; i++) {
        Index at = i == p->dims - 1 ? col : index_plus(index_scale(s->q[i], s->phase[i]->so), s->phase[i]->r);
        e = index_add(index_scale(e, p->dim[i].out), at);
    }
    return index_scale(index_plus(index_scale(e, p->slots), slot), p->width);
}

static Index column(const Walk *s, Index first, int pixel) {
    const TapPhase *f = s->phase[s->c->p->dims - 1];
    return index_plus(index_scale(index_plus(first, pixel), f->so), f->r);
}

static Reg result(ConvNest *c, int slot, int pixel) {
    if (c->p->half)
        return conv_half_result(c, slot, pixel);
    return c->p->int8 ? conv_int8_result(c, slot, conv_sum(c, slot, pixel)) : conv_sum(c, slot, pixel);
}

static void finish_tile(Walk *s, Index first, int pixels) {
    ConvNest *c = s->c;
    const ConvPlan *p = c->p;
    for (int i = 0; i < pixels; i++) {
        Index col = column(s, first, i), at[MAX_RANK];
        position(s, col, at);
        for (int v = 0; v < p->slots; v++) {
            Reg sum = result(c, v, i);
            if (p->by_block)
                kb_store(c->k, ACCESS_VECTOR, c->stage, sums_index(s, col, v), sum);
            else if (p->plain)
                kb_store_lanes(c->k, ACCESS_MASKED, c->stage, image_element(s, col), index_const(1), 1, sum);
            else if (p->staged)
                kb_store(c->k, ACCESS_VECTOR, c->stage, index_scale(index_plus(index_scale(col, p->slots), v), p->width), sum);
            else
                body_point(c->body, v, at, conv_block(c, v), sum);
        }
    }
}

static void finish_row(Walk *s) {
    ConvNest *c = s->c;
    const ConvPlan *p = c->p;
    if (!p->staged || p->plain)
        return;
    Index at[MAX_RANK];
    Index col = index_var(kb_loop(c->k, "col", zero(), index_const(p->dim[p->dims - 1].out), 1));
    position(s, col, at);
    for (int v = 0; v < p->slots; v++) {
        Index from = p->by_block ? sums_index(s, col, v) : index_scale(index_plus(index_scale(col, p->slots), v), p->width);
        body_point(c->body, v, at, conv_block(c, v), kb_load(c->k, ACCESS_VECTOR, c->stage, from));
    }
    kb_end(c->k);
}

/* An image of one channel, staged whole: vectors along its last axis, or along all of it. */
static void finish_image(ConvNest *c, const Group *g) {
    const ConvPlan *p = c->p;
    Index at[MAX_RANK], from = zero();
    int64_t extent = 1;
    int opened = 0;
    for (int i = 0; i < MAX_RANK; i++)
        at[i] = zero();
    at[0] = c->image;
    for (int i = 0; i < p->dims; i++) {
        if (body_flat(g) || p->axis + i == g->space.rank - 1) {
            extent *= p->dim[i].out;
            continue;
        }
        at[p->axis + i] = index_var(kb_loop(c->k, "row", zero(), index_const(p->dim[i].out), 1));
        from = index_add(index_scale(from, p->dim[i].out), at[p->axis + i]);
        opened++;
    }
    Index block = index_var(kb_loop(c->k, "vec", zero(), index_const((extent + p->width - 1) / p->width), 1));
    from = index_add(index_scale(from, extent), index_scale(block, p->width));
    body_channels(c->body, 0, block);
    body_point(c->body, 0, at, block, kb_load(c->k, ACCESS_VECTOR, c->stage, from));
    for (kb_end(c->k); opened; opened--)
        kb_end(c->k);
}

/* ---- rows ---- */

/* The taps of the last dimension that pixel i of a tile has inside: [begin, end). */
static void valid_taps(const TapDim *d, const TapPhase *f, const ColumnTile *t, int i, int64_t *range) {
    range[0] = range[1] = 0;
    for (int64_t tap = f->taps - 1; tap >= 0; tap--) {
        if (!(valid_pixels(d, f, t, tap) >> i & 1))
            continue;
        range[0] = tap;
        range[1] = range[1] ? range[1] : tap + 1;
    }
}

/* What the tile's sums begin with. */
static void start_tile(Walk *s, const ColumnTile *t, Index first) {
    const ConvPlan *p = s->c->p;
    int64_t columns[MAX_TILE_PIXELS][2];
    if (p->by_block) {
        for (int i = 0; i < t->pixels; i++)
            for (int v = 0; v < p->slots; v++) {
                Reg sum = kb_load(s->c->k, ACCESS_VECTOR, s->c->stage, sums_index(s, column(s, first, i), v));
                kb_set(s->c->k, conv_sum(s->c, v, i), KOP_MOVE, sum, NO_REG, NO_REG);
            }
        return;
    }
    if (p->half) {
        conv_half_begin(s->c, (int)t->pixels);
        return;
    }
    if (!p->int8) {
        conv_zero(s->c, (int)t->pixels);
        return;
    }
    for (int i = 0; i < t->pixels; i++)
        valid_taps(&p->dim[p->dims - 1], s->phase[p->dims - 1], t, i, columns[i]);
    conv_int8_start(s->c, (int)t->pixels, s->taps, (const int64_t (*)[2])columns);
}

static Index tile_data(const Walk *s, Index first) {
    const ConvNest *c = s->c;
    const ConvPlan *p = c->p;
    Index x = index_scale(c->image, p->x_image);
    x = index_add(x, index_scale(c->inputs.first, p->x_unit));
    if (p->by_block)
        x = index_add(x, index_scale(s->block, p->x_unit));
    for (int i = 0; i < p->dims; i++) {
        const TapPhase *f = s->phase[i];
        Index at = index_plus(index_scale(i == p->dims - 1 ? first : s->q[i], f->si), f->off);
        x = index_add(x, index_scale(at, p->x_dim[i]));
    }
    return x;
}

/* Where the weights of a tile lie, and its share of the next panel. */
static void begin_weights(Walk *s, Index first) {
    ConvNest *c = s->c;
    const ConvPlan *p = c->p;
    int64_t offset = conv_phase_offset(p, s->combination);
    c->weights = p->packs ? index_const(offset / p->blocks) : index_plus(c->w_panel, offset);
    if (p->by_block && !p->packs)
        c->weights = index_add(c->weights, index_scale(s->block, conv_taps(p, s->combination) * p->lanes * p->slots * p->width));
    if (!p->ahead.lines)
        return;
    Index pixel = zero();
    for (int i = 0; i < p->dims; i++)
        pixel = index_add(index_scale(pixel, p->dim[i].phase[0].count), i == p->dims - 1 ? first : s->q[i]);
    c->ahead = index_add(index_plus(c->w_panel, p->panel_floats), index_scale(pixel, ceil_div(p->ahead.share, p->pixels)));
}

static void row_tiles(Walk *s, int phase) {
    ConvNest *c = s->c;
    const ConvPlan *p = c->p;
    const TapPhase *f = &p->dim[p->dims - 1].phase[phase];
    s->phase[p->dims - 1] = f;
    ColumnTiles tiles = conv_tiles(p, f);
    for (int i = 0; i < tiles.count; i++) {
        const ColumnTile *t = &tiles.tile[i];
        int64_t end = t->first + t->repeat * t->pixels;
        Index first = index_const(t->first);
        if (t->repeat > 1)
            first = index_var(kb_loop(c->k, "tile", first, index_const(end), t->pixels));
        start_tile(s, t, first);
        begin_weights(s, first);
        if (conv_taps(p, s->combination) > 0)
            sum_tile(s, t, tile_data(s, first), c->weights);
        finish_tile(s, first, (int)t->pixels);
        if (t->repeat > 1)
            kb_end(c->k);
    }
}

/* floor((a + plus) / d), where a >= -lift; lift * d keeps the dividend from being negative. */
static Index quotient(ConvNest *c, Index a, int64_t plus, int64_t d, int64_t lift) {
    int q = kb_index(c->k, "quotient", INDEX_DIV, index_plus(a, plus + lift * d), index_const(d));
    return index_plus(index_var(q), -lift);
}

/* Taps of dimension i that read inside for row q: bounds at run time where some row needs them. */
static TapRange tap_range(Walk *s, int i) {
    ConvNest *c = s->c;
    const TapPhase *f = s->phase[i];
    const TapDim *d = &c->p->dim[i];
    Index first = index_plus(index_scale(s->q[i], f->si), f->off);
    int64_t lo = f->off, hi = (f->count - 1) * f->si + f->off + (f->taps - 1) * f->doff;
    int64_t lift = f->count * f->si + (f->off > 0 ? f->off : 0);
    TapRange r = { zero(), index_const(f->taps), true };
    if (lo < 0) {                              /* t >= -first / doff, rounded up */
        Index need = index_scale(first, -1);
        if (f->doff > 1)
            need = quotient(c, need, f->doff - 1, f->doff, lift);
        r.begin = index_var(kb_index(c->k, "begin", INDEX_MAX, need, zero()));
        r.all = false;
    }
    if (hi >= d->in) {                         /* t <= (in - 1 - first) / doff, rounded down */
        Index room = index_plus(index_scale(first, -1), d->in - 1);
        if (f->doff > 1)
            room = quotient(c, room, 0, f->doff, lift);
        r.end = index_var(kb_index(c->k, "end", INDEX_MIN, index_plus(room, 1), index_const(f->taps)));
        r.all = false;
    }
    return r;
}

static void walk_rows(Walk *s, int i) {
    ConvNest *c = s->c;
    const TapDim *d = &c->p->dim[i];
    int outer = s->combination;
    if (i == c->p->dims - 1 || i == MAX_SPATIAL - 1) {
        for (int phase = 0; phase < d->phases; phase++) {
            s->combination = outer * d->phases + phase;
            row_tiles(s, phase);
        }
        if (!c->p->by_block)
            finish_row(s);
        s->combination = outer;
        return;
    }
    for (int phase = 0; phase < d->phases; phase++) {
        s->combination = outer * d->phases + phase;
        s->phase[i] = &d->phase[phase];
        Index begin = zero(), end = index_const(s->phase[i]->count);
        if (i == 0 && c->p->parts > 1) {
            begin = s->row_begin;
            end = index_var(kb_index(c->k, "rows", INDEX_MIN, s->row_end, end));
        }
        s->q[i] = index_var(kb_loop(c->k, i == c->p->dims - 2 ? "row" : "slice", begin, end, 1));
        s->taps[i] = tap_range(s, i);
        walk_rows(s, i + 1);
        kb_end(c->k);
    }
    s->combination = outer;
}

/* ---- images as pixels ---- */

/* Tiles of `pixels` images from begin on while they are whole; returns where it stopped. */
static Index image_tiles(ConvNest *c, Index begin, Index end, int pixels) {
    const ConvPlan *p = c->p;
    Index stop = end;
    if (pixels > 1) {
        Index count = index_add(end, index_scale(begin, -1));
        int whole = kb_index(c->k, "whole", INDEX_DIV, count, index_const(pixels));
        stop = index_add(begin, index_scale(index_var(whole), pixels));
    }
    Index first = index_var(kb_loop(c->k, "image", begin, stop, pixels));
    if (p->int8)
        conv_int8_start(c, pixels, NULL, NULL);
    else
        conv_zero(c, pixels);
    Tile t = { pixels, (1u << pixels) - 1, p->x_image };
    Index x = index_scale(first, p->x_image), w = c->w_panel;
    x = index_add(x, index_scale(c->inputs.first, p->x_unit));
    c->weights = w;
    c->ahead = index_plus(w, p->panel_floats);
    if (p->blocks > 1) {
        Index block = index_var(kb_loop(c->k, "block", zero(), c->inputs.count, 1));
        begin_block(c, block);
        x = index_add(x, index_scale(block, p->x_unit));
        w = index_add(w, index_scale(block, p->lanes * p->slots * p->width));
    }
    sum_block(c, &t, x, w, p->unroll);
    if (p->blocks > 1)
        kb_end(c->k);
    Index row = index_add(first, index_scale(c->image, -1));
    for (int i = 0; i < pixels; i++)
        for (int v = 0; v < p->slots; v++)
            kb_store(c->k, ACCESS_VECTOR, c->stage, index_scale(index_plus(index_scale(index_plus(row, i), p->slots), v), p->width), result(c, v, i));
    kb_end(c->k);
    return stop;
}

/* The unit's images: whole tiles, a half one, single ones; then the body over all. */
static void images(ConvNest *c, Index begin, Index end) {
    const ConvPlan *p = c->p;
    c->image = begin;
    Index at = image_tiles(c, begin, end, p->pixels);
    if (p->pixels >= 4)
        at = image_tiles(c, at, end, p->pixels / 2);
    if (p->pixels > 1)
        image_tiles(c, at, end, 1);
    Index image = index_var(kb_loop(c->k, "image", begin, end, 1)), position[MAX_RANK] = { image, zero() };
    for (int v = 0; v < p->slots; v++) {
        Index row = index_plus(index_scale(index_add(image, index_scale(begin, -1)), p->slots), v);
        body_point(c->body, v, position, conv_block(c, v), kb_load(c->k, ACCESS_VECTOR, c->stage, index_scale(row, p->width)));
    }
    kb_end(c->k);
}

/* ---- the kernel ---- */

/* ---- one input block after the other ---- */

static int64_t stage_floats(const ConvPlan *p) {
    int64_t count = 1;
    if (p->form == CONV_IMAGES)
        return p->unit * p->slots * p->width;
    if (!p->plain && !p->by_block)
        return p->dim[p->dims - 1].out * p->slots * p->width;
    for (int i = 0; i < p->dims; i++)
        count *= p->dim[i].out;
    return p->by_block ? p->unit * count * p->slots * p->width : count + p->width;
}

/* The body over all rows of an image whose sums are staged. */
static void finish_rows(Walk *s, int i) {
    const ConvPlan *p = s->c->p;
    if (i == p->dims - 1 || i == MAX_SPATIAL - 1) {
        finish_row(s);
        return;
    }
    static const TapPhase every = { .so = 1 };
    s->phase[i] = &every;
    s->q[i] = index_var(kb_loop(s->c->k, i == p->dims - 2 ? "row" : "slice", zero(), index_const(p->dim[i].out), 1));
    finish_rows(s, i + 1);
    kb_end(s->c->k);
}

static Index open_images(ConvNest *c, Index end) {
    return c->p->unit > 1 ? index_var(kb_loop(c->k, "image", c->image_begin, end, 1)) : c->image_begin;
}

static void close_images(ConvNest *c) {
    if (c->p->unit > 1)
        kb_end(c->k);
}

/* All images of the unit: sums of one input block after the other, so that its weights are read once, or packed here. */
static void images_by_block(ConvNest *c, Index end) {
    const ConvPlan *p = c->p;
    Kernel *k = c->k;
    Walk s = { .c = c, .row_begin = zero(), .block = zero() };
    Index i = index_var(kb_loop(k, "i", zero(), index_const(stage_floats(p)), p->width));
    kb_store(k, ACCESS_VECTOR, c->stage, i, kb_const(k, 0, true));
    kb_end(k);
    if (p->blocks > 1)
        s.block = index_var(kb_loop(k, "block", zero(), c->inputs.count, 1));
    begin_block(c, s.block);
    if (p->packs)
        pack_block(k, p, c->plain_w, c->w, c->panel, s.block);
    c->image = open_images(c, end);
    walk_rows(&s, 0);
    close_images(c);
    if (p->blocks > 1)
        kb_end(k);
    c->image = open_images(c, end);
    finish_rows(&s, 0);
    close_images(c);
}

static void one_image(ConvNest *c, const Group *g, Index part) {
    const ConvPlan *p = c->p;
    Index begin = index_scale(part, p->part_rows), end = index_plus(begin, p->part_rows);
    if (p->form == CONV_POINTS) {
        conv_points(c, begin, end);
    } else {
        Walk s = { .c = c, .row_begin = begin, .row_end = end };
        walk_rows(&s, 0);
    }
    if (p->plain)
        finish_image(c, g);
}

/* The task's panel as floats of 32 bits, in scratch. */
static void widen_panel(ConvNest *c) {
    int64_t step = (int64_t)c->p->slots * c->p->width;
    int wide = kb_scratch(c->k, "wide", ELEM_F32, c->p->panel_floats);
    Index i = index_var(kb_loop(c->k, "i", zero(), index_const(c->p->panel_floats), step));
    for (int v = 0; v < c->p->slots; v++) {
        Index at = index_plus(i, (int64_t)v * c->p->width);
        kb_store(c->k, ACCESS_VECTOR, wide, at, kb_load(c->k, ACCESS_VECTOR, c->w, index_add(c->w_panel, at)));
    }
    kb_end(c->k);
    c->w = wide;
    c->w_panel = zero();
}

static void build(ConvNest *c, const Group *g) {
    const ConvPlan *p = c->p;
    Kernel *k = c->k;
    int64_t tasks = p->panels * p->parts;
    Index unit = index_var(VAR_TASK), part = zero();
    c->panel = zero();
    if (tasks > 1) {
        unit = index_var(kb_index(k, "unit", INDEX_DIV, index_var(VAR_TASK), index_const(tasks)));
        Index local = index_var(kb_index(k, "local", INDEX_MOD, index_var(VAR_TASK), index_const(tasks)));
        int64_t inner = p->panel_inner ? p->panels : p->parts;
        Index high = local, low = zero();
        if (inner > 1) {
            high = index_var(kb_index(k, "outer", INDEX_DIV, local, index_const(inner)));
            low = index_var(kb_index(k, "inner", INDEX_MOD, local, index_const(inner)));
        }
        c->panel = p->panel_inner ? low : high;
        part = p->panel_inner ? high : low;
        if (p->panels == 1)
            c->panel = zero();
        if (p->parts == 1)
            part = zero();
    }
    c->inputs = conv_inputs(k, p, c->panel);
    c->take = conv_narrow_lanes(k, p->narrow);
    c->w_panel = index_scale(c->panel, p->panel_floats);
    if (p->widened)
        widen_panel(c);
    c->lane_end = index_const(p->lanes);
    body_start(c->body);
    if (p->int8)
        conv_int8_begin(c);
    for (int v = 0; v < p->slots && !p->plain; v++)
        body_channels(c->body, v, conv_block(c, v));
    Index begin = index_scale(unit, p->unit);
    Index end = index_plus(begin, 1);
    if (p->unit > 1)
        end = index_var(kb_index(k, "end", INDEX_MIN, index_plus(begin, p->unit), index_var(VAR_N)));
    c->image_begin = begin;
    if (p->form == CONV_IMAGES) {
        images(c, begin, end);
    } else if (p->by_block) {
        images_by_block(c, end);
    } else {
        c->image = begin;
        if (p->unit > 1)
            c->image = index_var(kb_loop(k, "image", begin, end, 1));
        one_image(c, g, part);
        if (p->unit > 1)
            kb_end(k);
    }
    Index row = index_add(index_scale(unit, p->parts), part);
    body_finish(c->body, c->panel, p->panels, row, p->parts, p->unit);
}

void conv_nest(Lower *l, const Group *g, ConvNest *c) {
    const ConvPlan *p = c->p;
    Writer *title = writer_new(l->arena);
    conv_plan_print(title, p);
    c->k->title = arena_printf(l->arena, "%s; %s", c->k->title, title->data);
    c->body = body_new(l, c->k, g, p->slots);
    c->stage = p->staged ? kb_scratch(c->k, "stage", ELEM_F32, stage_floats(p)) : -1;
    c->acc = NEW_ARRAY(l->arena, Reg, p->slots * MAX_TILE_PIXELS);
    for (int i = 0; i < p->slots * MAX_TILE_PIXELS; i++)
        c->acc[i] = NO_REG;
    build(c, g);
    kernel_finish(c->k);
}

PlannedCall *conv_call(Lower *l, const Group *g, const ConvNest *c) {
    const ConvPlan *p = c->p;
    PlannedCall *call = lower_call(l, c->k, false);
    call->tasks = p->panels * p->parts;
    call->unit = p->unit;
    call->flops = p->flops;
    call->group = g;
    call_arg_value(call, p->x);
    return call;
}

void conv_outputs(PlannedCall *call, const Group *g, ConvNest *c) {
    body_args(c->body, call);
    if (g->output_count) {
        call->tap = g->outputs[g->output_count - 1];
        call->out = call->arg_count - g->sum_count - 1;
    }
    body_sums(c->body);
}

void lower_conv(Lower *l, const Group *g) {
    ConvPlan p = conv_plan(l, g);
    ConvChoice choice = conv_choose(l, g, &p);
    if (choice.algorithm != CONV_DIRECT) {
        lower_conv_winograd(l, g, &choice.plan, choice.why);
        return;
    }
    int weights = p.packs ? -1 : pack_weights(l, g, &p);
    ConvNest c = { .k = lower_kernel(l, g, ""), .p = &p };
    c.x = kb_arg(c.k, "x", ELEM_F32, false, value_floats(p.x, p.width), shape_text(l->arena, TYPE_F32, &p.x->shape));
    if (p.packs)
        c.plain_w = kb_arg(c.k, "w", ELEM_F32, false, shape_count(&p.w->shape), shape_text(l->arena, TYPE_F32, &p.w->shape));
    else
        c.w = kb_arg(c.k, "w", ELEM_F32, false, p.panels * p.panel_floats, "packed weights");
    if (!p.packs)
        c.k->buffers[c.w].store = p.storage;
    else
        c.w = kb_scratch(c.k, "packed", ELEM_F32, p.panel_floats / p.blocks);
    conv_nest(l, g, &c);
    c.k->title = arena_printf(l->arena, "%s%s", c.k->title, choice.why);
    PlannedCall *call = conv_call(l, g, &c);
    if (p.packs)
        call_arg_value(call, p.w);
    else
        call_arg_temp(call, weights);
    conv_outputs(call, g, &c);
}
