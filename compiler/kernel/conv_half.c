/* conv_half.c - CONV_HALF in the loop nest of conv.c: products and sums in binary16, twice as many at a time.
 *
 * A vector of binary16 has 2 W lanes, the output channels of two slots. Its sums would lose digits with every product; so after
 * about MAX_PRODUCTS of them, always whole input blocks, they are added to sums in float32 and begin again from 0. Operand and
 * weights are rounded once, by whoever computes the operand and by prepare. */
#include "kernel/conv.h"

#include <assert.h>

enum { MAX_PRODUCTS = 128 };

static Index sum_at(const ConvNest *c, int slot, int pixel) {
    return index_const(((int64_t)slot * MAX_TILE_PIXELS + pixel) * c->p->width);
}

int64_t conv_half_blocks(const ConvPlan *p, int combination) {
    int64_t blocks = MAX_PRODUCTS / (p->lanes * conv_taps(p, combination));
    return blocks > 1 ? blocks : 1;
}

void conv_half_begin(ConvNest *c, int pixels) {
    for (int v = 0; v < c->p->slots; v++)
        for (int i = 0; i < pixels; i++)
            kb_store(c->k, ACCESS_VECTOR, c->sums, sum_at(c, v, i), kb_const(c->k, 0, true));
}

void conv_half_add(ConvNest *c, int pixels) {
    for (int v = 0; v < c->p->slots; v += 2)
        for (int i = 0; i < pixels; i++) {
            Reg sum = conv_sum(c, v, i);
            kb_add_to(c->k, ACCESS_VECTOR, c->sums, sum_at(c, v, i), index_const(0), kb_op(c->k, KOP_HLOW, sum, NO_REG, NO_REG));
            kb_add_to(c->k, ACCESS_VECTOR, c->sums, sum_at(c, v + 1, i), index_const(0), kb_op(c->k, KOP_HHIGH, sum, NO_REG, NO_REG));
        }
}

Reg conv_half_result(const ConvNest *c, int slot, int pixel) {
    return kb_load(c->k, ACCESS_VECTOR, c->sums, sum_at(c, slot, pixel));
}

void lower_conv_half(Lower *l, const Group *g) {
    ConvPlan p = conv_plan(l, g);
    assert(p.form == CONV_TILED && p.slots % 2 == 0 && "a convolution of binary16 that fits no tile");
    int weights = pack_weights(l, g, &p);
    ConvNest c = { .k = lower_kernel(l, g, ""), .p = &p };
    c.x = kb_arg(c.k, "x", ELEM_F16, false, value_floats(p.x, p.width), arena_printf(l->arena, "%s, blocked", shape_text(l->arena, TYPE_F16, &p.x->shape)));
    c.w = kb_arg(c.k, "w", ELEM_F16, false, p.panels * p.panel_floats, "packed weights");
    c.k->buffers[c.x].store = c.k->buffers[c.w].store = STORE_F16;
    c.sums = kb_scratch(c.k, "sums", ELEM_F32, (int64_t)p.slots * MAX_TILE_PIXELS * p.width);
    conv_nest(l, g, &c);
    PlannedCall *call = conv_call(l, g, &c);
    call_arg_temp(call, weights);
    conv_outputs(call, g, &c);
}
