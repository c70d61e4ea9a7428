/* loop.h - the training of one program on one data set. */
#ifndef TRAIN_LOOP_H
#define TRAIN_LOOP_H

#include "checkpoint.h"
#include "eval.h"
#include "lock.h"
#include "log.h"
#include "options.h"

#include <signal.h>

typedef struct {
    const SalunProgram *program;
    const Options *options;
    const volatile sig_atomic_t *stop; /* set by a signal */
    DataSet data, val;
    const Images *eval_images;         /* count 0: no evaluation */
    SalunModel *model;
    bool seeded;                       /* before the first step all values are those of --seed */
    Loader *loader, *eval_loader;
    Progress progress;
    Log log, batch_log;
    Lock locks[2];
    Identity identity;

    int64_t epochs, steps_per_epoch, total_steps;
    TrainPoint at;
    int64_t checkpoint_step, saved_step;                 /* the steps that checkpoint and weights on disk stand at, -1: none */
    double checkpoint_time, started, begun_seconds;      /* clock; at.seconds at `started` */
    double reported;                   /* clock: of the last trainer_report */
    double evaluation_seconds, all_evaluation_seconds;   /* of the last evaluation; of all since `started` */
    int64_t images_here;               /* trained since `started` */

    float loss;
    void *outputs[1 + SALUN_SPACES - SALUN_OUTPUT];      /* of step: the loss, then the outputs */
    float *states_before;              /* copy of STATES, to run a step again */
} Trainer;

/* Opens data, model, loaders; initial or given weights. An exit code. */
int trainer_open(Trainer *t, const SalunProgram *p, const Options *o, const volatile sig_atomic_t *stop, SalunError *err);
void trainer_close(Trainer *t);

/* Trains to the end, to --steps or to a signal, and leaves weights, checkpoint and logs. */
int trainer_run(Trainer *t, SalunError *err);
/* Prints accuracy and cross entropy of the weights on stdout. */
int trainer_evaluate(Trainer *t, SalunError *err);

/* ---- setup.c ---- */

/* The state before the first step, new logs with their header line; or the checkpoint's state, and the logs cut to it. */
int trainer_begin(Trainer *t, SalunError *err);
int trainer_resume(Trainer *t, SalunError *err);
/* With --time: what this stage took, the time since the last report. */
void trainer_report(Trainer *t, const char *stage);

/* ---- diagnose.c ---- */

/* After a step of this batch whose loss is not finite: what it was, and the first tap that is not finite, found by running
 * the step again from the same parameters and states. Fills err, returns SALUN_FAIL. */
int trainer_diagnose(Trainer *t, const Batch *batch, SalunError *err);
/* SALUN_FAIL when a parameter or state is not finite, with its name. */
int trainer_check_finite(Trainer *t, SalunError *err);
/* Forward and backward over the batch, into t->loss and t->outputs. */
int trainer_step(Trainer *t, const Batch *batch, SalunError *err);
/* STATES as they were before the last step. */
void trainer_restore_states(Trainer *t);

#endif
