/* body.c - what stands behind an anchor, vector by vector: the group's MAPs, its side sums, its stores.
 *
 * Every operator of every MAP's expression has a level: what depends on scalars alone is computed once per
 * task, what depends on the channel once per channel block, the rest at every point. A blocked space has its
 * vectors along the channels, a plain one along the last axis. Lanes beyond the vector axis are made zero
 * before they are stored, and left out of sums. */
#include "kernel/body.h"
#include "kernel/conv.h"

#include <assert.h>

/* ---- the space ---- */

/* Whether a MAP asks for its coordinate along one of these axes (a bit mask). */
static bool uses_coord(const Expr *e, unsigned axes) {
    if (e->op == EXPR_COORD)
        return axes >> e->index & 1;
    if (e->coord_limit == 0)
        return false;
    for (int i = 0; i < expr_info[e->op].args; i++)
        if (uses_coord(e->arg[i], axes))
            return true;
    return false;
}

/* Whether x walks along all of the axes (bit mask) or along none of them. */
static bool all_or_none(const Node *x, const Shape *space, unsigned axes) {
    bool all = true, none = true;
    for (int i = 0; i < space->rank; i++) {
        if (!(axes >> i & 1) || space->dim[i] == 1)
            continue;
        bool full = x->shape.rank > 0 && x->shape.dim[i] == space->dim[i];
        all = all && full;
        none = none && !full;
    }
    return all || none;
}

static unsigned walked_axes(const Group *g) {
    unsigned axes = 0;
    for (int i = g->space.batched ? 1 : 0; i < g->space.rank; i++)
        if (!(group_is_blocked(g) && i == g->channel))
            axes |= 1u << i;
    return axes;
}

/* The walked axes must be neighbours in memory, and the last must not be skipped for having size 1. */
static bool contiguous(const Group *g, unsigned axes) {
    int last = -1, first = -1;
    for (int i = 0; i < g->space.rank; i++) {
        if (!(axes >> i & 1) || g->space.dim[i] == 1)
            continue;
        first = first < 0 ? i : first;
        last = i;
    }
    if (last < 0)
        return true;
    bool split = group_is_blocked(g) && g->channel > first && g->channel < last;
    return !split && last == g->space.rank - 1 - (group_is_blocked(g) && g->channel == g->space.rank - 1);
}

/* A group input that only the anchor reads is the schedule's business. */
static bool read_by_body(const Group *g, const Node *x) {
    for (int m = 0; m < g->map_count; m++)
        for (int i = 0; i < g->maps[m]->arity; i++)
            if (g->maps[m]->in[i] == x)
                return true;
    for (int s = 0; s < g->sum_count; s++)
        if (g->sums[s]->in[0] == x)
            return true;
    return false;
}

bool body_flat(const Group *g) {
    unsigned axes = walked_axes(g);
    if (!contiguous(g, axes))
        return false;
    for (int i = 0; i < g->map_count; i++)
        if (uses_coord(g->maps[i]->attr.expr, axes))
            return false;
    for (int i = 0; i < g->input_count; i++)
        if (read_by_body(g, g->inputs[i]) && !all_or_none(g->inputs[i], &g->space, axes))
            return false;
    return true;
}

static int64_t flat_extent(const Group *g) {
    int64_t count = 1;
    for (int i = g->space.batched ? 1 : 0; i < g->space.rank; i++)
        count *= g->space.dim[i];
    return count;
}

static void find_axis(Body *b) {
    const Shape *s = &b->g->space;
    b->blocked = group_is_blocked(b->g);
    b->axis = b->blocked ? b->g->channel : s->rank - 1;
    b->flat_plain = !b->blocked && body_flat(b->g);
    if (b->axis < 0 || (s->batched && b->axis == 0))
        b->extent = 1;
    else
        b->extent = b->flat_plain ? flat_extent(b->g) : s->dim[b->axis];
    b->ragged = b->extent % b->width != 0;
}

/* ---- sources ---- */

static bool only_axis(const Node *x, int axis) {
    for (int i = 0; i < x->shape.rank; i++)
        if (i != axis && x->shape.dim[i] > 1)
            return false;
    return !x->shape.batched;
}

