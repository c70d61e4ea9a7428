/* passes.h - from the elaborated program to the graphs that kernels are made of.
 * A pass rewrites a program in place; the table in pipeline.c holds their order. */
#ifndef SALUN_PASSES_PASSES_H
#define SALUN_PASSES_PASSES_H

#include "graph/graph.h"

typedef struct {
    int level;                    /* -O: 0 only what is needed, 1 everything */
    int limit;                    /* --pass-limit: only the first `limit` rows of the table may run, -1 all; rows of level 0 always run */
    bool verify;                  /* check every graph after every pass; a broken one aborts naming the pass */
    bool time;                    /* --time: milliseconds and nodes after each pass, to out */
    const char *const *dump;      /* --dump=PASS: print the graphs after these, to out; "all" after each */
    int dump_count;
    FILE *out;                    /* NULL: stderr */
} PassOptions;

/* Runs the table over all graphs of the program that exist. The network has no mistakes by now. */
void passes_run(Program *p, const PassOptions *o);

void passes_list(FILE *out);                  /* --list-passes */
bool passes_known(const char *name);          /* a row of the table, or "all" */

/* ---- the passes; each may be run alone ---- */

/* tables.c: every tensor's offset and raw_offset, by its group and constraint, and table_size. */
void pass_tables(Program *p);

/* autodiff.c: reverse mode from outputs[0] of `step`, the loss: gradients of all trained parameters become
 * EFFECT_GRADIENT, in order of the tensor table. No gradient is computed that no parameter needs. */
void pass_autodiff(Program *p);

void graph_subsample(Graph *g);               /* subsample.c: a convolution that reads one pixel of many, and its weight gradient, read a copy */

/* optimizer.c: graph `update` from the recipe; only for a program with `step`. Needs tables. */
void pass_optimizer(Program *p);

/* train.c: graphs `train` and `finish` from `step` and the recipe: the same values as step and then update, bit for bit, without
 * gradients that are kept. Needs tables. */
void pass_train(Program *p);

void graph_narrow(Graph *g);                  /* narrow.c: a node of which only one slice is read is computed for it alone */
void graph_fold(Graph *g);                    /* fold.c: simpler expressions, nodes of constant inputs evaluated, moves that move nothing gone */
void graph_cse(Graph *g);                     /* cse.c: equal nodes become one */
void graph_dce(Graph *g);                     /* dce.c: nodes that no output and no effect needs go; inputs stay */

/* quantize.c: with program->half, convolutions of `infer` in float16; with program->int8, convolutions of `infer` whose input is bounded, by its formula or by what calibration saw,
 * read bytes. Fills program->precision. Needs tables for calibration. */
void pass_quantize(Program *p);

/* recompute.c: in `step`, forward values that are cheap to compute again are not kept for the backward pass; how far that
 * goes says p->recompute. Bits stay. */
void pass_recompute(Program *p);
int recompute_efforts(void);                  /* p->recompute is from 0, cheapest, to below this */

/* ---- forward.c: replacing many nodes in one walk, by way of Node.note ---- */
void forward_start(Graph *g);
void forward_inputs(Node *n);                 /* n reads what its inputs were replaced with */
void forward_to(Node *n, Node *with);         /* from here on every reader of n reads `with` */
void forward_finish(Graph *g);                /* outputs and effects follow, notes are void */

/* ---- tables.c: what the optimizer treats alike lies together ---- */

/* A run of trained parameters with equal group and constraint, contiguous in PARAMS, GRADS and each block of
 * SLOTS, and in RAW when constrained. Padding between parameters is zero in PARAMS and GRADS and stays so. */
typedef struct {
    int64_t offset, raw_offset;   /* raw_offset -1: not constrained */
    int64_t count;                /* floats, padding included */
    int64_t used, stride;         /* constrained: each parameter has `used` elements in `stride` floats */
    ParamGroup group;
    Constraint constraint;
} ParamRun;

/* The runs of a program that has its tables, in order of offset; frozen parameters are in none. */
ParamRun *param_runs(Program *p, int *count);

int64_t param_stride(const TensorDecl *t);    /* its floats in a table, padding included */

/* The same of one trained parameter, its elements alone. */
ParamRun param_run(const TensorDecl *t);
/* optimizer.c: adds the update of a run by `gradient` (dL/dc, one row or of any shape without a batch; NULL: as it lies in table GRADS).
 * The norm of all gradients, recipe.clip_norm, is the caller's business. */
void update_by(Graph *g, const ParamRun *run, Node *gradient);

/* ---- constraints (language.md, section 4): value = c(raw) ----
 *   > lo         lo + exp(raw)
 *   >= lo        lo + raw^2
 *   in (lo, hi)  lo + (hi - lo) sigmoid(raw) */
double constraint_value(const Constraint *c, double raw);
double constraint_raw(const Constraint *c, double value);             /* its inverse; for `>= lo` the root that is not negative */
const Expr *constraint_expr(ExprPool *p, const Constraint *c, const Expr *raw);   /* c(raw) */
/* A value that float32 rounded onto an open end of its range, moved to the nearest float inside; NaN stays. */
const Expr *constraint_rounded(ExprPool *p, const Constraint *c, const Expr *value);
#endif
