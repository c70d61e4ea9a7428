/* weight_rows.h - from sums to the plain weights [O, C, taps], and what stands behind them there.
 * The schedules of CONV_WEIGHT without groups hold sums with one output channel per lane; an output channel's weights lie side
 * by side. So W vectors are transposed to pieces of W rows, and a Body takes the pieces: it stores them as they are, or updates
 * the weights with them. */
#ifndef SALUN_KERNEL_WEIGHT_ROWS_H
#define SALUN_KERNEL_WEIGHT_ROWS_H

#include "kernel/lower.h"

typedef struct {
    Kernel *k;
    Body *body;                            /* of the group, one slot, started by weight_rows_start */
    int width;
    int64_t out_channels, row;             /* O; C times taps */
} WeightRows;

WeightRows weight_rows(Lower *l, Kernel *k, const Group *g);
/* Vectors at .. at + W of the rows of output block `out`, of which the first `count` exist (whole: all of them, always). */
void weight_rows_put(const WeightRows *r, Index out, Index at, Index count, bool whole, const Reg *vectors);
/* The same from memory, for all of [0, count): vector i at from + i step; they go to `at` and behind. The last W may reach beyond
 * count, in memory too. */
void weight_rows_copy(const WeightRows *r, int buffer, Index from, int64_t step, Index out, Index at, Index count, bool whole);
/* Binds the arguments behind those that the kernel has already. */
void weight_rows_args(const WeightRows *r, PlannedCall *c, const Group *g);
#endif
