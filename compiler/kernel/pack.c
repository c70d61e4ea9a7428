/* pack.c - weights in the order in which a convolution reads them (conv.h): one task per panel.
 * In entry infer the weights of parameters are packed once, by prepare; in training once per step. */
#include "kernel/conv.h"

typedef struct {
    Kernel *k;
    const ConvPlan *p;
    int from, to;
    Index panel, base;                     /* what is packed; where it begins in `to` */
    int64_t blocks;                        /* input blocks of the panel in `to`: all, or the one that is packed */
    int64_t window;                        /* elements of one kernel */
    int64_t out_step, in_step;             /* in the weights, from one output or input channel to the next */
} Pack;

enum { MAX_WINDOW = 64 };                  /* elements of a window that is unrolled */

static Index zero(void) { return index_const(0); }

bool pack_is_constant(const Node *w) {
    while (value_info(w)->alias)
        w = value_info(w)->alias;
    return w->op == OP_TENSOR || (value_info(w)->group && value_info(w)->group->prepare);
}

bool conv_packs_each_time(const Lower *l, const Node *w) { return l->entry != ENTRY_INFER || !pack_is_constant(w); }

/* Opens loops over the taps of a combination; *at: offset in the kernel; returns the number of the tap. */
static Index open_taps(Pack *s, int combination, Index *at, int *opened) {
    const ConvPlan *p = s->p;
    const TapPhase *phase[MAX_SPATIAL];
    conv_combination(p, combination, phase);
    Index number = zero();
    *at = zero();
    for (int i = 0; i < p->dims; i++) {
        Index tap = zero();
        if (phase[i]->taps > 1) {
            tap = index_var(kb_loop(s->k, "tap", zero(), index_const(phase[i]->taps), 1));
            *opened += 1;
        }
        number = index_add(index_scale(number, phase[i]->taps), tap);
        int64_t size = i < p->window->spatial ? p->window->kernel[i] : 1;
        *at = index_add(index_scale(*at, size), index_plus(index_scale(tap, phase[i]->dk), phase[i]->k0));
    }
    return number;
}

static void close(Pack *s, int opened) {
    while (opened--)
        kb_end(s->k);
}

/* The packed place of (block, tap) of a combination. */
static Index packed_lanes(const Pack *s, int combination, Index block, Index tap) {
    const ConvPlan *p = s->p;
    Index to = s->blocks > 1 ? index_add(index_scale(block, conv_taps(p, combination)), tap) : tap;
    to = index_scale(to, p->lanes * p->slots * p->width);
    return index_add(s->base, index_plus(to, conv_phase_offset(p, combination) / p->blocks * s->blocks));
}

static Index open_slots(Pack *s, int *opened) {
    if (s->p->slots == 1)
        return zero();
    *opened += 1;
    return index_var(kb_loop(s->k, "slot", zero(), index_const(s->p->slots), 1));
}

/* ---- without groups ---- */

/* Where an element of a window goes; combination -1: nowhere. */
typedef struct { int combination; int64_t tap; } TapPlace;

static void place_taps(const ConvPlan *p, int combination, TapPlace *places) {
    const TapPhase *phase[MAX_SPATIAL];
    conv_combination(p, combination, phase);
    int64_t taps = conv_taps(p, combination);
    for (int64_t tap = 0; tap < taps; tap++) {
        int64_t at = 0, scale = 1, rest = tap;
        for (int i = p->dims - 1; i >= 0; i--) {
            at += (phase[i]->k0 + rest % phase[i]->taps * phase[i]->dk) * scale;
            rest /= phase[i]->taps;
            scale *= i < p->window->spatial ? p->window->kernel[i] : 1;
        }
        places[at] = (TapPlace){ combination, tap };
    }
}

/* Columns first .. first + count - 1 of W rows of the weights, one row per output channel from `out` on, at input channel `in`;
 * what stands for no channel is zero. */
