/* weight_winograd.h - the gradient of the weights of a 3x3 convolution with stride 1 or 2 by Winograd's algorithm:
 * dg = G^T (sum over tiles of (B^T d B) .* (A dY A^T)) G, the tiles being those of the forward pass.
 *
 * A task is (unit of images, group of output blocks, group of input blocks). It takes its images' tiles in chunks:
 * transforms those of x and of dy into scratch, and adds n^2 products of matrices, [input channels x tiles] by [tiles x
 * output channels], to sums in scratch. Then it transforms the sums back. With several units every task leaves its part of
 * dg behind, and another call adds them up in order.
 *
 *     V [n^2][tile of the chunk][input block][W]    Z [n^2][tile][output block][W]    S [distinct^2][input channel][output block][W] */
#ifndef SALUN_KERNEL_WEIGHT_WINOGRAD_H
#define SALUN_KERNEL_WEIGHT_WINOGRAD_H

#include "kernel/weight_rows.h"
#include "kernel/winograd_tiles.h"

enum { WEIGHT_SLOTS = 4, WEIGHT_LANES = 8 };

typedef struct {
    Winograd f;
    int points, slices, width;             /* n^2, distinct^2; W */
    Node *x, *dy, *dw;
    TileGrid grid;
    int64_t image_tiles, images;
    int64_t in_channels, out_channels, in_blocks, out_blocks, lanes;   /* lanes of an input block */
    int slots, together;                   /* register tile: output blocks by input channels */
    int64_t in_group, out_group;           /* blocks of a task */
    int64_t chunk, unit, units;            /* tiles; images of a task; units at capacity */
    double cost;                           /* cycles of one processor for the whole batch */
} WeightPlan;

bool weight_winograd_applies(const Lower *l, const Group *g);
WeightPlan weight_winograd_plan(const Lower *l, const Group *g, int m);    /* the cheapest for this m */

/* conv_choose.c */
typedef struct { ConvAlgorithm algorithm; WeightPlan plan; const char *why; } WeightChoice;
WeightChoice weight_choose(const Lower *l, const Group *g, double direct_cost);

void lower_weight_winograd(Lower *l, const Group *g, const WeightPlan *p, const char *why);
#endif
