/* tuning.h - which of several ways to compute a convolution was the fastest, as timed on a machine (salunc --tune).
 *
 * A problem is all that its speed depends on, as one line of words, its key: entry, batch, operation, shapes, window, and how
 * much is fused behind it. A section holds the answers for one target and one arithmetic; who finds an answer there takes it,
 * so that a program depends on the file and never on the machine that compiles it. The file:
 *
 *     target avx512 fast, 2 threads: AMD EPYC 9R14
 *     infer n1 conv 64x56x56 to 64x56x56 window 3x3 pad 1,1,1,1 body 9 2 1 0 = winograd4 (direct 1210.5, winograd4 640.2 us)
 *
 * Sections and their rows are sorted. Lines that are empty or begin with # mean nothing. Times are microseconds of one such
 * convolution with its packing of weights in every step and all that is fused; they are for readers, the word behind = decides. */
#ifndef SALUN_KERNEL_TUNING_H
#define SALUN_KERNEL_TUNING_H

#include "kernel/lower.h"
#include "support/diag.h"
#include "support/table.h"

typedef struct {
    const char *key;
    Span span;                         /* its line, or no file */
    ConvAlgorithm choice;              /* never AUTO */
    double time[CONV_ALGORITHMS];      /* microseconds; 0: not timed */
} TuningRow;

struct TuningSection {
    Span span;                         /* its line, or no file */
    const char *target;
    MathMode math;
    int threads;                       /* that the times were taken with */
    const char *processor;             /* that they were taken on */
    Table *rows;                       /* key -> TuningRow */
};

typedef struct { Arena *arena; TuningSection **sections; int count, cap; } Tuning;

Tuning *tuning_new(Arena *arena);
/* Adds what a file holds; errors are reported where they are. */
void tuning_read(Tuning *t, const SourceFile *source, Diag *d);
/* The whole file, sorted. */
void tuning_print(Writer *out, Tuning *t);

/* NULL: there is none. */
TuningSection *tuning_section(const Tuning *t, const char *target, MathMode math);
TuningSection *tuning_add_section(Tuning *t, const char *target, MathMode math, int threads, const char *processor);
const TuningRow *tuning_find(const TuningSection *s, const char *key);
void tuning_add(TuningSection *s, TuningRow row);

/* The key of the convolution that anchors g. */
const char *tuning_key(const Lower *l, const Group *g);

#endif
