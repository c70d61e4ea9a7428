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
 * A slot is one channel block of a register tile. A schedule calls body_point once for every vector of the space, in
 * exactly one task: side sums are right for that, and so a result may lie where an operand lies that only the body
 * reads. It is read before it is written, and by nobody else. */
#ifndef SALUN_KERNEL_LOWER_H
#define SALUN_KERNEL_LOWER_H

#include "kernel/group.h"
#include "kernel/module.h"

/* A kernel call before places are known: arguments are values or temporaries. */
typedef struct {
    Node *value; int temp;                                   /* value != NULL, or temporary number */
    bool point;                                              /* touched by a body alone, each element once (see body_args) */
} ArgRef;
typedef struct {
    Kernel *kernel;
    ArgRef *args; int arg_count, arg_cap;
    int64_t tasks, unit;                                     /* as in SalunCall */
    double flops;                                            /* of one task */
    const Group *group;
    Node *tap;                                               /* the value it completes, or NULL */
    int out;                                                 /* the argument that holds it, or -1 */
    bool prepare;
} PlannedCall;

typedef struct { int64_t bytes; bool prepared; const char *what; int life; MemPlace place; } Temp;

typedef struct {
    Arena *arena;
    Module *module;
    const Target *target;
    MathMode math;
    Grouping *grouping;
    EntryId entry;
    PlannedCall **calls; int call_count, call_cap;           /* in order; those of prepare among them */
    Temp *temps; int temp_count, temp_cap;
} Lower;

/* A temporary of one call or from one call to a later one (packed weights, partial sums). Planned like a value;
 * `prepared`: lives in PREPARED and is made by entry prepare when lowering entry infer. */
int lower_temp(Lower *l, int64_t bytes, bool prepared, const char *what);
/* How packed weights are kept in memory: as module->storage says where entry prepare makes them once. */
Store lower_storage(const Lower *l, bool prepared);
/* Appends a call to the entry being lowered, or to prepare when `prepare`. */
PlannedCall *lower_call(Lower *l, Kernel *k, bool prepare);
void call_arg_value(PlannedCall *c, Node *value);            /* in the order of the kernel's BUFFER_ARGs */
void call_arg_temp(PlannedCall *c, int temp);
void call_copies(PlannedCall *c, const Group *g, Node *y);   /* one task, for each image, fills y: the last argument, added here */

/* A kernel named after the group's taps, with a title for readers; suffix "" or "_weight" and the like. */
Kernel *lower_kernel(Lower *l, const Group *g, const char *suffix);
/* The whole of a task number: *image = task / per_image, the rest returned (tasks in units of one image);
 * without a batch *image is the constant 0 and the task number itself is returned. */
Index task_split(Kernel *k, bool batched, int64_t per_image, Index *image);

typedef struct Body Body;
Body *body_new(Lower *l, Kernel *k, const Group *g, int slots);
/* Binds the buffers that body_new declared, in their order. Full operands and results in the layout of the space are
 * marked as `point`: the plan may let one take the other's place. */
void body_args(Body *b, PlannedCall *c);
/* Bodies of a plain space without side sums, over anchors whose vectors are pieces of it anywhere: body_start, then body_piece
 * with elements first .. of the space in row-major order, of which the first `lanes` exist (whole: all W). Each element once. */
Body *body_new_pieces(Lower *l, Kernel *k, const Group *g);
void body_piece(Body *b, Index first, Index lanes, bool whole, Reg acc);
/* Fetches what body_piece will touch of elements [first, first + count). */
void body_prefetch(Body *b, Index first, int64_t count);
void body_start(Body *b);
void body_channels(Body *b, int slot, Index block);
void body_point(Body *b, int slot, const Index *at, Index block, Reg acc);
/* Slots one after the other in a loop, for less code, with the same bits: body_new_rolled, body_start, and in the loop body_slot,
 * body_points as slot 0, body_slot_end with the slot's channel block `part` of all panels and body_finish's row, rows and unit. */
Body *body_new_rolled(Lower *l, Kernel *k, const Group *g, int slots);
void body_slot(Body *b, Index block);
void body_slot_end(Body *b, Index part, Index row, int64_t rows, int64_t unit);
/* The task's side sums go to row `row` of panel `panel` (its slots are the channel blocks panel * slots + slot).
 * Every task has its own (panel, row): 0 <= panel < panels, 0 <= row < rows * (unit ? ceil(n / unit) : 1),
 * rows of one unit of images consecutive: row = unit number * rows + position. */
void body_finish(Body *b, Index panel, int64_t panels, Index row, int64_t rows, int64_t unit);
void body_sums(Body *b);                                     /* appends the calls that add up the partial side sums */
/* Whether the axes behind channel and batch may be walked as one: at[last] over their product, the others 0. */
bool body_flat(const Group *g);

/* transpose.c: the first `count` columns of the matrix whose rows are W vectors: lane r of columns[c] is lane c of rows[r]. */
enum { TRANSPOSE_WIDTH = 16, TRANSPOSE_STAGES = 5 };
void transpose(Kernel *k, const Reg *rows, int count, Reg *columns);

/* schedules, one file each */
void lower_conv(Lower *l, const Group *g);                   /* CONV and CONV_INPUT */
void lower_conv_int8(Lower *l, const Group *g);              /* CONV_INT8 */
void lower_conv_half(Lower *l, const Group *g);              /* CONV_HALF */
void lower_conv_weight(Lower *l, const Group *g);
void lower_product(Lower *l, const Group *g);                /* linear layers by the BLAS */
void lower_map(Lower *l, const Group *g);
void lower_reduce(Lower *l, const Group *g);
void lower_attention(Lower *l, const Group *g);
void lower_attention_gradients(Lower *l, const Group *g);
void lower_pool(Lower *l, const Group *g);
void lower_move(Lower *l, const Group *g);                   /* RESHAPE and TRANSPOSE */
void lower_part(Lower *l, const Group *g);                   /* SLICE, PAD, CONCAT */
void lower_random(Lower *l, const Group *g);

/* pieces.c: how many of `batch` images entry infer takes at a time, by module->piece; all where they depend on each other.
 * Reads l->grouping; piece_cut then changes the graph's capacity, which is fused anew. */
int64_t piece_choose(const Lower *l, const Graph *g, int64_t batch);
void piece_cut(Graph *g, int64_t piece);

/* plan.c: a place for every value and temporary of the entry being lowered, in one block by the calls that
 * read and write them; those of prepare stay for good. Sets module->block_bytes and prepared_bytes. */
void lower_plan(Lower *l);

/* math.c: EXP, LOG, TANH, SIGMOID, ERF, SIN, COS, SOFTPLUS, POW as kernel operations on vectors (or scalars, as x is),
 * the same bits from every back end. Errors in units in the last place: 2 (ERF, TANH, SOFTPLUS 3; SIN, COS absolute
 * 2^-23 to |x| = 10^4; POW 2 + |y log x|).
 * y: POW only. */
Reg math_op(Kernel *k, ExprOp op, Reg x, Reg y);
/* 2^x for x <= 0 to 2 units in the last place; x below -125 counts as -125. */
Reg math_exp2_nonpositive(Kernel *k, Reg x);
#endif
