/* progress.h - what training shows on stderr: a bar on a terminal, plain lines now and then elsewhere. */
#ifndef TRAIN_PROGRESS_H
#define TRAIN_PROGRESS_H

#include "base.h"

#include <stdio.h>

typedef struct {
    FILE *out;
    bool terminal, drawn;
    double last;                       /* when something was shown */
} Progress;

typedef struct {
    const char *label;                 /* "epoch 3/10", "evaluating" */
    int64_t done, total;               /* images */
    double loss, accuracy;             /* accuracy in [0, 1]; both NAN: not shown */
    double images_per_second, seconds_left;              /* seconds_left below 0: not shown */
} ProgressState;

void progress_begin(Progress *p, FILE *out);
/* Shows the state at most ten times a second on a terminal, within one line of it, and every ten seconds elsewhere. */
void progress_show(Progress *p, const ProgressState *state);
/* A line that stays. */
void progress_line(Progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Removes the bar. */
void progress_clear(Progress *p);

#endif
