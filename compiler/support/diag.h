/* diag.h - errors, warnings, notes and helps: located, shown with the line and a caret, counted.
 * Stages report, go on where they can, and stop between stages when diag_errors(d) > 0. After
 * DIAG_MAX_ERRORS errors the rest is counted but not shown, and diag_full tells stages to give up.
 * A message that was already reported at the same place is neither shown nor counted again (networks
 * are elaborated several times over the same text). Notes and helps belong to the error or warning
 * before them and vanish with it. */
#ifndef SALUN_SUPPORT_DIAG_H
#define SALUN_SUPPORT_DIAG_H

#include "support/source.h"
#include "support/table.h"

#include <stdbool.h>
#include <stdio.h>

enum { DIAG_MAX_ERRORS = 20 };

typedef struct Diag {
    Arena *arena;
    FILE *out;              /* NULL: count only */
    Table *seen;
    int errors, warnings;
    bool silent;            /* the last error or warning was not shown */
    bool held;              /* messages wait in `waiting` */
    struct DiagMessage *waiting;
    int waiting_count, waiting_capacity;
} Diag;

Diag *diag_new(Arena *arena, FILE *out);

/* A located message with the line and a caret under at.begin, `~` to its end. Without a file in `at`
 * the message stands alone. */
void diag_error(Diag *d, Span at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_warning(Diag *d, Span at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void diag_note(Diag *d, Span at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Unlocated lines: `note: in block basic, called as layer2.0 at net.snet:19:11`, `help: ...`. */
void diag_trace(Diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void diag_help(Diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Between the two messages wait; diag_release shows them in order of their places. */
void diag_hold(Diag *d);
void diag_release(Diag *d);

static inline int diag_errors(const Diag *d) { return d->errors; }
static inline bool diag_full(const Diag *d) { return d->errors >= DIAG_MAX_ERRORS; }

/* Edits (insert, delete, replace, swap neighbours) that turn one name into the other. */
int edit_distance(const char *a, const char *b);

/* The candidate nearest to name, NULL when none is near enough to be meant. NULL candidates are skipped. */
const char *nearest(const char *name, const char *const *candidates, int count);
const char *nearest_key(const char *name, const Table *table);

/* help: did you mean `candidate`? - nothing when candidate is NULL. */
void diag_did_you_mean(Diag *d, const char *candidate);

#endif