static void load_columns(Pack *s, Index out, Index in, int64_t first, int64_t count, Reg *columns) {
    const ConvPlan *p = s->p;
    Reg rows[TRANSPOSE_WIDTH];
    Index room = index_const(count);
    bool part = count < p->width;
    if (p->in_channels % p->lanes) {           /* nothing beyond the last input channel */
        Index left = index_plus(index_scale(index_plus(index_scale(in, -1), p->in_channels), s->window), -first);
        room = index_var(kb_index(s->k, "room", INDEX_MIN, room, left));
        part = true;
    }
    Index from = index_plus(index_add(index_scale(out, s->out_step), index_scale(in, s->in_step)), first);
    for (int i = 0; i < p->width; i++) {
        Index lanes = room, at = index_plus(from, i * s->out_step);
        if (p->out_channels % p->width) {
            Index left = index_scale(index_plus(index_scale(out, -1), p->out_channels - i), p->width);
            lanes = index_var(kb_index(s->k, "lanes", INDEX_MIN, room, left));
        }
        bool masked = part || p->out_channels % p->width;
        if (i >= p->out_channels)
            rows[i] = kb_const(s->k, 0, true);
        else
            rows[i] = masked ? kb_load_lanes(s->k, ACCESS_MASKED, s->from, at, lanes, 1) : kb_load(s->k, ACCESS_VECTOR, s->from, at);
    }
    transpose(s->k, rows, (int)count, columns);
}

void pack_prefetch(Kernel *k, int from, Index at, int64_t run) {
    enum { LINE = 16, LEVEL = 2 };
    for (int64_t line = 0; line < run + LINE - 1; line += LINE)
        kb_prefetch(k, from, index_plus(at, line), LEVEL);
}

/* Asks for a piece of the next block's weights that is as large as what `lanes` input channels and W output channels take:
 * runs of the weights, one per lane of a block, that lie a row apart. */
static void prefetch_next(Pack *s, Index block, Index lane, Index out, int64_t lanes) {
    const ConvPlan *p = s->p;
    bool rows = s->out_step > s->in_step;
    Index next = index_plus(index_scale(block, p->lanes), p->lanes);
    for (int64_t i = 0; i < lanes; i++) {
        Index at = index_add(index_scale(out, s->out_step), index_scale(next, s->in_step));
        at = index_add(at, index_scale(index_plus(lane, i), rows ? s->out_step : s->in_step));
        pack_prefetch(s->k, s->from, at, (rows ? p->lanes : p->width) * s->window);
    }
}

/* The weights of `lanes` input channels and W output channels: what lies side by side in the weights, a window or several, are
 * rows that are transposed. */
static void pack_windows(Pack *s, const TapPlace *places, Index block, Index lane, Index slot, Index out, int64_t lanes) {
    const ConvPlan *p = s->p;
    Index in = index_add(index_scale(block, p->lanes), lane);
    Index at = index_scale(index_add(index_scale(lane, p->slots), slot), p->width);
    for (int64_t first = 0; first < lanes * s->window; first += p->width) {
        int64_t count = lanes * s->window - first < p->width ? lanes * s->window - first : p->width;
        Reg columns[TRANSPOSE_WIDTH];
        load_columns(s, out, in, first, count, columns);
        for (int64_t i = 0; i < count; i++) {
            const TapPlace *to = &places[(first + i) % s->window];
            if (to->combination < 0)
                continue;
            Index lanes_at = packed_lanes(s, to->combination, block, index_const(to->tap));
            lanes_at = index_add(index_plus(lanes_at, (first + i) / s->window * p->slots * p->width), at);
            kb_store(s->k, ACCESS_VECTOR, s->to, lanes_at, columns[i]);
        }
    }
}

/* Output channels from `out` on that there are, none for an input channel that there is not. */
static Index lanes_of(Pack *s, Index out, Index in) {
    const ConvPlan *p = s->p;
    Index lanes = index_plus(index_scale(out, -1), p->out_channels);
    if (p->in_channels % p->lanes == 0)
        return lanes;
    Index left = index_scale(index_plus(index_scale(in, -1), p->in_channels), p->width);
    return index_var(kb_index(s->k, "lanes", INDEX_MIN, lanes, left));
}

