/* winograd.h - Winograd's minimal filtering for 3x3 windows: its matrices, and transforms on registers.
 *
 * F(m x m, 3x3) with n = m + 2 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016):
 *     Y = A^T ((G g G^T) .* (B^T d B)) A          a tile of m x m results from n x n of the operand
 *     dg = G^T ((B^T d B) .* (A dY A^T)) G        the gradient of the 3x3 weights, from the same tiles
 * Products are n^2 for m^2 results: 36 instead of 144 for m = 4, 16 instead of 36 for m = 2.
 *
 * Stride 2: along one dimension m results read 2 m + 1 elements. The even ones meet the outer taps, which is F(m, 2) with
 * m + 1 products; the odd ones meet the middle tap, which is m products. So n = 2 m + 1, in the same formulas: 81 products for 16
 * results with m = 4, 25 for 4 with m = 2. The gradient of the operand is such a pair of phases too: of 2 m results, every other
 * one is F(m, 2) of m + 1 elements, the rest one product each. */
#ifndef SALUN_KERNEL_WINOGRAD_H
#define SALUN_KERNEL_WINOGRAD_H

#include "kernel/kir.h"

enum { WINOGRAD_TAPS = 3, WINOGRAD_SIZE = 9 };   /* taps along a dimension; the largest n */

typedef struct { int rows, cols; double at[WINOGRAD_SIZE][WINOGRAD_SIZE]; } Transform;

typedef struct {
    int m, n, stride;
    int distinct;              /* points with weights of their own: the last row of G is that of all points from there on */
    int read_step;             /* elements of the operand from one tile to the next; results: result.rows */
    Transform data;            /* B^T: n x n; of an input gradient with stride 2 n x (m + 1) */
    Transform weights;         /* G: distinct x 3 */
    Transform result;          /* A^T: m x n; of an input gradient with stride 2 2 m x n */
    Transform gradient;        /* A: n x m */
    Transform back;            /* G^T: 3 x distinct */
} Winograd;

/* m is 2 or 4, the stride 1 or 2. */
Winograd winograd_make(int m, int stride);
/* For the input gradient of a convolution with stride 2, over weights turned around. is_odd: F(m, 2) gives a tile's odd
 * results, as it does where the padding is odd. */
Winograd winograd_make_input(int m, bool is_odd);

/* Loops over the slices of transformed weights, distinct^2, and over the points of one: with stride 1 a point is a slice. */
typedef struct { Index slice, row, col, rows, cols; } WinogradSlice;
WinogradSlice winograd_slices(Kernel *k, const Winograd *f);                       /* opens one loop */
Index winograd_points(Kernel *k, const Winograd *f, const WinogradSlice *s);       /* opens as many as winograd_point_loops */
int winograd_point_loops(const Winograd *f);

static inline const char *winograd_stride_text(const Winograd *f) { return f->stride == 2 ? ", stride 2" : ""; }    /* of F(m x m, 3x3), for readers */

/* out[0..rows) = t in[0..cols), vectors: emits the operations. Rows and columns that differ in signs only share work. */
void winograd_apply(Kernel *k, const Transform *t, const Reg *in, Reg *out);
/* Operations that this takes. */
int winograd_operations(const Transform *t);
#endif
