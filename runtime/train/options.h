/* options.h - the command line of a training program. */
#ifndef TRAIN_OPTIONS_H
#define TRAIN_OPTIONS_H

#include "salun.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct {
    const char *data, *val_data;       /* NULL: the recipe's data; no evaluation data of their own */
    const char *save;                  /* NULL only with --eval-only or --dump-gradients */
    const char *weights, *weights_allow;
    const char *log, *batch_log, *checkpoint, *dump_gradients;     /* log, checkpoint: beside save by default */
    int64_t epochs;                    /* 0: not given */
    int64_t steps;                     /* 0: not given */
    int64_t batch;
    int64_t threads;                   /* 0: as many as processors */
    uint64_t seed;
    double checkpoint_every;           /* seconds */
    double lr, smoothing;
    bool resume, overwrite, no_augment, no_shuffle, eval_only, time, help;
    char save_beside[2][4096];         /* where the default names of log and checkpoint lie */
} Options;

/* Fills o from the recipe's defaults and the arguments. 0, or SALUN_BAD_INPUT with the option named. */
int options_parse(Options *o, const SalunProgram *p, int argc, char **argv, SalunError *err);

/* The text of --help. */
void options_help(FILE *out, const SalunProgram *p, const char *argv0);

#endif
