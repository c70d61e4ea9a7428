/* pieces.c - a large batch of inference goes through the whole network in pieces: how many images each.
 *
 * What one call writes the next one reads. With all images of a large batch that comes from memory; with few of them it is still in
 * a cache, and the memory for values shrinks with them. But weights are read again for every piece, and every call begins once more.
 * Shapes and the target decide by price. Nothing of one image may depend on others: where the graph sums over the batch, asks how
 * many images there are, numbers them or draws random values, the batch stays whole. */
#include "kernel/lower.h"

/* ---- whether ---- */

static bool numbers_images(Arena *a, const Node *n) {
    int count;
    if (n->op != OP_MAP || !n->shape.batched)
        return false;
    const Expr **e = expr_nodes(a, n->attr.expr, &count);
    for (int i = 0; i < count; i++)
        if (e[i]->op == EXPR_COORD && e[i]->index == 0)
            return true;
    return false;
}

static bool mixes_images(Arena *a, const Node *n) {
    if (n->op == OP_RANDOM || (n->op == OP_SCALAR && n->attr.scalar == SCALAR_BATCH))
        return true;
    for (int i = 0; i < n->arity; i++)
        if (n->in[i]->shape.batched && !n->shape.batched)
            return true;
    return numbers_images(a, n);
}

static bool can_be_cut(const Graph *g) {
    bool can = g->effect_count == 0;
    for (int i = 0; i < g->input_count && can; i++)
        can = g->inputs[i].node->shape.batched;
    for (int i = 0; i < g->output_count && can; i++)
        can = g->outputs[i].node->shape.batched;
    for (const Node *n = g->first; n && can; n = n->next)
        can = !mixes_images(g->arena, n);
    return can;
}

/* ---- the price ---- */

enum { CALL_CYCLES = 10000, SHARES_OF_L2 = 8 };   /* of the last cache, as far as it is ours: SHARES_OF_L2 of level 2 */

/* Of the next cache and of memory, while other processors use them too. */
static const double far_bytes = 32, memory_bytes = 8, streamed_bytes = 32;   /* in a cycle; streamed: fetched ahead */

/* Which part of `bytes`, used in turns, a cache of `size` does not hold. */
static double missing(double bytes, double size) {
    return bytes > size ? 1 - size / bytes : 0;
}

/* Times as many as the weights are the transformed ones of Winograd's algorithm: 36 for 9. */
static double packed_factor(const Lower *l, const Node *anchor) {
    const Window *w = anchor && anchor->op == OP_CONV ? &anchor->attr.window : NULL;
    bool square = w && w->spatial == 2 && w->kernel[0] == 3 && w->kernel[1] == 3 && w->stride[0] == 1 && w->stride[1] == 1;
    return square && l->math == MATH_FAST && l->module->conv != CONV_DIRECT ? 4 : 1;
}

typedef struct { double image, weights; } Traffic;   /* bytes of one image's values, and of what all images read */

static Traffic group_traffic(const Lower *l, const Group *g) {
    Traffic t = { 0, 0 };
    double factor = packed_factor(l, g->anchor);
    for (int i = 0; i < g->input_count + g->output_count; i++) {
        const Node *x = i < g->input_count ? g->inputs[i] : g->outputs[i - g->input_count];
        double bytes = (double)value_size(x, l->target->width);
        if (x->shape.batched)
            t.image += bytes / (double)x->shape.dim[0];
        else
            t.weights += bytes * factor;
    }
    return t;
}

/* Cycles of one image beyond its arithmetic when `piece` images are taken at a time. */
static double price(const Lower *l, int64_t piece) {
    double values = 0, weights = 0, calls = 0, images = (double)piece, near = (double)l->target->l2, far = SHARES_OF_L2 * near;
    for (int i = 0; i < l->grouping->count; i++) {
        const Group *g = l->grouping->groups[i];
        if (g->prepare)
            continue;
        Traffic t = group_traffic(l, g);
        values += t.image * (missing(images * t.image, near) / far_bytes + missing(images * t.image, far) / memory_bytes);
        weights += t.weights;
        calls++;
    }
    double rate = weights > far ? streamed_bytes : 2 * streamed_bytes;
    return values + (weights / rate + calls * CALL_CYCLES) / images;
}

int64_t piece_choose(const Lower *l, const Graph *g, int64_t batch) {
    int64_t best = batch, asked = l->module->piece;
    if (asked == 0 || batch <= 1 || !can_be_cut(g))
        return batch;
    if (asked != PIECE_AUTO)
        return asked < batch ? asked : batch;
    double least = price(l, batch);
    for (int64_t piece = 1; piece < batch; piece *= 2) {
        double cost = price(l, piece);
        if (cost < least) {
            least = cost;
            best = piece;
        }
    }
    return best;
}

void piece_cut(Graph *g, int64_t piece) {
    for (Node *n = g->first; n; n = n->next)
        if (n->shape.batched)
            n->shape.dim[0] = piece;
}
