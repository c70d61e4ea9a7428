/* pack_int8.c - weights as signed bytes, in the order in which a convolution of bytes reads them: one task per panel.
 * An output channel o has the scale s = max |w[o]| / 127, and a weight is w / s rounded, from -127 to 127. With them go
 * what sums begin with (conv_int8.c) and step * s of every channel. All by prepare. */
#include "kernel/conv.h"

enum { MAX_SLOTS = 8 };
static const double SMALLEST = 1e-30;      /* scale of a channel of zeros */

typedef struct {
    Kernel *k;
    const ConvPlan *p;
    int from, zero, step, to, start, scale;
    int64_t out_step, window;              /* in the weights: elements per output channel, per kernel */
    Reg inverse[MAX_SLOTS], sum[MAX_SLOTS];
    Index tap[MAX_SPATIAL];
} PackBytes;

static Index zero(void) { return index_const(0); }

static Index out_channel(const PackBytes *s, int slot) {
    return index_scale(index_plus(index_scale(index_var(VAR_TASK), s->p->slots), slot), s->p->width);
}

static Index lanes_of(const PackBytes *s, int slot) {
    return index_plus(index_scale(out_channel(s, slot), -1), s->p->out_channels);
}

/* W output channels' weight number `at`. */
static Reg weights_at(PackBytes *s, int slot, Index at, Index lanes) {
    Index from = index_add(index_scale(out_channel(s, slot), s->out_step), at);
    return kb_load_lanes(s->k, ACCESS_STRIDED, s->from, from, lanes, s->out_step);
}

static void find_scales(PackBytes *s) {
    Kernel *k = s->k;
    Reg most = kb_const(k, 127, true), step = kb_load(k, ACCESS_SPLAT, s->step, zero());
    for (int v = 0; v < s->p->slots; v++) {
        Reg largest = kb_reg(k, ELEM_F32, true);
        kb_set_const(k, largest, SMALLEST);
        Index i = index_var(kb_loop(k, "i", zero(), index_const(s->out_step), 1));
        Reg w = weights_at(s, v, i, lanes_of(s, v));
        kb_set(k, largest, KOP_FMAX, kb_op(k, KOP_FABS, w, NO_REG, NO_REG), largest, NO_REG);
        kb_end(k);
        s->inverse[v] = kb_op(k, KOP_FDIV, most, largest, NO_REG);
        Reg scale = kb_op(k, KOP_FMUL, kb_op(k, KOP_FDIV, largest, most, NO_REG), step, NO_REG);
        kb_store(k, ACCESS_VECTOR, s->scale, out_channel(s, v), scale);
    }
}

/* ---- weights ---- */

static int open_taps(PackBytes *s, Index *at) {
    const ConvPlan *p = s->p;
    int opened = 0;
    *at = zero();
    for (int i = 0; i < p->dims; i++) {
        s->tap[i] = zero();
        if (p->dim[i].phase[0].taps > 1) {
            s->tap[i] = index_var(kb_loop(s->k, "tap", zero(), index_const(p->dim[i].phase[0].taps), 1));
            opened++;
        }
        *at = index_add(index_scale(*at, i < p->window->spatial ? p->window->kernel[i] : 1), s->tap[i]);
    }
    return opened;
}

/* Byte j of a word: the rounded weights of input channel `in`, none beyond the last. */
static Reg byte(PackBytes *s, int slot, Index at, Index in, int j) {
    const ConvPlan *p = s->p;
    Kernel *k = s->k;
    Index lanes = lanes_of(s, slot);
    if (p->blocks * p->lanes * 4 != p->in_channels) {
        Index left = index_scale(index_plus(index_scale(in, -1), p->in_channels), p->width);
        lanes = index_var(kb_index(k, "lanes", INDEX_MIN, lanes, left));
    }
    Reg w = weights_at(s, slot, index_add(at, index_scale(in, s->window)), lanes);
    Reg q = kb_op(k, KOP_ROUND, kb_op(k, KOP_FMUL, w, s->inverse[slot], NO_REG), NO_REG, NO_REG);
    kb_set(k, s->sum[slot], KOP_IADD, s->sum[slot], q, NO_REG);
    q = kb_op(k, KOP_IAND, q, kb_int(k, 255, true), NO_REG);
    return j ? kb_op(k, KOP_ISHL, q, kb_int(k, 8 * j, true), NO_REG) : q;
}

/* The words of one tap, at the kernel's element `at`; their bytes' sums. */
static void pack_tap(PackBytes *s, Index at) {
    const ConvPlan *p = s->p;
    Kernel *k = s->k;
    int opened = 0;
    Index block = zero(), lane = zero(), number = zero();
    for (int v = 0; v < p->slots; v++)
        kb_set(k, s->sum[v], KOP_MOVE, kb_int(k, 0, true), NO_REG, NO_REG);
    for (int i = 0; i < p->dims; i++)
        number = index_add(index_scale(number, p->dim[i].phase[0].taps), s->tap[i]);
    if (p->blocks > 1 && ++opened)
        block = index_var(kb_loop(k, "block", zero(), index_const(p->blocks), 1));
    if (p->lanes > 1 && ++opened)
        lane = index_var(kb_loop(k, "lane", zero(), index_const(p->lanes), 1));
    Index in = index_add(index_scale(block, p->lanes * 4), index_scale(lane, 4));
    Index to = index_add(index_scale(block, conv_taps(p, 0)), number);
    to = index_add(index_scale(to, p->lanes), lane);
    to = index_add(index_scale(to, (int64_t)p->slots * p->width), index_scale(index_var(VAR_TASK), p->panel_floats));
    for (int v = 0; v < p->slots; v++) {
        Reg word = byte(s, v, at, in, 0);
        for (int j = 1; j < 4; j++)
            word = kb_op(k, KOP_IOR, word, byte(s, v, at, index_plus(in, j), j), NO_REG);
        kb_store(k, ACCESS_VECTOR, s->to, index_plus(to, (int64_t)v * p->width), word);
    }
    while (opened--)
        kb_end(k);
}