static int source_level(const Body *b, const Node *x) {
    if (x->op == OP_FILL || x->op == OP_SCALAR || (!x->shape.batched && shape_count(&x->shape) == 1))
        return LEVEL_TASK;
    return b->blocked && only_axis(x, b->axis) ? LEVEL_CHANNEL : LEVEL_POINT;
}

static const char *buffer_name(Body *b, const Node *n, const char *role, int i) {
    return n->op == OP_TENSOR ? arena_printf(b->l->arena, "p%d", i) : arena_printf(b->l->arena, "%s%d", role, i);
}

const char *body_buffer_text(const Body *b, const Node *n) {
    const char *layout = value_info(n)->layout == LAYOUT_BLOCKED ? ", blocked" : "";
    const char *name = n->op == OP_TENSOR ? n->attr.tensor->name : n->tap;
    return arena_printf(b->l->arena, "%s%s%s%s", shape_text(b->l->arena, n->type, &n->shape), layout, name[0] ? " of " : "", name);
}

Reg *body_new_regs(const Body *b) {
    Reg *r = NEW_ARRAY(b->l->arena, Reg, b->slots);
    for (int i = 0; i < b->slots; i++)
        r[i] = NO_REG;
    return r;
}

static void add_source(Body *b, Node *x, int buffer) {
    b->sources[b->source_count++] = (Source){x, source_level(b, x), buffer, body_new_regs(b)};
}

const Source *body_source(const Body *b, const Node *x) {
    for (int i = 0; i < b->source_count; i++)
        if (b->sources[i].node == x)
            return &b->sources[i];
    return NULL;
}

static bool is_real(const Node *n) { return n->type == TYPE_F32 || n->type == TYPE_F16; }
static Elem elem_of(const Node *n) { return is_real(n) ? ELEM_F32 : ELEM_I32; }
static Store store_of(const Node *n) { return n->type == TYPE_U8 ? STORE_U8 : n->type == TYPE_F16 ? STORE_F16 : STORE_WHOLE; }

static void declare_sources(Body *b) {
    const Group *g = b->g;
    int limit = g->input_count;
    for (int m = 0; m < g->map_count; m++)
        limit += g->maps[m]->arity;
    b->sources = NEW_ARRAY(b->l->arena, Source, limit + 1);
    for (int i = 0; i < g->input_count; i++) {
        Node *x = g->inputs[i];
        if (!read_by_body(g, x))
            continue;
        int buffer = kb_arg(b->k, buffer_name(b, x, "in", i), elem_of(x), false, value_floats(x, b->width), body_buffer_text(b, x));
        b->k->buffers[buffer].store = store_of(x);
        add_source(b, x, buffer);
    }
    for (int m = 0; m < g->map_count; m++)
        for (int i = 0; i < g->maps[m]->arity; i++) {
            Node *x = g->maps[m]->in[i];
            if ((x->op == OP_FILL || x->op == OP_SCALAR) && !body_source(b, x))
                add_source(b, x, -1);
        }
}

static void declare_outputs(Body *b) {
    const Group *g = b->g;
    b->out_buffer = NEW_ARRAY(b->l->arena, int, g->output_count + 1);
    for (int i = 0; i < g->output_count; i++) {
        Node *y = g->outputs[i];
        b->out_buffer[i] = kb_arg(b->k, arena_printf(b->l->arena, "out%d", i), elem_of(y), true, value_floats(y, b->width), body_buffer_text(b, y));
        b->k->buffers[b->out_buffer[i]].store = store_of(y);
    }
}

/* Position among the group's MAPs, -1: it is none. */
static int member_of(const Body *b, const Node *x) {
    for (int i = 0; i < b->g->map_count; i++)
        if (b->g->maps[i] == x)
            return i;
    return -1;
}

Reg body_value(const Body *b, const Node *x, int slot) {
    const Source *s = body_source(b, x);
    if (s)
        return s->reg[s->level == LEVEL_TASK ? 0 : slot];
    int member = member_of(b, x);
    return member >= 0 ? b->value[member] : b->anchor;
}

/* ---- loads and stores ---- */

