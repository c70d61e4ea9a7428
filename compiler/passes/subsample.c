/* subsample.c - a convolution with window 1 and a larger stride reads one pixel of many, and its weight gradient the same ones
 * again, far apart: both read a copy of these pixels instead, with stride 1. The copy is a maximum over windows of one pixel. Where
 * nothing asks for the gradient of the weights the convolution stays: one walk over scattered pixels costs less than a copy.
 * Values do not change, and sums keep their order.
 * needs: autodiff     keeps: shapes, topological order     spoils: use counts */
#include "passes/passes.h"

static bool reads_few_pixels(const Window *w) {
    bool skips = false;
    for (int i = 0; i < w->spatial; i++) {
        if (w->kernel[i] != 1 || w->pad_lo[i] != 0 || w->pad_hi[i] != 0)
            return false;
        skips |= w->stride[i] > 1;
    }
    return skips && !w->channel_last;
}

static bool same_strides(const Window *a, const Window *b) {
    for (int i = 0; i < a->spatial; i++)
        if (a->kernel[i] != b->kernel[i] || a->stride[i] != b->stride[i] || a->pad_lo[i] != b->pad_lo[i] || a->pad_hi[i] != b->pad_hi[i])
            return false;
    return a->spatial == b->spatial && !b->channel_last;
}

/* The pixels of n->in[0] that n, a weight gradient, reads. */
static Node *pixels_read(Graph *g, const Node *n) {
    Window window = n->attr.window;
    Shape shape = n->in[0]->shape;
    window.groups = 1;
    for (int i = 0; i < window.spatial; i++) {
        window.dilation[i] = 1;
        shape.dim[2 + i] = n->in[1]->shape.dim[2 + i];
    }
    return graph_pool(g, OP_MAXPOOL, (Node *[]){ n->in[0] }, &window, shape, n);
}

void graph_subsample(Graph *g) {
    bool any = false;
    for (Node *n = g->first, *last = g->last; n; n = n == last ? NULL : n->next) {
        Window window = n->attr.window;
        if (n->op != OP_CONV_WEIGHT || !reads_few_pixels(&window))
            continue;
        Node *x = n->in[0], *pixels = pixels_read(g, n);
        for (Node *r = g->first; r != pixels; r = r->next) {
            if ((r->op != OP_CONV && r->op != OP_CONV_WEIGHT) || r->in[0] != x || !same_strides(&window, &r->attr.window))
                continue;
            r->in[0] = pixels;
            for (int i = 0; i < window.spatial; i++)
                r->attr.window.stride[i] = 1;
        }
        any = true;
    }
    if (any)
        graph_sort(g);
}
