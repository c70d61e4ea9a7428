/* checkpoint.h - all that training needs to go on to the very same bits: one file, there whole or not at all.
 *
 * File, little-endian: "SALUNCKP", version, size of the file, bytes of the identity text, bytes of the tables PARAMS,
 * STATES, RAW and SLOTS, the TrainPoint, the text filled up to 8 bytes, the four tables, a checksum of all before it.
 * Constrained parameters are held raw and constrained, both to the bit. The start of a training holds no tables: they are the initial
 * values of the identity's --seed. */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "base.h"

/* Where training stands. Eight-byte fields only: it is written as it lies in memory. */
typedef struct {
    int64_t step;                      /* optimizer steps done */
    int64_t epoch;                     /* epochs finished, evaluation and log line included */
    int64_t position;                  /* images of the running epoch that are done */
    int64_t correct, seen;             /* of this epoch's training images */
    double loss_sum;                   /* of the same, exact bits */
    double seconds;                    /* spent on steps and evaluation */
    int64_t epochs;                    /* in all */
    int64_t log_offset, batch_log_offset;                /* bytes of complete lines; -1: no such log */
    int64_t finished;                  /* training came to the end that was asked for */
} TrainPoint;

/* What must not change between a checkpoint and its continuation: lines of "name=value". Every line of the reader's identity
 * must be in the checkpoint; the checkpoint may have more. */
typedef struct { char text[1024]; size_t used; } Identity;
void identity_add(Identity *id, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The old file stays until the new one is complete. SALUN_NO_SPACE when writing fails, SALUN_BAD_INPUT when the file cannot be created. */
int checkpoint_write(const char *path, SalunModel *m, const Identity *id, const TrainPoint *at, SalunError *err);
/* The same for a model as salun_init and the identity's --seed made it, without its tables; fails where there is no room for them. */
int checkpoint_write_start(const char *path, SalunModel *m, const Identity *id, const TrainPoint *at, SalunError *err);
/* Where the checkpoint at path says that training stands; false: there is none that this program could read. Its content is not
 * checked. */
bool checkpoint_peek(const char *path, TrainPoint *at);
/* Fills the model's tables and *at. A file that is broken or of another identity is SALUN_BAD_INPUT and changes
 * neither; each difference is named with both values. */
int checkpoint_read(const char *path, SalunModel *m, const Identity *id, TrainPoint *at, SalunError *err);

#endif
