/* conv_points.c - a convolution pixel by pixel: any window, stride, dilation and padding in little code.
 * The taps that read inside of the operand are found at run time; sums run in the same order as in tiles. */
#include "kernel/conv.h"

static Index zero(void) { return index_const(0); }

/* Opens, for each dimension, a loop over its taps and the tests that the tap exists and reads inside.
 * Returns the operand's offset. `opened` counts what is to be closed. */
static Index open_taps(ConvNest *c, const Index *at, Index *tap, int *opened) {
    const ConvPlan *p = c->p;
    const Window *win = p->window;
    Index x = zero();
    for (int i = 0; i < p->dims; i++) {
        int64_t s = win->stride[i], pad = win->pad_lo[i], dil = win->dilation[i];
        tap[i] = index_var(kb_loop(c->k, "tap", zero(), index_const(win->kernel[i]), 1));
        Index in;
        *opened += 1;
        if (p->backward) {
            /* made non-negative by a multiple of s: both rest and quotient are then those of the mathematicians */
            int64_t lift = (win->kernel[i] * dil / s + 1) * s;
            Index sum = index_plus(index_add(at[p->axis + i], index_scale(tap[i], -dil)), pad + lift);
            if (s > 1) {
                Index rest = index_var(kb_index(c->k, "rest", INDEX_MOD, sum, index_const(s)));
                kb_if(c->k, rest, index_const(1));
                *opened += 1;
                sum = index_var(kb_index(c->k, "high", INDEX_DIV, sum, index_const(s)));
            }
            in = index_plus(sum, -lift / s);
        } else {
            in = index_plus(index_add(index_scale(at[p->axis + i], s), index_scale(tap[i], dil)), -pad);
        }
        kb_if(c->k, index_const(-1), in);
        kb_if(c->k, in, index_const(p->dim[i].in));
        *opened += 2;
        x = index_add(x, index_scale(in, p->x_dim[i]));
    }
    return x;
}

static void sum_point(ConvNest *c, const Index *at) {
    const ConvPlan *p = c->p;
    int64_t step = (int64_t)p->slots * p->width, taps = conv_taps(p, 0);
    Index tap[MAX_SPATIAL];
    int opened = 1;
    Index block = index_var(kb_loop(c->k, "block", zero(), c->inputs.count, 1));
    Index x = open_taps(c, at, tap, &opened);
    x = index_add(x, index_add(index_scale(c->image, p->x_image), index_scale(index_add(c->inputs.first, block), p->x_unit)));
    Index w = index_scale(block, taps);
    for (int i = 0, inner = (int)taps; i < p->dims; i++) {
        inner /= (int)p->window->kernel[i];
        w = index_add(w, index_scale(tap[i], inner));
    }
    w = index_add(index_scale(w, p->lanes * step), c->w_panel);
    x = index_var(kb_index(c->k, "xi", INDEX_AFFINE, x, zero()));
    w = index_var(kb_index(c->k, "wi", INDEX_AFFINE, w, zero()));
    if (p->narrow) {
        conv_narrow(c, 1, 1, 0, x, w);
        while (opened--)
            kb_end(c->k);
        return;
    }
    Index lane = index_var(kb_loop(c->k, "lane", zero(), index_const(p->lanes), 1));
    Reg data = kb_load(c->k, ACCESS_SPLAT, c->x, index_add(x, index_scale(lane, p->x_lane)));
    for (int v = 0; v < p->slots; v++) {
        Reg weight = kb_load(c->k, ACCESS_VECTOR, c->w, index_plus(index_add(w, index_scale(lane, step)), (int64_t)v * p->width));
        Reg acc = c->acc[v * MAX_TILE_PIXELS];
        kb_set(c->k, acc, KOP_FMA, data, weight, acc);
    }
    for (kb_end(c->k); opened; opened--)
        kb_end(c->k);
}

void conv_points(ConvNest *c, Index row_begin, Index row_end) {
    const ConvPlan *p = c->p;
    Index at[MAX_RANK], element = zero();
    for (int i = 0; i < MAX_RANK; i++)
        at[i] = zero();
    at[0] = c->image;
    for (int i = 0; i < p->dims; i++) {
        Index begin = zero(), end = index_const(p->dim[i].out);
        if (i == 0 && p->parts > 1) {
            begin = row_begin;
            end = index_var(kb_index(c->k, "rows", INDEX_MIN, row_end, end));
        }
        at[p->axis + i] = index_var(kb_loop(c->k, i == p->dims - 1 ? "col" : "row", begin, end, 1));
        element = index_add(index_scale(element, p->dim[i].out), at[p->axis + i]);
    }
    conv_zero(c, 1);
    sum_point(c, at);
    for (int v = 0; v < p->slots; v++) {
        Reg sum = c->acc[v * MAX_TILE_PIXELS];
        if (p->plain)
            kb_store_lanes(c->k, ACCESS_MASKED, c->stage, element, index_const(1), 1, sum);
        else
            body_point(c->body, v, at, conv_block(c, v), sum);
    }
    for (int i = 0; i < p->dims; i++)
        kb_end(c->k);
}
