/* lower.h - from groups to kernels: what the schedules share.
 *
 * A schedule (conv.c, conv_weight.c, map.c, reduce.c, pool.c, move.c, random.c, pack.c) builds the loop nest of
 * one anchor. What stands behind the anchor, the group's MAPs, side sums and stores, is emitted by a Body:
 *     Body *b = body_new(l, k, g, slots);      declares the buffers of the group's inputs and outputs
 *     body_start(b);                           at the start of the task: invariant expressions, zeroed side sums
 *     body_channels(b, slot, block);           where the channel block of a slot is known: per-channel values
 *     body_point(b, slot, at, block, acc);     for each vector: maps, stores; acc is the anchor's value or NO_REG
 *     body_finish(b, ...);                     at the end of the task: partial side sums
 *     body_args(b, call); body_sums(b);        behind lower_call: the arguments, then the calls that add partials up
 * A slot is one channel block of a register tile. */
#ifndef SALUN_KERNEL_LOWER_H
#define SALUN_KERNEL_LOWER_H

#include "kernel/group.h"
#include "kernel/module.h"

typedef struct {
    Arena *arena;
    Module *module;
    const Target *target;
    MathMode math;
    Grouping *grouping;
    EntryId entry;
} Lower;

/* A kernel call before places are known: arguments are values or temporaries. */
typedef struct { Node *value; int temp; } ArgRef;            /* value != NULL, or temporary number */
typedef struct { Kernel *kernel; ArgRef *args; int arg_count; int64_t tasks, unit; double flops; const Group *group; Node *tap; int out; } PlannedCall;

/* A temporary of one call or from one call to a later one (packed weights, partial sums). Planned like a value;
 * `prepared`: lives in PREPARED and is made by entry prepare when lowering entry infer. */
int lower_temp(Lower *l, int64_t bytes, bool prepared, const char *what);
/* Appends a call to the entry being lowered, or to prepare when `prepare`. */
PlannedCall *lower_call(Lower *l, Kernel *k, bool prepare);
void call_arg_value(PlannedCall *c, Node *value);            /* in the order of the kernel's BUFFER_ARGs */
void call_arg_temp(PlannedCall *c, int temp);

typedef struct Body Body;
Body *body_new(Lower *l, Kernel *k, const Group *g, int slots);
void body_args(Body *b, PlannedCall *c);                     /* binds the buffers that body_new declared, in their order */
void body_start(Body *b);
void body_channels(Body *b, int slot, Index block);
void body_point(Body *b, int slot, const Index *at, Index block, Reg acc);
/* The task's side sums go to row `row` of panel `panel` (its slots are the channel blocks panel * slots + slot).
 * Every task has its own (panel, row): 0 <= panel < panels, 0 <= row < rows * (unit ? ceil(n / unit) : 1),
 * rows of one unit of images consecutive: row = unit number * rows + position. */
void body_finish(Body *b, Index panel, int64_t panels, Index row, int64_t rows, int64_t unit);
void body_sums(Body *b);                                     /* appends the calls that add up the partial side sums */
/* Whether the axes behind channel and batch may be walked as one: at[last] over their product, the others 0. */
bool body_flat(const Group *g);

/* schedules, one file each */
void lower_conv(Lower *l, const Group *g);                   /* CONV and CONV_INPUT */
void lower_conv_weight(Lower *l, const Group *g);
void lower_map(Lower *l, const Group *g);
void lower_reduce(Lower *l, const Group *g);
void lower_pool(Lower *l, const Group *g);
void lower_move(Lower *l, const Group *g);
void lower_random(Lower *l, const Group *g);

/* math.c: EXP, LOG, TANH, SIGMOID, ERF, SIN, COS, SOFTPLUS, POW as kernel operations on vectors (or scalars, as x is),
 * within 2 units in the last place (POW 4, exact for integer y small enough), the same bits from every back end.
 * y: POW only. */
Reg math_op(Kernel *k, ExprOp op, Reg x, Reg y);
#endif
