/* model.h - the inside of a model, for the parts of the runtime and for its tools (profile, training). */
#ifndef SALUN_MODEL_H
#define SALUN_MODEL_H

#include "base.h"

/* ---- threads.c: a pool whose workers spin before they sleep ---- */

typedef struct SalunPool SalunPool;
typedef void SalunTask(void *arg, int thread, int64_t task);

/* threads: with the caller's; 0: as many as processors. flush: workers flush denormals to zero. NULL on failure. */
SalunPool *salun_pool_create(int threads, bool flush, SalunError *err);
void salun_pool_destroy(SalunPool *pool);
int salun_pool_threads(const SalunPool *pool);
/* Runs tasks 0 to tasks - 1 on the pool and the caller (thread 0), in any order, each once; returns when all are done.
 * From one thread at a time. Which thread runs a task changes from run to run: tasks must not depend on it. */
void salun_pool_run(SalunPool *pool, SalunTask *task, void *arg, int64_t tasks);

/* The floating-point control of the calling thread: default rounding, denormals flushed or not. Returns what to restore. */
uint64_t salun_float_mode(bool flush);
void salun_float_restore(uint64_t saved);

/* ---- model.c, run.c ---- */

/* An argument that the caller gives anew for every run. */
typedef struct { int64_t slot; int32_t port; int64_t offset; } SalunFixup;

/* One entry point, its places resolved. */
typedef struct {
    const SalunEntry *entry;
    void **args;                             /* of all calls, one after the other */
    int64_t *first;                          /* of each call, into args */
    SalunFixup *inputs, *outputs;
    int64_t input_count, output_count;
} SalunBound;

enum { SALUN_BOUND_PREPARE, SALUN_BOUND_INFER, SALUN_BOUND_STEP, SALUN_BOUND_UPDATE, SALUN_BOUND_TRAIN, SALUN_BOUND_FINISH,
       SALUN_BOUNDS };

struct SalunModel {
    const SalunProgram *program;
    SalunPool *pool;
    void *region[SALUN_INPUT];               /* by space, below the caller's */
    size_t region_bytes[SALUN_INPUT];
    void *scratch;
    size_t scratch_bytes;
    SalunRun *runs;                          /* one per thread */
    SalunBound bound[SALUN_BOUNDS];
    bool flush, prepared;
    bool infer_only;                         /* set before loading: nobody asks for the tables (weights.c) */
    bool lean;                               /* the tables hold only what infer itself reads, PREPARED is up to date */
    const char *prepared_file;               /* what infer reads instead of the tables, NULL: the tables (prepared.c) */
    SalunMap prepared_map; void *prepared_copy;      /* where it is, when it is the model's own */
    SalunProbe *probe; void *probe_arg;
    double *call_seconds[SALUN_BOUNDS];      /* of the next runs' calls, where not NULL */
};

/* Times every call of an entry (SALUN_BOUND_) into seconds[its count], each time it runs, while set; NULL: no longer. */
void salun_set_profile(SalunModel *m, int bound, double *seconds);
/* salun_train_step that asks before the first parameter changes, when outputs[0] holds a finite loss: not 0 ends the step with it. */
typedef int SalunGate(void *arg, SalunError *err);
int salun_train_gated(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, float lr, SalunGate *gate, void *arg,
                      SalunError *err);
/* PREPARED is out of date: what wrote PARAMS or STATES says so. */
void salun_touch(SalunModel *m);

#endif
