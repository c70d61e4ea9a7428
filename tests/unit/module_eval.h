/* module_eval.h - runs a whole module by the kernel evaluator: tables, block and entries in plain memory. */
#ifndef SALUN_TESTS_MODULE_EVAL_H
#define SALUN_TESTS_MODULE_EVAL_H

#include "kernel/kir_eval.h"
#include "kernel/module.h"

typedef struct {
    const Module *module;
    float *space[SPACE_COUNT];         /* inputs and outputs: set by the caller or allocated at full capacity */
    int64_t bytes[SPACE_COUNT];
    EvalRun run;
} ModuleEval;

ModuleEval *module_eval_new(Arena *a, const Module *m);
/* Runs an entry for n images; prints and fails the test at the first access out of bounds. */
void module_eval_run(ModuleEval *e, EntryId entry, int64_t n);
#endif
