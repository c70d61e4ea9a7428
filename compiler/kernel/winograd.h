/* winograd.h - Winograd's minimal filtering for 3x3 windows: its matrices, and transforms on registers.
 *
 * F(m x m, 3x3) with n = m + 2 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016):
 *     Y = A^T ((G g G^T) .* (B^T d B)) A          a tile of m x m results from n x n of the operand
 *     dg = G^T ((B^T d B) .* (A dY A^T)) G        the gradient of the 3x3 weights, from the same tiles
 * Products are n^2 for m^2 results: 36 instead of 144 for m = 4, 16 instead of 36 for m = 2. */
#ifndef SALUN_KERNEL_WINOGRAD_H
#define SALUN_KERNEL_WINOGRAD_H

#include "kernel/kir.h"

enum { WINOGRAD_TAPS = 3, WINOGRAD_SIZE = 6 };   /* taps along a dimension; the largest n */

typedef struct { int rows, cols; double at[WINOGRAD_SIZE][WINOGRAD_SIZE]; } Transform;

typedef struct {
    int m, n;
    Transform data;            /* B^T: n x n */
    Transform weights;         /* G: n x 3 */
    Transform result;          /* A^T: m x n */
    Transform gradient;        /* A: n x m */
    Transform back;            /* G^T: 3 x n */
} Winograd;

/* m is 2 or 4. */
Winograd winograd_make(int m);

/* out[0..rows) = t in[0..cols), vectors: emits the operations. Rows and columns that differ in signs only share work. */
void winograd_apply(Kernel *k, const Transform *t, const Reg *in, Reg *out);
/* Operations that this takes. */
int winograd_operations(const Transform *t);
#endif
