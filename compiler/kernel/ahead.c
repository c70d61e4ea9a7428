/* ahead.c - fetching weights before their turn. A processor's own prefetching stops at every page, and a panel that comes
 * from memory as fast as it is needed would hold up the first tile of every panel; spread over the tiles, it comes
 * beside the products. Weights that one tile alone reads come as fast either way. */
#include "kernel/conv.h"

enum { LINE_FLOATS = 16, MAX_USES = 32, LEVEL = 2 };

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
        kb_prefetch(k, w, index_plus(index_var(first), (int64_t)i * LINE_FLOATS), LEVEL);
}
