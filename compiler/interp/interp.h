/* interp.h - the plain interpreter: the meaning of every operator and the oracle of every test.
 *
 * An Interp holds one program's tables, inputs and run-time scalars. All numbers cross this interface
 * as double, whatever the arithmetic inside (float or double): a conversion that loses nothing on the
 * way out. Tensors are plain row-major arrays (images NCHW). Errors: a function that can fail
 * returns false or NULL and interp_error says why; nothing is allocated beyond the limit.
 *
 * Run-time batch n, 1 to the capacity: batched tensors consist of their first n along axis 0, SCALAR
 * batch is n, SUM over axis 0 and CONV_WEIGHT add up n.
 *
 * Random numbers. RANDOM is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2,
 * 3", 2011). Element e, the row-major index in the node's logical tensor (the batch is the outermost
 * axis, so e depends on neither n nor capacity), is lane e % 4 of the block with
 *   key     = (seed low 32 bits, seed high 32 bits)
 *   counter = (b low 32 bits, b high 32 bits, step low 32 bits, stream),   b = e / 4
 * and a 32-bit result u becomes (u >> 8) * 2^-24, in [0, 1). Kernels follow the same layout. */
#ifndef SALUN_INTERP_INTERP_H
#define SALUN_INTERP_INTERP_H

#include "graph/graph.h"

typedef struct Interp Interp;

/* A fresh interpreter: tables zeroed, of the sizes that program->table_size has now. limit: bytes of
 * tables, inputs and values together, 0 for 8 GiB. NULL only when the system has no memory at all;
 * tables beyond the limit make interp_error non-NULL and every run fail. */
Interp *interp_new(const Program *p, bool use_double, size_t limit);
void interp_destroy(Interp *it);
const char *interp_error(const Interp *it);          /* of the last call that failed; NULL: none */

/* A parameter's (constrained) value in table PARAMS or a state's in STATES, shape_count elements. */
bool interp_set_tensor(Interp *it, const TensorDecl *t, const double *values);
bool interp_get_tensor(Interp *it, const TensorDecl *t, double *values);
/* What the last run stored in table GRADS for a parameter. */
bool interp_get_gradient(Interp *it, const TensorDecl *t, double *values);
/* A range of any table: offset and count in elements. */
bool interp_set_table(Interp *it, TableId table, int64_t offset, const double *values, int64_t count);
bool interp_get_table(Interp *it, TableId table, int64_t offset, double *values, int64_t count);

/* Input number `index` of the graphs to be run, copied; count: elements in all, those of the first n images. */
bool interp_set_input(Interp *it, int index, const void *data, DType type, int64_t count);
bool interp_set_input_double(Interp *it, int index, const double *data, int64_t count);
void interp_set_step(Interp *it, uint64_t step);
void interp_set_lr(Interp *it, double lr);
void interp_set_seed(Interp *it, uint64_t seed);
void interp_set_smoothing(Interp *it, double smoothing);    /* the recipe's at first */

/* Evaluates g for n images, then applies its effects. */
bool interp_run(Interp *it, const Graph *g, int64_t n);

/* Output i of the last run, *count elements; lives until the next run. NULL beyond the last. */
const double *interp_output(const Interp *it, int i, int64_t *count);

/* Asks that runs keep every node's value (and evaluate even unused nodes), for looking at taps. */
void interp_keep(Interp *it, bool keep);
/* Element e of a node's value in the last run, which must have kept it. */
double interp_value(const Interp *it, const Node *n, int64_t e);

void interp_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t result[4]);
#endif