/* Windows of one element in the order of the output channels need no transposition. */
static void pack_vector(Pack *s, Index block, Index lane, Index slot, Index out) {
    const ConvPlan *p = s->p;
    Index in = index_add(index_scale(block, p->lanes), lane), lanes = lanes_of(s, out, in);
    bool masked = p->in_channels % p->lanes || p->out_channels % p->width;
    Index from = index_add(out, index_scale(in, s->in_step)), to = packed_lanes(s, 0, block, zero());
    Reg w = masked ? kb_load_lanes(s->k, ACCESS_MASKED, s->from, from, lanes, 1) : kb_load(s->k, ACCESS_VECTOR, s->from, from);
    kb_store(s->k, ACCESS_VECTOR, s->to, index_add(to, index_scale(index_add(index_scale(lane, p->slots), slot), p->width)), w);
}

/* One input block. Where the output channels lie a row of the weights apart, often a multiple of a large power of two, a slot
 * is finished before the next one: more rows than W would drive each other out of the cache. */
static void pack_rows(Pack *s, Index block) {
    const ConvPlan *p = s->p;
    bool rows = s->out_step > s->in_step;
    TapPlace places[MAX_WINDOW];
    for (int i = 0; i < s->window; i++)
        places[i].combination = -1;
    for (int i = 0; i < conv_combinations(p); i++)
        place_taps(p, i, places);
    int64_t lanes = 1;                         /* whose windows make a row of at most W */
    while (rows && p->lanes % (2 * lanes) == 0 && 2 * lanes * s->window <= p->width)
        lanes *= 2;
    int opened = 0;
    Index lane = zero(), slot = rows ? open_slots(s, &opened) : zero();
    if (p->lanes > lanes) {
        lane = index_var(kb_loop(s->k, "lane", zero(), index_const(p->lanes), lanes));
        opened++;
    }
    if (!rows)
        slot = open_slots(s, &opened);
    Index out = index_scale(index_add(index_scale(s->panel, p->slots), slot), p->width);
    if (s->blocks < p->blocks && p->lanes == p->width)
        prefetch_next(s, block, lane, out, lanes);
    if (s->out_step == 1)
        pack_vector(s, block, lane, slot, out);
    else
        pack_windows(s, places, block, lane, slot, out, lanes);
    close(s, opened);
}

/* Windows of many elements: a vector at a time, gathered. */
static void pack_large(Pack *s, Index block) {
    const ConvPlan *p = s->p;
    Index at, lane = zero();
    int opened = 0;
    if (p->lanes > 1) {
        lane = index_var(kb_loop(s->k, "lane", zero(), index_const(p->lanes), 1));
        opened++;
    }
    Index slot = open_slots(s, &opened), in = index_add(index_scale(block, p->lanes), lane);
    Index out = index_scale(index_add(index_scale(s->panel, p->slots), slot), p->width), lanes = lanes_of(s, out, in);
    for (int i = 0; i < conv_combinations(p); i++) {
        int taps = 0;
        if (conv_taps(p, i) == 0)
            continue;
        Index tap = open_taps(s, i, &at, &taps);
        Index from = index_add(at, index_add(index_scale(out, s->out_step), index_scale(in, s->in_step)));
        Reg w = kb_load_lanes(s->k, ACCESS_STRIDED, s->from, from, lanes, s->out_step);
        Index to = index_scale(index_add(index_scale(lane, p->slots), slot), p->width);
        kb_store(s->k, ACCESS_VECTOR, s->to, index_add(packed_lanes(s, i, block, tap), to), w);
        close(s, taps);
    }
    close(s, opened);
}

static void pack_dense(Pack *s, Index block) {
    if (s->window > MAX_WINDOW)
        pack_large(s, block);
    else
        pack_rows(s, block);
}

/* ---- with groups ---- */

static void clear_panel(Pack *s) {
    const ConvPlan *p = s->p;
    Index i = index_var(kb_loop(s->k, "i", zero(), index_const(p->panel_floats), p->width));
    Index to = index_add(s->base, i);
    kb_store(s->k, ACCESS_VECTOR, s->to, to, kb_const(s->k, 0, true));
    kb_end(s->k);
}

