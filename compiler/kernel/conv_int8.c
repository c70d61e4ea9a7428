/* conv_int8.c - CONV_INT8 in the loop nest of conv.c: sums of products of bytes, four channels at a time.
 *
 * A byte stands for step (byte - zero), and where a tap lies outside the operand is 0, not a byte. So a sum begins with
 * -zero times the weights of the taps that are inside, in place of 0. pack_int8.c has added up these over all taps before
 * some end, in every dimension, and the taps from begin to end are a difference of such sums (inclusion and exclusion).
 * All of it is in integers and exact. */
#include "kernel/conv.h"

#include <assert.h>

int64_t conv_int8_starts(const ConvPlan *p) {
    int64_t count = 1;
    for (int i = 0; i < p->dims; i++)
        count *= p->dim[i].phase[0].taps + 1;
    return count;
}

Index conv_int8_at(const ConvPlan *p, const Index *end) {
    Index at = index_const(0);
    for (int i = 0; i < p->dims; i++)
        at = index_add(index_scale(at, p->dim[i].phase[0].taps + 1), end[i]);
    return index_scale(at, (int64_t)p->slots * p->width);
}

void conv_int8_begin(ConvNest *c) {
    for (int v = 0; v < c->p->slots; v++)
        c->scales[v] = kb_load(c->k, ACCESS_VECTOR, c->scale, index_scale(conv_block(c, v), c->p->width));
}

Reg conv_int8_result(ConvNest *c, int slot, Reg sum) {
    return kb_op(c->k, KOP_FMUL, kb_op(c->k, KOP_I2F, sum, NO_REG, NO_REG), c->scales[slot], NO_REG);
}

/* The taps of an outer dimension that are inside, also for a row that has none. */
static TapRange inside(ConvNest *c, int i, TapRange r) {
    const TapPhase *f = &c->p->dim[i].phase[0];
    int64_t last = (f->count - 1) * f->si + f->off;
    if (-f->off > f->taps * f->doff)
        r.begin = index_var(kb_index(c->k, "begin", INDEX_MIN, r.begin, index_const(f->taps)));
    if (last > c->p->dim[i].in)
        r.end = index_var(kb_index(c->k, "end", INDEX_MAX, r.end, index_const(0)));
    return r;
}

static bool is_zero(const Index *x) {
    int64_t value = 1;
    return index_is_const(x, &value) && value == 0;
}

/* What a slot's sums over these taps begin with. */
static Reg start(ConvNest *c, int slot, const TapRange *taps) {
    const ConvPlan *p = c->p;
    Reg sum = NO_REG;
    for (unsigned from = 0; from < 1u << p->dims; from++) {        /* a bit: the taps before begin, not those before end */
        Index end[MAX_SPATIAL];
        bool empty = false;
        for (int i = 0; i < p->dims; i++) {
            end[i] = from >> i & 1 ? taps[i].begin : taps[i].end;
            empty = empty || is_zero(&end[i]);
        }
        if (empty && from)
            continue;
        Index at = index_scale(c->panel, conv_int8_starts(p) * p->slots * p->width);
        at = index_plus(index_add(at, conv_int8_at(p, end)), (int64_t)slot * p->width);
        Reg part = kb_load(c->k, ACCESS_VECTOR, c->start, at);
        sum = from == 0 ? part : kb_op(c->k, __builtin_parity(from) ? KOP_ISUB : KOP_IADD, sum, part, NO_REG);
    }
    return sum;
}

void conv_int8_start(ConvNest *c, int pixels, const TapRange *rows, const int64_t (*columns)[2]) {
    const ConvPlan *p = c->p;
    TapRange taps[MAX_SPATIAL];
    for (int i = 0; i < p->dims - 1; i++)
        taps[i] = inside(c, i, rows[i]);
    for (int v = 0; v < p->slots; v++) {
        Reg sum = NO_REG;
        for (int i = 0; i < pixels; i++) {
            bool same = i > 0 && (!columns || (columns[i][0] == columns[i - 1][0] && columns[i][1] == columns[i - 1][1]));
            if (columns)
                taps[p->dims - 1] = (TapRange){ index_const(columns[i][0]), index_const(columns[i][1]), false };
            sum = same ? sum : start(c, v, taps);
            kb_set(c->k, conv_sum(c, v, i), KOP_MOVE, sum, NO_REG, NO_REG);
        }
    }
}

void lower_conv_int8(Lower *l, const Group *g) {
    ConvPlan p = conv_plan(l, g);
    assert(p.form != CONV_POINTS && "a window of bytes that fits no tile");
    PackedInt8 packed = pack_int8(l, g, &p);
    ConvNest c = { .k = lower_kernel(l, g, ""), .p = &p, .scales = NEW_ARRAY(l->arena, Reg, p.slots) };
    int64_t panel = (int64_t)p.slots * p.width;
    c.x = kb_arg(c.k, "x", ELEM_I32, false, value_floats(p.x, p.width) / 4, arena_printf(l->arena, "%s, blocked, 4 channels a word", shape_text(l->arena, TYPE_U8, &p.x->shape)));
    c.w = kb_arg(c.k, "w", ELEM_I32, false, p.panels * p.panel_floats, "packed weights, 4 bytes a word");
    c.start = kb_arg(c.k, "start", ELEM_I32, false, p.panels * conv_int8_starts(&p) * panel, "what sums begin with");
    c.scale = kb_arg(c.k, "scale", ELEM_F32, false, p.panels * panel, "of output channels");
    conv_nest(l, g, &c);
    PlannedCall *call = conv_call(l, g, &c);
    call_arg_temp(call, packed.weights);
    call_arg_temp(call, packed.start);
    call_arg_temp(call, packed.scale);
    conv_outputs(call, g, &c);
}
