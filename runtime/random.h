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
/* Those of elements begin to begin + count - 1 of the tensor whose hash is `name`: the bits of salun_normal of their blocks. */
void salun_normals(uint64_t name, uint64_t seed, int64_t begin, int64_t count, double *x);

#define SALUN_LN2_HIGH 0x1.62e42fefa38p-1    /* 43 bits of log 2, so that its small multiples are exact */
#define SALUN_LN2_LOW 0x1.ef35793c7673p-45
#define SALUN_SQRT2 0x1.6a09e667f3bcdp0
#define SALUN_TWO_PI 0x1.921fb54442d18p2

/* Elementary functions without libm, within about 2 ulp in double. log: x positive and finite. cos_turn(u) = cos(2 pi u), u in [0, 1). */
double salun_log(double x);
double salun_exp(double x);
double salun_cos_turn(double u);

/* The initial value of one tensor (its count of floats, constrained values) by its rule, a function of seed and name. Elements
 * from begin to end only, so that parts can be computed by several threads; value is the tensor's first element. */
void salun_init_part(const SalunTensor *t, uint64_t seed, float *value, int64_t begin, int64_t end);

#endif
