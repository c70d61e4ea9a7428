/* schedule.h - learning-rate factors of a recipe. */
#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include "salun.h"

/* The factor for the optimizer step `step` (from 0) when an epoch has steps_per_epoch steps and training
 * `epochs` epochs; 1 for an empty schedule. Each part goes on from the factor where the one before it
 * ended, the last one to the end of training:
 *   const    the same factor
 *   warmup   from 0 to it, linearly: 1/K, 2/K, ... 1 over its K steps, so that no step is without effect
 *   cosine   to + (from - to) (1 + cos(pi t)) / 2     t = k/K for k = 0 .. K - 1
 *   linear   from + (to - from) t
 *   step     from * gamma^(number of epochs of at[] that have begun), counted from the start of training
 * The same bits on every machine: no library function is used. */
double schedule_factor(const SalunRecipe *recipe, int64_t step, int64_t steps_per_epoch, int64_t epochs);

#endif