/* The element that lane 0 of this vector reads, in x's own layout. */
static Index element_index(Body *b, const Node *x, const Index *at, Index block) {
    if (value_info(x)->layout == LAYOUT_BLOCKED)
        return value_index(x, b->width, at, block);
    Index copy[MAX_RANK];
    for (int i = 0; i < x->shape.rank; i++)
        copy[i] = i == b->axis && !(b->g->space.batched && i == 0) ? index_scale(block, b->width) : at[i];
    if (b->flat_plain && b->axis >= 0 && shape_count(&x->shape) > 1) {
        int64_t per_image = 1;
        for (int i = b->g->space.batched ? 1 : 0; i < x->shape.rank; i++)
            per_image *= x->shape.dim[i];
        if (b->pieces)
            return b->first;
        Index base = x->shape.batched ? index_scale(at[0], per_image) : index_const(0);
        return per_image > 1 ? index_add(base, index_scale(block, b->width)) : base;
    }
    return plain_index(x, copy);
}

static bool walks_axis(const Body *b, const Node *x) {
    if (x->shape.rank == 0 || b->axis < 0)
        return false;
    if (!b->flat_plain)
        return x->shape.dim[b->axis] > 1 && !(b->g->space.batched && b->axis == 0);
    for (int i = b->g->space.batched ? 1 : 0; i < x->shape.rank; i++)
        if (x->shape.dim[i] > 1)
            return true;
    return false;
}

static int64_t axis_stride(const Body *b, const Node *x) { return b->flat_plain ? 1 : plain_stride(x, b->axis); }

Index body_lanes(const Body *b, Index block) {
    if (b->pieces)
        return b->lanes;
    return index_plus(index_scale(block, -b->width), b->extent);
}

static Reg load_source(Body *b, const Source *s, const Index *at, Index block) {
    const Node *x = s->node;
    Kernel *k = b->k;
    Reg r;
    if (x->op == OP_FILL)
        return kb_const(k, x->attr.value, true);
    if (x->op == OP_SCALAR) {
        static const RunScalar scalar[SCALAR_COUNT] = {
            [SCALAR_BATCH] = RUN_BATCH, [SCALAR_STEP] = RUN_STEP, [SCALAR_LR] = RUN_LR, [SCALAR_SMOOTHING] = RUN_SMOOTHING};
        return kb_op(k, KOP_SPLAT, kb_run(k, scalar[x->attr.scalar]), NO_REG, NO_REG);
    }
    Index i = s->level == LEVEL_TASK ? index_const(0) : element_index(b, x, at, block);
    if (s->level == LEVEL_TASK || !walks_axis(b, x))
        r = kb_load(k, ACCESS_SPLAT, s->buffer, i);
    else if (value_info(x)->layout == LAYOUT_BLOCKED || (!b->ragged && axis_stride(b, x) == 1))
        r = kb_load(k, ACCESS_VECTOR, s->buffer, i);
    else if (axis_stride(b, x) == 1)
        r = kb_load_lanes(k, ACCESS_MASKED, s->buffer, i, body_lanes(b, block), 1);
    else
        r = kb_load_lanes(k, ACCESS_STRIDED, s->buffer, i, body_lanes(b, block), axis_stride(b, x));
    return is_real(x) ? r : kb_op(k, KOP_I2F, r, NO_REG, NO_REG);
}

static void load_level(Body *b, int level, int slot, const Index *at, Index block) {
    for (int i = 0; i < b->source_count; i++)
        if (b->sources[i].level == level)
            b->sources[i].reg[slot] = load_source(b, &b->sources[i], at, block);
}

static Reg only_lanes(Body *b, int slot, Reg value) {
    if (!b->ragged)
        return value;
    Reg none = b->k->regs[value].elem == ELEM_F32 ? kb_const(b->k, 0, true) : kb_int(b->k, 0, true);
    return kb_op(b->k, KOP_SELECT, b->mask[slot], value, none);
}

static void store_output(Body *b, int i, int slot, const Index *at, Index block) {
    Node *y = b->g->outputs[i];
    int member = member_of(b, y);
    Reg value = member >= 0 ? b->value[member] : b->anchor;
    int buffer = b->out_buffer[i];
    Index to = element_index(b, y, at, block);
    if (!is_real(y))
        value = kb_op(b->k, KOP_ROUND, value, NO_REG, NO_REG);
    if (value_info(y)->layout == LAYOUT_BLOCKED)
        kb_store(b->k, ACCESS_VECTOR, buffer, to, only_lanes(b, slot, value));
    else if (axis_stride(b, y) == 1 && !b->ragged)
        kb_store(b->k, ACCESS_VECTOR, buffer, to, value);
    else
        kb_store_lanes(b->k, axis_stride(b, y) == 1 ? ACCESS_MASKED : ACCESS_STRIDED, buffer, to, body_lanes(b, block), axis_stride(b, y), value);
}

