/* train_fixture.h - a training program without the compiler: softmax regression with a running mean of the input,
 * its kernels in plain C; and a small data set to train it on. */
#ifndef TRAIN_FIXTURE_H
#define TRAIN_FIXTURE_H

#include "salun.h"

enum { FIXTURE_SIDE = 6, FIXTURE_PIXELS = FIXTURE_SIDE * FIXTURE_SIDE, FIXTURE_CLASSES = 4, FIXTURE_BATCH = 16 };

/* Input image f32[1, 6, 6], labels, logits f32[4]; parameters weight, bias and a scale > 0; state mean; momentum.
 * Recipe: pad_crop(1), flip, warm-up then cosine, 3 epochs, seed 7. */
extern const SalunProgram fixture_program;

/* Writes MNIST-formed files of `train` and `test` images of 6 x 6 in 4 classes into the folder dir. 0, or -1. */
int fixture_write_data(const char *dir, int train, int test);
/* Writes bytes to dir/name; 0, or -1. */
int fixture_write_file(const char *dir, const char *name, const void *bytes, size_t count);

#endif