/* Block and lane of an input channel, number i of its group, among those that the task's panel reads. */
static void input_place(Pack *s, Index in, Index i, Index *block, Index *lane) {
    const ConvPlan *p = s->p;
    *block = *lane = zero();
    if (p->narrow) {
        *lane = i;
        return;
    }
    Index first = conv_inputs(s->k, p, s->panel).first;
    if (value_info(p->x)->layout == LAYOUT_PLAIN) {
        *lane = index_add(in, index_scale(first, -1));
        return;
    }
    Index unit = index_var(kb_index(s->k, "in_block", INDEX_DIV, in, index_const(p->width)));
    *lane = index_var(kb_index(s->k, "in_lane", INDEX_MOD, in, index_const(p->width)));
    *block = index_add(unit, index_scale(first, -1));
}

/* With groups: element by element into a cleared panel. */
static void pack_groups(Pack *s, int combination) {
    const ConvPlan *p = s->p;
    Kernel *k = s->k;
    int64_t step = (int64_t)p->slots * p->width;
    Index first = index_scale(s->panel, step);
    int end = kb_index(k, "end", INDEX_MIN, index_plus(first, step), index_const(p->out_channels));
    Index out = index_var(kb_loop(k, "out", first, index_var(end), 1));
    Index group = index_var(kb_index(k, "group", INDEX_DIV, out, index_const(p->group_out)));
    Index i = index_var(kb_loop(k, "i", zero(), index_const(p->group_in), 1));
    Index in = index_add(index_scale(group, p->group_in), i), block, lane, at;
    input_place(s, in, i, &block, &lane);
    int opened = 2;
    Index tap = open_taps(s, combination, &at, &opened);
    Index from = index_add(index_scale(out, s->out_step), index_scale(i, s->in_step));
    if (p->backward) {                         /* [in][out within its group] */
        Index o = index_add(out, index_scale(group, -p->group_out));
        from = index_add(index_scale(o, s->out_step), index_scale(in, s->in_step));
    }
    Index to = index_add(packed_lanes(s, combination, block, tap), index_scale(lane, step));
    to = index_add(to, index_add(out, index_scale(first, -1)));
    kb_store(k, ACCESS_SCALAR, s->to, to, kb_load(k, ACCESS_SCALAR, s->from, index_add(from, at)));
    close(s, opened);
}

static Pack pack_begin(Kernel *k, const ConvPlan *p, int from, int to) {
    Pack s = { .k = k, .p = p, .from = from, .to = to, .window = 1 };
    for (int i = 0; i < p->window->spatial; i++)
        s.window *= p->window->kernel[i];
    s.out_step = p->backward ? s.window : p->group_in * s.window;
    s.in_step = p->backward ? p->group_out * s.window : s.window;
    return s;
}

void pack_block(Kernel *k, const ConvPlan *p, int from, int to, Index panel, Index block) {
    Pack s = pack_begin(k, p, from, to);
    s.panel = panel;
    s.base = zero();
    s.blocks = 1;
    pack_dense(&s, block);
}

int pack_weights(Lower *l, const Group *g, const ConvPlan *p) {
    bool constant = pack_is_constant(p->w);
    int64_t count = p->panels * p->panel_floats;
    int temp = lower_temp(l, conv_weight_bytes(p), constant, "packed weights");
    Kernel *k = lower_kernel(l, g, "_pack");
    int from = kb_arg(k, "w", ELEM_F32, false, shape_count(&p->w->shape), shape_text(l->arena, TYPE_F32, &p->w->shape));
    int to = kb_arg(k, "packed", ELEM_F32, true, count, "[panel][block][taps][lane][channels]");
    k->buffers[to].store = p->storage;
    Pack s = pack_begin(k, p, from, to);
    s.panel = index_var(VAR_TASK);
    s.base = index_scale(s.panel, p->panel_floats);
    s.blocks = p->blocks;
    if (p->window->groups > 1) {
        clear_panel(&s);
        for (int i = 0; i < conv_combinations(p); i++)
            if (conv_taps(p, i) > 0)
                pack_groups(&s, i);
    } else {
        Index block = zero();
        if (p->blocks > 1)
            block = index_var(kb_loop(k, "block", zero(), index_const(p->blocks), 1));
        pack_dense(&s, block);
        if (p->blocks > 1)
            kb_end(k);
    }
    kernel_finish(k);
    PlannedCall *c = lower_call(l, k, constant);
    c->group = g;
    c->tasks = p->panels;
    c->flops = (double)p->panel_floats * 4;
    call_arg_value(c, p->w);
    call_arg_temp(c, temp);
    return temp;
}