static void add_sum(Body *b, int i, int slot) {
    const Node *x = b->g->sums[i]->in[0];
    Reg value = only_lanes(b, slot, body_value(b, x, slot));
    kb_set(b->k, b->sums[i][slot], KOP_FADD, b->sums[i][slot], value, NO_REG);
}

/* ---- the interface ---- */

Body *body_new(Lower *l, Kernel *k, const Group *g, int slots) {
    assert(slots >= 1 && slots <= 8);
    Body *b = NEW(l->arena, Body);
    *b = (Body){.l = l, .k = k, .g = g, .width = l->target->width, .slots = slots, .anchor = NO_REG};
    find_axis(b);
    declare_sources(b);
    declare_outputs(b);
    b->maps = NEW_ARRAY(l->arena, MapTerms, g->map_count + 1);
    b->value = NEW_ARRAY(l->arena, Reg, g->map_count + 1);
    for (int i = 0; i < g->map_count; i++)
        body_build_terms(b, i);
    b->sums = arena_alloc_array(l->arena, (size_t)g->sum_count + 1, sizeof *b->sums);
    b->sum_temp = NEW_ARRAY(l->arena, int, g->sum_count + 1);
    b->sum_buffer = NEW_ARRAY(l->arena, int, g->sum_count + 1);
    for (int i = 0; i < g->sum_count; i++)
        b->sum_buffer[i] = kb_arg(k, arena_printf(l->arena, "sum%d", i), ELEM_F32, true, INT32_MAX, "partial sums, one vector per task");
    b->mask = body_new_regs(b);
    return b;
}

Body *body_new_rolled(Lower *l, Kernel *k, const Group *g, int slots) {
    Body *b = body_new(l, k, g, 1);
    b->rolled = slots;
    b->total = NEW_ARRAY(l->arena, Reg, g->sum_count + 1);
    return b;
}

Body *body_new_pieces(Lower *l, Kernel *k, const Group *g) {
    Body *b = body_new(l, k, g, 1);
    assert(!b->blocked && g->sum_count == 0 && "pieces of a plain space");
    b->pieces = b->flat_plain = true;
    b->ragged = false;
    return b;
}

static Reg zero_sum(Body *b) {
    Reg sum = kb_reg(b->k, ELEM_F32, true);
    kb_set_const(b->k, sum, 0);
    return sum;
}

void body_start(Body *b) {
    Index none[MAX_RANK] = {0};
    load_level(b, LEVEL_TASK, 0, none, index_const(0));
    body_emit_level(b, LEVEL_TASK, 0, none, index_const(0));
    for (int i = 0; i < b->g->sum_count; i++) {
        if (b->rolled)
            b->total[i] = zero_sum(b);
        for (int s = 0; s < b->slots; s++)
            b->sums[i][s] = zero_sum(b);
    }
    if (b->ragged) {
        b->iota = kb_iota(b->k);
        b->limit = kb_int(b->k, (int32_t)b->extent, true);
    }
}

void body_channels(Body *b, int slot, Index block) {
    Index none[MAX_RANK] = {0};
    if (b->blocked) {
        load_level(b, LEVEL_CHANNEL, slot, none, block);
        body_emit_level(b, LEVEL_CHANNEL, slot, none, block);
    }
    if (b->ragged) {
        Reg first = kb_op(b->k, KOP_SPLAT, kb_from_index(b->k, index_scale(block, b->width)), NO_REG, NO_REG);
        b->mask[slot] = kb_op(b->k, KOP_ILT, kb_op(b->k, KOP_IADD, first, b->iota, NO_REG), b->limit, NO_REG);
    }
}

void body_point(Body *b, int slot, const Index *at, Index block, Reg acc) {
    b->anchor = acc;
    load_level(b, LEVEL_POINT, slot, at, block);
    body_emit_level(b, LEVEL_POINT, slot, at, block);
    for (int i = 0; i < b->g->sum_count; i++)
        add_sum(b, i, slot);
    for (int i = 0; i < b->g->output_count; i++)
        store_output(b, i, slot, at, block);
}

