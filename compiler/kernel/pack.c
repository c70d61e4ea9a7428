/* pack.c - weights in the order in which a convolution reads them (conv.h): one task per panel.
 * In entry infer the weights of parameters are packed once, by prepare; in training once per step. */
#include "kernel/conv.h"

typedef struct {
    Kernel *k;
    const ConvPlan *p;
    int from, to;
    int64_t window;                        /* elements of one kernel */
    int64_t out_step, in_step;             /* in the weights, from one output or input channel to the next */
} Pack;

static Index zero(void) { return index_const(0); }

bool pack_is_constant(const Node *w) {
    while (value_info(w)->alias)
        w = value_info(w)->alias;
    return w->op == OP_TENSOR || (value_info(w)->group && value_info(w)->group->prepare);
}

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

/* The packed place of (block, tap) of a combination in the task's panel. */
static Index packed_lanes(const Pack *s, int combination, Index block, Index tap) {
    const ConvPlan *p = s->p;
    Index to = index_add(index_scale(block, conv_taps(p, combination)), tap);
    to = index_scale(to, p->lanes * p->slots * p->width);
    to = index_plus(to, conv_phase_offset(p, combination));
    return index_add(to, index_scale(index_var(VAR_TASK), p->panel_floats));
}

static Index open_slots(Pack *s, int *opened) {
    if (s->p->slots == 1)
        return zero();
    *opened += 1;
    return index_var(kb_loop(s->k, "slot", zero(), index_const(s->p->slots), 1));
}

/* Without groups: every vector is W output channels of one input channel and tap; lanes that stand for no channel load zero.
 * Where those lie a row of the weights apart, often a multiple of a large power of two, a slot is finished before the next
 * one: more rows than W would drive each other out of the cache between one tap and the next. */
static void pack_dense(Pack *s, int combination) {
    const ConvPlan *p = s->p;
    Kernel *k = s->k;
    bool rows = s->out_step > s->in_step;
    int opened = 0;
    Index at, block = zero(), lane = zero(), slot = zero();
    if (p->blocks > 1) {
        block = index_var(kb_loop(k, "block", zero(), index_const(p->blocks), 1));
        opened++;
    }
    if (rows)
        slot = open_slots(s, &opened);
    Index tap = open_taps(s, combination, &at, &opened);
    if (p->lanes > 1) {
        lane = index_var(kb_loop(k, "lane", zero(), index_const(p->lanes), 1));
        opened++;
    }
    if (!rows)
        slot = open_slots(s, &opened);
    Index in = index_add(index_scale(block, p->lanes), lane);
    Index out = index_scale(index_add(index_scale(index_var(VAR_TASK), p->slots), slot), p->width);
    Index lanes = index_plus(index_scale(out, -1), p->out_channels);
    if (p->in_channels % p->lanes) {           /* nothing beyond the last input channel */
        Index left = index_scale(index_plus(index_scale(in, -1), p->in_channels), p->width);
        lanes = index_var(kb_index(k, "lanes", INDEX_MIN, lanes, left));
    }
    Index from = index_add(at, index_add(index_scale(out, s->out_step), index_scale(in, s->in_step)));
    Index to = index_add(packed_lanes(s, combination, block, tap), index_scale(lane, (int64_t)p->slots * p->width));
    Reg w = kb_load_lanes(k, ACCESS_STRIDED, s->from, from, lanes, s->out_step);
    kb_store(k, ACCESS_VECTOR, s->to, index_add(to, index_scale(slot, p->width)), w);
    close(s, opened);
}

static void clear_panel(Pack *s) {
    const ConvPlan *p = s->p;
    Index i = index_var(kb_loop(s->k, "i", zero(), index_const(p->panel_floats), p->width));
    Index to = index_add(index_scale(index_var(VAR_TASK), p->panel_floats), i);
    kb_store(s->k, ACCESS_VECTOR, s->to, to, kb_const(s->k, 0, true));
    kb_end(s->k);
}

/* Block and lane of an input channel among those that the task's panel reads. */
static void input_place(Pack *s, Index in, Index *block, Index *lane) {
    const ConvPlan *p = s->p;
    Index first = conv_first_unit(s->k, p, index_var(VAR_TASK));
    *block = *lane = zero();
    if (p->depthwise)
        return;
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
    Index first = index_scale(index_var(VAR_TASK), step);
    int end = kb_index(k, "end", INDEX_MIN, index_plus(first, step), index_const(p->out_channels));
    Index out = index_var(kb_loop(k, "out", first, index_var(end), 1));
    Index group = index_var(kb_index(k, "group", INDEX_DIV, out, index_const(p->group_out)));
    Index i = index_var(kb_loop(k, "i", zero(), index_const(p->group_in), 1));
    Index in = index_add(index_scale(group, p->group_in), i), block, lane, at;
    input_place(s, in, &block, &lane);
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

int pack_weights(Lower *l, const Group *g, const ConvPlan *p) {
    bool constant = pack_is_constant(p->w);
    int64_t count = p->panels * p->panel_floats;
    int temp = lower_temp(l, count * 4, constant, "packed weights");
    Pack s = { .k = lower_kernel(l, g, "_pack"), .p = p, .window = 1 };
    for (int i = 0; i < p->window->spatial; i++)
        s.window *= p->window->kernel[i];
    s.out_step = p->backward ? s.window : p->group_in * s.window;
    s.in_step = p->backward ? p->group_out * s.window : s.window;
    s.from = kb_arg(s.k, "w", ELEM_F32, false, shape_count(&p->w->shape), shape_text(l->arena, TYPE_F32, &p->w->shape));
    s.to = kb_arg(s.k, "packed", ELEM_F32, true, count, "[panel][block][taps][lane][channels]");
    if (p->window->groups > 1)
        clear_panel(&s);
    for (int i = 0; i < conv_combinations(p); i++)
        if (conv_taps(p, i) > 0 && p->window->groups > 1)
            pack_groups(&s, i);
        else if (conv_taps(p, i) > 0)
            pack_dense(&s, i);
    kernel_finish(s.k);
    PlannedCall *c = lower_call(l, s.k, constant);
    c->group = g;
    c->tasks = p->panels;
    c->flops = (double)p->panel_floats * 4;
    call_arg_value(c, p->w);
    call_arg_temp(c, temp);
    return temp;
}
