/* interp_internal.h - what the interpreter's own files share. */
#ifndef SALUN_INTERP_INTERNAL_H
#define SALUN_INTERP_INTERNAL_H

#include "interp/interp.h"

typedef struct { double *data; int64_t count; } Values;

struct Interp {
    const Program *program;
    bool use_double, keep;
    size_t limit, used;                   /* bytes */
    char error[256], broken[256];         /* of the last call; of interp_new, for good */
    void *table[TABLE_COUNT];             /* REAL */
    int64_t table_size[TABLE_COUNT];
    Values *inputs;   int input_count;
    Values *outputs;  int output_count;
    double scalar[SCALAR_COUNT];
    uint64_t seed, step;
    int64_t n;                            /* of the run */
    void **value; int64_t *value_count;   /* by node id: REAL, NULL when not there */
    int id_count;
};

/* A window as three spatial dimensions: missing ones in front have size and kernel 1. */
typedef struct {
    int64_t images, channels, out_channels, groups;
    int64_t in[MAX_SPATIAL], out[MAX_SPATIAL];
    int64_t kernel[MAX_SPATIAL], stride[MAX_SPATIAL], dilation[MAX_SPATIAL], pad[MAX_SPATIAL];
    int64_t in_count, out_count, kernel_count;   /* products of in, out, kernel */
} Geometry;

/* image [images, channels, in...], result [images, out_channels, out...], of which n images count. */
Geometry window_geometry(const Window *w, const Shape *image, const Shape *result, int64_t n);

/* The shape at run time: a batched axis 0 has size n. */
Shape run_shape(const Shape *s, int64_t n);

/* Counting through a shape in row-major order, with offsets into a tensor of the given strides. */
typedef struct { int rank; int64_t dim[MAX_RANK], at[MAX_RANK], stride[MAX_RANK], offset; } Walk;
Walk walk_over(const Shape *s);
/* Strides of a row-major tensor; 0 where its dimension is 1 or it has rank 0. */
void walk_broadcast(Walk *w, const Shape *tensor);
static inline void walk_next(Walk *w) {
    for (int a = w->rank - 1; a >= 0; a--) {
        w->offset += w->stride[a];
        if (++w->at[a] < w->dim[a])
            return;
        w->offset -= w->at[a] * w->stride[a];
        w->at[a] = 0;
    }
}

bool interp_fail(Interp *it, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Zeroed memory within the limit; NULL with an error set. Given back with its size. */
void *interp_alloc(Interp *it, int64_t count, size_t size);
void interp_free(Interp *it, void *p, int64_t count, size_t size);

/* Computes node n into result (allocated, zeroed); its inputs' values are there. */
bool evaluate_f32(Interp *it, const Node *n, void *result);
bool evaluate_f64(Interp *it, const Node *n, void *result);
#endif
