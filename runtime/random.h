/* random.h - counter-based random numbers (Philox4x32-10) and the functions that make distributions of them.
 *
 * Everything here is + - * / sqrt in double and integer arithmetic: the same bits on every machine and compiler.
 * Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#ifndef SALUN_RANDOM_H
#define SALUN_RANDOM_H

#include "salun.h"

/* One block: 128 random bits of a counter and a key. Inline, so that a loop over blocks can be made of vectors. */
static inline __attribute__((always_inline)) void salun_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

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
