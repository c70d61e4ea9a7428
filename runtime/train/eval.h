/* eval.h - accuracy and cross entropy of the deployed form of a network: prepare and infer, as a compiled
 * inference program runs them. */
#ifndef TRAIN_EVAL_H
#define TRAIN_EVAL_H

#include "loader.h"
#include "progress.h"

#include <signal.h>

typedef struct {
    int64_t count, correct;
    double loss_sum;                   /* cross entropies of count images */
} EvalResult;

/* The first of the greatest of classes values; -1 when one of them is NaN. */
int64_t eval_best_class(const float *logits, int64_t classes);
/* -log of the softmax of logits at label, in double and without libm. */
double eval_cross_entropy(const float *logits, int64_t classes, int32_t label);

/* Runs over all images of the loader, `total` of them. outputs: one array per output of the program, for its whole batch;
 * the first holds the logits. SALUN_INTERRUPTED as soon as *stop is set. */
int eval_run(SalunModel *m, Loader *loader, int64_t total, void *const *outputs, const volatile sig_atomic_t *stop,
             Progress *progress, EvalResult *result, SalunError *err);

#endif