/* ---- what sums begin with ---- */

static Index start_at(const PackBytes *s, const Index *end) {
    int64_t panel = conv_int8_starts(s->p) * s->p->slots * s->p->width;
    return index_add(index_scale(index_var(VAR_TASK), panel), conv_int8_at(s->p, end));
}

static void clear_starts(PackBytes *s) {
    int64_t panel = conv_int8_starts(s->p) * s->p->slots * s->p->width;
    Index i = index_var(kb_loop(s->k, "i", zero(), index_const(panel), s->p->width));
    kb_store(s->k, ACCESS_VECTOR, s->start, index_add(index_scale(index_var(VAR_TASK), panel), i), kb_int(s->k, 0, true));
    kb_end(s->k);
}

static void store_start(PackBytes *s, Reg minus_zero) {
    Index end[MAX_SPATIAL];
    for (int i = 0; i < s->p->dims; i++)
        end[i] = index_plus(s->tap[i], 1);
    for (int v = 0; v < s->p->slots; v++)
        kb_store(s->k, ACCESS_VECTOR, s->start, index_plus(start_at(s, end), (int64_t)v * s->p->width),
                 kb_op(s->k, KOP_IMUL, s->sum[v], minus_zero, NO_REG));
}

/* Along dimension d, every entry plus the one before. */
static void add_up(PackBytes *s, int d) {
    const ConvPlan *p = s->p;
    Index end[MAX_SPATIAL], before[MAX_SPATIAL];
    for (int i = 0; i < p->dims; i++) {
        end[i] = index_var(kb_loop(s->k, "end", index_const(i == d), index_const(p->dim[i].phase[0].taps + 1), 1));
        before[i] = index_plus(end[i], i == d ? -1 : 0);
    }
    for (int v = 0; v < p->slots; v++) {
        Index to = index_plus(start_at(s, end), (int64_t)v * p->width);
        Reg x = kb_load(s->k, ACCESS_VECTOR, s->start, to);
        Reg y = kb_load(s->k, ACCESS_VECTOR, s->start, index_plus(start_at(s, before), (int64_t)v * p->width));
        kb_store(s->k, ACCESS_VECTOR, s->start, to, kb_op(s->k, KOP_IADD, x, y, NO_REG));
    }
    for (int i = 0; i < p->dims; i++)
        kb_end(s->k);
}

/* ---- the kernel ---- */

static void build(PackBytes *s) {
    Kernel *k = s->k;
    Index at;
    find_scales(s);
    clear_starts(s);
    Reg minus_zero = kb_op(k, KOP_ISUB, kb_int(k, 0, true), kb_load(k, ACCESS_SPLAT, s->zero, zero()), NO_REG);
    for (int v = 0; v < s->p->slots; v++)
        s->sum[v] = kb_reg(k, ELEM_I32, true);
    int opened = open_taps(s, &at);
    pack_tap(s, at);
    store_start(s, minus_zero);
    while (opened--)
        kb_end(k);
    for (int i = 0; i < s->p->dims; i++)
        add_up(s, i);
    kernel_finish(k);
}

PackedInt8 pack_int8(Lower *l, const Group *g, const ConvPlan *p) {
    int64_t words = p->panels * p->panel_floats, channels = p->panels * p->slots * p->width, starts = channels * conv_int8_starts(p);
    PackedInt8 t = { lower_temp(l, words * 4, true, "packed weights of bytes"), lower_temp(l, starts * 4, true, "what sums of bytes begin with"),
                     lower_temp(l, channels * 4, true, "scales of output channels") };
    PackBytes s = { .k = lower_kernel(l, g, "_pack"), .p = p, .window = 1 };
    for (int i = 0; i < p->window->spatial; i++)
        s.window *= p->window->kernel[i];
    s.out_step = p->in_channels * s.window;
    s.from = kb_arg(s.k, "w", ELEM_F32, false, shape_count(&p->w->shape), shape_text(l->arena, TYPE_F32, &p->w->shape));
    s.zero = kb_arg(s.k, "zero", ELEM_I32, false, 1, "the byte that stands for 0");
    s.step = kb_arg(s.k, "step", ELEM_F32, false, 1, "of a byte");
    s.to = kb_arg(s.k, "packed", ELEM_I32, true, words, "[panel][block][taps][words][channels], 4 bytes a word");
    s.start = kb_arg(s.k, "start", ELEM_I32, true, starts, "[panel][taps before, per dimension][channels]");
    s.scale = kb_arg(s.k, "scale", ELEM_F32, true, channels, "step * largest weight / 127");
    build(&s);
    PlannedCall *c = lower_call(l, s.k, true);
    c->group = g;
    c->tasks = p->panels;
    c->flops = (double)p->panel_floats * 4;
    call_arg_value(c, p->w);
    call_arg_value(c, g->anchor->in[2]);
    call_arg_value(c, g->anchor->in[3]);
    call_arg_temp(c, t.weights);
    call_arg_temp(c, t.start);
    call_arg_temp(c, t.scale);
    return t;
}
