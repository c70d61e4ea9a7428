/* kir_eval.h - runs a kernel without a compiler: for tests and for looking into a kernel.
 * Slow and careful: every access is checked against the buffer that was given, scratch memory starts as
 * NaN, floats are rounded after each operation, fma is one rounding where the target has it. */
#ifndef SALUN_KERNEL_KIR_EVAL_H
#define SALUN_KERNEL_KIR_EVAL_H

#include "kernel/kir.h"

typedef struct { void *data; int64_t count; } EvalBuffer;    /* as the buffer's memory holds them (Buffer.store); count of them */

typedef struct {
    int64_t n;                             /* run-time batch */
    float step, lr, smoothing;
    uint32_t step_count, seed[2];
} EvalRun;

/* One task over the arguments in call order. False: an access out of bounds; `why` says which. */
bool kernel_eval(const Kernel *k, const EvalBuffer *args, const EvalRun *run, int64_t task, Writer *why);
#endif
