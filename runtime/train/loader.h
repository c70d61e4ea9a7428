/* loader.h - batches of a data set, made ready by a thread that runs one batch ahead of the step. */
#ifndef TRAIN_LOADER_H
#define TRAIN_LOADER_H

#include "data.h"

typedef struct {
    const Images *images;
    const SalunProgram *program;       /* its first input and preprocessing */
    int64_t batch;
    bool shuffle;
    const SalunAugment *augment; int augment_count;      /* of uint8 images; 0: none */
    uint64_t seed;
} LoaderPlan;

typedef struct {
    int64_t n;                         /* images; less than the plan's batch at the end of an epoch */
    int64_t epoch, position;           /* position: of its first image in the epoch's order */
    const float *input;                /* n images of the program's first input */
    const int32_t *labels;
    const int64_t *index;              /* of each image in the data set */
} Batch;

typedef struct Loader Loader;

/* Allocates everything; checks the images against the input: SALUN_BAD_INPUT with both shapes when they do not fit.
 * NULL on failure. The plan's images must outlive the loader. */
Loader *loader_create(const LoaderPlan *plan, SalunError *err);
void loader_destroy(Loader *l);         /* NULL: nothing happens */

/* Begins at image `position` of epoch `epoch`, to the end of epoch `epochs` - 1. A loader that runs is stopped first. */
int loader_start(Loader *l, int64_t epoch, int64_t position, int64_t epochs, SalunError *err);
/* Waits for the next batch, valid until the next call; NULL after the last. */
const Batch *loader_next(Loader *l);
void loader_stop(Loader *l);

#endif
