/* augment.h - random changes of training images, and the order in which an epoch takes them.
 * Random numbers are counter-based: each is a function of seed, epoch and the image's index in the data set,
 * so that nothing depends on threads, on the batch or on where training was resumed. */
#ifndef TRAIN_AUGMENT_H
#define TRAIN_AUGMENT_H

#include "salun.h"

/* Applies the steps to one planar uint8 image [channels, height, width]. Two buffers of its size: the image lies in
 * a, b is spare; returns the one that holds the result.
 *   pad_crop(p)  p zero pixels on every side, then a crop of the old size at one of (2 p + 1)^2 places
 *   flip(q)      mirrored left to right with probability q */
uint8_t *augment_image(const SalunAugment *steps, int count, uint64_t seed, int64_t epoch, int64_t index, const int64_t dim[3],
                       uint8_t *a, uint8_t *b);

/* order[count]: a permutation of 0 .. count - 1, a function of seed and epoch alone (Fisher and Yates). */
void augment_order(int64_t *order, int64_t count, uint64_t seed, int64_t epoch);

#endif