void body_piece(Body *b, Index first, Index lanes, bool whole, Reg acc) {
    Index at[MAX_RANK] = {0};
    b->first = first;
    b->lanes = lanes;
    b->ragged = !whole;
    body_point(b, 0, at, index_const(0), acc);
}

void body_prefetch(Body *b, Index first, int64_t count) {
    bool any = false;
    for (int i = 0; i < b->source_count; i++)
        if (b->sources[i].buffer >= 0 && b->sources[i].level == LEVEL_POINT) {
            pack_prefetch(b->k, b->sources[i].buffer, first, count);
            any = true;
        }
    for (int i = 0; i < b->g->output_count && !any; i++)       /* else what is written is what was read */
        pack_prefetch(b->k, b->out_buffer[i], first, count);
}

void body_slot(Body *b, Index block) {
    for (int i = 0; i < b->g->sum_count; i++)
        kb_set_const(b->k, b->sums[i][0], 0);
    body_channels(b, 0, block);
}

static int64_t sum_rows(const Body *b, int64_t rows, int64_t unit) {
    return rows * (unit ? (module_images(b->l->module, b->l->entry) + unit - 1) / unit : 1);
}

void body_slot_end(Body *b, Index part, Index row, int64_t rows, int64_t unit) {
    Index to = index_scale(index_add(index_scale(part, sum_rows(b, rows, unit)), row), b->width);
    for (int i = 0; i < b->g->sum_count; i++) {
        if (body_per_channel(b->g->sums[i]))
            kb_store(b->k, ACCESS_VECTOR, b->sum_buffer[i], to, b->sums[i][0]);
        else
            kb_set(b->k, b->total[i], KOP_FADD, b->total[i], b->sums[i][0], NO_REG);
    }
}

/* Partial sums: [panel][slot when per channel][row at capacity][W]. */
void body_finish(Body *b, Index panel, int64_t panels, Index row, int64_t rows, int64_t unit) {
    b->panels = panels;
    b->rows = rows;
    b->unit = unit;
    int64_t all = sum_rows(b, rows, unit);
    for (int i = 0; i < b->g->sum_count; i++) {
        int parts = !body_per_channel(b->g->sums[i]) ? 1 : b->rolled ? b->rolled : b->slots;
        b->sum_temp[i] = lower_temp(b->l, panels * parts * all * b->width * 4, false, "partial sums");
        b->k->buffers[b->sum_buffer[i]].count = panels * parts * all * b->width;
        if (b->rolled) {
            if (!body_per_channel(b->g->sums[i]))
                kb_store(b->k, ACCESS_VECTOR, b->sum_buffer[i], index_scale(index_add(index_scale(panel, all), row), b->width), b->total[i]);
            continue;
        }
        if (parts == 1)
            for (int s = 1; s < b->slots; s++)
                kb_set(b->k, b->sums[i][0], KOP_FADD, b->sums[i][0], b->sums[i][s], NO_REG);
        for (int s = 0; s < parts; s++) {
            Index part = index_plus(index_scale(panel, parts), s);
            Index to = index_scale(index_add(index_scale(part, all), row), b->width);
            kb_store(b->k, ACCESS_VECTOR, b->sum_buffer[i], to, b->sums[i][s]);
        }
    }
}

/* Element for element where the space is: body_point addresses it by the same index as every other such value. */
static bool covers_space(const Body *b, const Node *x) {
    Layout layout = b->blocked ? LAYOUT_BLOCKED : LAYOUT_PLAIN;
    return shape_equal(&x->shape, &b->g->space) && value_info(x)->layout == layout && (!b->blocked || x->channel == b->axis);
}

static void point_arg(const Body *b, PlannedCall *c, Node *x) {
    call_arg_value(c, x);
    c->args[c->arg_count - 1].point = covers_space(b, x);
}

void body_args(Body *b, PlannedCall *c) {
    for (int i = 0; i < b->source_count; i++)
        if (b->sources[i].buffer >= 0)
            point_arg(b, c, b->sources[i].node);
    for (int i = 0; i < b->g->output_count; i++)
        point_arg(b, c, b->g->outputs[i]);
    for (int i = 0; i < b->g->sum_count; i++)
        call_arg_temp(c, b->sum_temp[i]);
}
