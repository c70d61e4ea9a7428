/* conv_strassen_plan.c - where Strassen's algorithm applies, its plan in terms of conv_winograd.h, and prices of its own. */
#include "kernel/conv_strassen.h"

static bool is_pointwise(const Window *w) {
    if (w->spatial == 0 || w->groups > 1 || w->channel_last)
        return false;
    for (int i = 0; i < w->spatial; i++)
        if (w->kernel[i] != 1 || w->stride[i] != 1 || w->pad_lo[i] != 0 || w->pad_hi[i] != 0)
            return false;
    return true;
}

bool strassen_applies(const Lower *l, const Group *g) {
    const Node *a = g->anchor;
    int64_t step = 2 * (int64_t)l->target->width;
    if (l->math == MATH_STRICT || !is_pointwise(&a->attr.window) || !a->shape.batched)
        return false;
    if (value_info(a->in[0])->layout != LAYOUT_BLOCKED || !group_is_blocked(g) || !body_flat(g))
        return false;
    return a->in[0]->shape.dim[1] % step == 0 && a->shape.dim[1] % step == 0;
}

WinogradPlan strassen_plan(const Lower *l, const Group *g) {
    const Node *a = g->anchor;
    WinogradPlan p = { .strassen = true, .points = STRASSEN_POINTS, .slices = STRASSEN_POINTS, .backward = a->op == OP_CONV_INPUT, .x = a->in[0], .w = a->in[1],
                       .y = g->anchor, .images = a->shape.dim[0], .in_channels = a->in[0]->shape.dim[1] / 2,
                       .out_channels = a->shape.dim[1] / 2, .image_pixels = 1, .width = l->target->width,
                       .lanes = l->target->width, .storage = lower_storage(l, pack_is_constant(a->in[1])) };
    for (int i = 0; i < a->attr.window.spatial; i++)
        p.image_pixels *= a->shape.dim[2 + i];
    p.image_tiles = ceil_div(p.image_pixels, 2);
    p.blocks = p.in_channels / p.width;
    p.inputs = (PanelInputs){ .out_channels = p.out_channels, .in_channels = p.in_channels, .unit = p.width,
                              .group_out = p.out_channels, .group_in = p.in_channels };
    return winograd_cheapest(l->target, p);
}

double strassen_pack_cost(const WinogradPlan *p) {
    enum { CYCLES = 12, BYTES_PER_CYCLE = 40 };
    double vectors = (double)(p->inputs.most * p->lanes) * (double)(p->panels * p->slots);
    return vectors * (double)p->points * (CYCLES + (double)p->width * 8 / BYTES_PER_CYCLE);
}

double strassen_flops(const WinogradPlan *p) {
    double part = (double)p->in_channels * (double)p->out_channels;
    return 2 * (double)p->images * (double)p->image_pixels * part * STRASSEN_PARTS;
}

void strassen_plan_print(Writer *out, const WinogradPlan *p) {
    writer_printf(out, "%s %lld->%lld: strassen, ", p->backward ? "conv.input" : "conv", 2 * (long long)p->in_channels,
                  2 * (long long)p->out_channels);
}
