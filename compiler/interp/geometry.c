/* geometry.c - run-time shapes, windows as three spatial dimensions, walking in row-major order. */
#include "interp/interp_internal.h"

Shape run_shape(const Shape *s, int64_t n) {
    Shape r = *s;
    if (r.batched)
        r.dim[0] = n;
    return r;
}

Geometry window_geometry(const Window *w, const Shape *image, const Shape *result, int64_t n) {
    int channel = window_channel(w);
    Geometry g = { .channels = image->dim[channel], .out_channels = result->dim[channel], .groups = w->groups,
                   .images = run_shape(image, n).dim[0], .in_count = 1, .out_count = 1, .kernel_count = 1 };
    for (int i = 0; i < MAX_SPATIAL; i++) {
        int from = i - (MAX_SPATIAL - w->spatial);
        g.in[i] = from < 0 ? 1 : window_sizes(w, image)[from];
        g.out[i] = from < 0 ? 1 : window_sizes(w, result)[from];
        g.kernel[i] = from < 0 ? 1 : w->kernel[from];
        g.stride[i] = from < 0 ? 1 : w->stride[from];
        g.dilation[i] = from < 0 ? 1 : w->dilation[from];
        g.pad[i] = from < 0 ? 0 : w->pad_lo[from];
        g.in_count *= g.in[i];
        g.out_count *= g.out[i];
        g.kernel_count *= g.kernel[i];
    }
    return g;
}

Walk walk_over(const Shape *s) {
    Walk w = { .rank = s->rank };
    for (int i = 0; i < s->rank; i++)
        w.dim[i] = s->dim[i];
    return w;
}

void walk_broadcast(Walk *w, const Shape *tensor) {
    int64_t step = 1;
    for (int a = tensor->rank - 1; a >= 0; a--) {
        w->stride[a] = tensor->dim[a] == 1 ? 0 : step;
        step *= tensor->dim[a];
    }
}
