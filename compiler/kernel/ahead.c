/* ahead.c - fetching operands before their turn. A processor's own prefetching stops at every page, and a panel that comes
 * from memory as fast as it is needed would hold up the first tile of every panel; spread over the tiles, it comes
 * beside the products. Weights that one tile alone reads come as fast either way. */
#include "kernel/conv.h"

enum { LINE_FLOATS = 16, MAX_USES = 32, WEIGHTS_LEVEL = 2, DATA_LEVEL = 1 };

Ahead ahead_plan(const Target *t, int64_t floats, int64_t tiles, int64_t uses, int64_t lanes, int unroll) {
    Ahead a = { .lines = 0, .unroll = unroll };
    if (tiles == 1 || uses > MAX_USES || lanes <= 0 || floats * 4 > t->l2 / 4)
        return a;
    a.share = ceil_div(floats, tiles);
    a.lines = (int)ceil_div(ceil_div(a.share, LINE_FLOATS), ceil_div(lanes, unroll));
    return a;
}

void ahead_fetch(Kernel *k, Ahead a, int w, Index at, Index lane) {
    if (!a.lines)
        return;
    at = index_add(at, index_scale(lane, (int64_t)a.lines * LINE_FLOATS / a.unroll));
    int first = kb_index(k, "ahead", INDEX_AFFINE, at, index_const(0));
    for (int i = 0; i < a.lines; i++)
        kb_prefetch(k, w, index_plus(index_var(first), (int64_t)i * LINE_FLOATS), WEIGHTS_LEVEL);
}

/* ---- the data operand ---- */

static bool has_neighbours(const Window *w) {
    for (int i = 0; i < w->spatial; i++)
        if (w->kernel[i] > 1)
            return true;
    return false;
}

/* The phase that reads the operand; the others are zeros. */
static const TapPhase *reading_phase(const TapDim *d) {
    for (int i = 0; i < d->phases; i++)
        if (d->phase[i].taps)
            return &d->phase[i];
    return NULL;
}

DataAhead ahead_data_plan(const Target *t, const ConvPlan *p) {
    DataAhead a = { .lines = 0, .unroll = p->unroll };
    bool blocked = value_info(p->x)->layout == LAYOUT_BLOCKED;
    if (p->form != CONV_TILED || !blocked || p->int8 || p->half || p->narrow || p->plain || has_neighbours(p->window) || p->images * p->x_image * 4 <= t->l2)
        return a;
    const TapPhase *f = reading_phase(&p->dim[p->dims - 1]);
    if (!f)
        return a;
    int64_t pixel = f->si * p->x_pixel, pixels = ceil_div(f->count, ceil_div(f->count, p->pixels));
    a.step = pixel > LINE_FLOATS ? pixel : LINE_FLOATS;
    a.lines = (int)ceil_div(ceil_div(pixels * pixel, a.step), ceil_div(p->lanes, p->unroll));
    a.distance = f->si == 1 || p->dims == 1 ? pixels * pixel : f->si * p->x_dim[p->dims - 2];
    return a;
}

void ahead_fetch_data(const ConvNest *c, Index x, Index lane) {
    DataAhead a = c->p->data_ahead;
    if (!a.lines)
        return;
    x = index_add(index_plus(x, a.distance), index_scale(lane, a.lines * a.step / a.unroll - c->p->x_lane));
    int first = kb_index(c->k, "later", INDEX_AFFINE, x, index_const(0));
    for (int i = 0; i < a.lines; i++)
        kb_prefetch(c->k, c->x, index_plus(index_var(first), i * a.step), DATA_LEVEL);
}
