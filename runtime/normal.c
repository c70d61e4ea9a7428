/* normal.c - many standard normal numbers at once: salun_normal element by element, to the last bit, in loops over lanes that
 * compilers make vectors of. The same text is compiled for several processors; the operations are IEEE's, so their bits agree. */
#include "random.h"

#include <math.h>
#include <string.h>

enum { LANES = 64 };

#define INLINE static inline __attribute__((always_inline))

/* 53 bits of two words as a number in [0, 1), by conversions of 32 bits, each exact. */
INLINE double uniform(uint32_t high, uint32_t low) {
    double upper = (double)(int32_t)(high ^ 0x80000000u) + 0x1p31;
    return (upper * 0x1p21 + (double)(int32_t)(low >> 11)) * 0x1p-53;
}

/* salun_uniform of the halves of LANES blocks, counted from begin on. */
INLINE void draw(uint64_t name, uint64_t seed, int64_t begin, double *u, double *v) {
    const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    for (int l = 0; l < LANES; l++) {
        uint64_t i = (uint64_t)begin + (uint64_t)l;
        const uint32_t counter[4] = { (uint32_t)i, (uint32_t)(i >> 32), (uint32_t)name, (uint32_t)(name >> 32) };
        uint32_t block[4];
        salun_philox(counter, key, block);
        u[l] = uniform(block[0], block[1]);
        v[l] = uniform(block[2], block[3]);
    }
}

INLINE uint64_t bits_of(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

INLINE double of_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* salun_log of a normal number; the exponent is made a number by its bits. */
INLINE double log_of(double x) {
    uint64_t bits = bits_of(x);
    double exponent = of_bits(bits >> 52 | 0x4330000000000000u) - (0x1p52 + 1023);
    double m = of_bits((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);
    double above = m > SALUN_SQRT2 ? 1.0 : 0.0;
    exponent += above;
    m *= 1 - 0.5 * above;
    double f = m - 1, s = f / (2 + f), z = s * s, sum = 0;
#pragma GCC unroll 10
    for (int k = 21; k >= 3; k -= 2)
        sum = (sum + 1.0 / k) * z;
    return exponent * SALUN_LN2_HIGH + (f - (s * (f - 2 * sum) - exponent * SALUN_LN2_LOW));
}

/* salun_cos_turn: sine and cosine are one polynomial of other divisors, but that the cosine's has a term more. */
INLINE double cos_of(double turn) {
    int32_t quarter = (int32_t)(turn * 4 + 0.5);
    double x = (turn - quarter * 0.25) * SALUN_TWO_PI, z = x * x;
    double odd = (double)(quarter & 1), sum = 1 - (1 - odd) * z / (19 * 20);
#pragma GCC unroll 9
    for (int i = 17; i >= 1; i -= 2)
        sum = 1 - sum * z / (i * (i + 1) + odd * (2 * i + 2));
    double sign = (double)(1 - ((quarter + 1) & 2));
    return sign * ((odd * x + (1 - odd)) * sum);
}

INLINE void normals(uint64_t name, uint64_t seed, int64_t begin, double *x) {
    double u[LANES], v[LANES];
    draw(name, seed, begin, u, v);
    for (int l = 0; l < LANES; l++)
        u[l] = sqrt(-2 * log_of(1 - u[l]));
    for (int l = 0; l < LANES; l++)
        x[l] = u[l] * cos_of(v[l]);
}

/* ---- for the processor at hand ---- */

typedef void Normals(uint64_t name, uint64_t seed, int64_t begin, double *x);

static void normals_any(uint64_t name, uint64_t seed, int64_t begin, double *x) {
    normals(name, seed, begin, x);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void normals_avx2(uint64_t name, uint64_t seed, int64_t begin, double *x) {
    normals(name, seed, begin, x);
}

__attribute__((target("avx2,avx512f,avx512dq,avx512vl"))) static void normals_avx512(uint64_t name, uint64_t seed, int64_t begin, double *x) {
    normals(name, seed, begin, x);
}

static Normals *best(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return normals_avx512;
    return __builtin_cpu_supports("avx2") ? normals_avx2 : normals_any;
}
#else
static Normals *best(void) {
    return normals_any;
}
#endif

void salun_normals(uint64_t name, uint64_t seed, int64_t begin, int64_t count, double *x) {
    Normals *compute = best();
    int64_t at = 0;
    for (; at + LANES <= count; at += LANES)
        compute(name, seed, begin + at, x + at);
    double rest[LANES];
    if (at < count) {
        compute(name, seed, begin + at, rest);
        memcpy(x + at, rest, (size_t)(count - at) * sizeof *x);
    }
}
