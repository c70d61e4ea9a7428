/* random.h - counter-based random numbers (Philox4x32-10) and the functions that make distributions of them.
 *
 * Everything here is + - * / sqrt in double and integer arithmetic: the same bits on every machine and compiler.
 * Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#ifndef SALUN_RANDOM_H
#define SALUN_RANDOM_H

#include "salun.h"

void salun_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* FNV-1a of 64 bits: the stable hash that keys a tensor's random numbers by its name. */
uint64_t salun_hash(const char *name);

/* 53 random bits of two words: uniform in [0, 1). */
static inline double salun_uniform(uint32_t high, uint32_t low) {
    return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}
/* Standard normal from one block of Philox (Box-Muller). */
double salun_normal(const uint32_t block[4]);

/* Elementary functions without libm, within about 2 ulp in double. log: x positive and finite. cos_turn(u) = cos(2 pi u), u in [0, 1). */
double salun_log(double x);
double salun_exp(double x);
double salun_cos_turn(double u);

/* The initial value of one tensor (its count of floats, constrained values) by its rule, a function of seed and name. Elements
 * from begin to end only, so that parts can be computed by several threads; value is the tensor's first element. */
void salun_init_part(const SalunTensor *t, uint64_t seed, float *value, int64_t begin, int64_t end);

#endif
