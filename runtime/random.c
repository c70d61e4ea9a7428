/* random.c - our own elementary functions, and the initial values of tensors. */
#include "random.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 256 };

uint64_t salun_hash(const char *name) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        hash = (hash ^ *c) * 0x100000001b3u;
    return hash;
}

/* ---- elementary functions ---- */

static double scale_two(double x, int exponent) {          /* x 2^exponent for a normal result */
    uint64_t bits = (uint64_t)(1023 + exponent) << 52;
    double two;
    memcpy(&two, &bits, sizeof two);
    return x * two;
}

/* log(2^e m) = e log 2 + 2 atanh(s), s = (m - 1)/(m + 1), m in [sqrt 1/2, sqrt 2) */
double salun_log(double x) {
    int exponent = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        exponent = -54;
    }
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    exponent += (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > SALUN_SQRT2) {
        m *= 0.5;
        exponent++;
    }
    double f = m - 1, s = f / (2 + f), z = s * s, sum = 0;
    for (int k = 21; k >= 3; k -= 2)
        sum = (sum + 1.0 / k) * z;
    /* 2 atanh(s) = f - s (f - 2 sum): the leading term is exact */
    return exponent * SALUN_LN2_HIGH + (f - (s * (f - 2 * sum) - exponent * SALUN_LN2_LOW));
}

/* exp(x) = 2^k exp(r), |r| <= log(2)/2, by its Taylor polynomial of degree 14 */
double salun_exp(double x) {
    if (x != x)
        return x;
    if (x > 709.78)
        return INFINITY;
    if (x < -745.2)
        return 0;
    double k = floor(x * 0x1.71547652b82fep0 + 0.5), sum = 1;
    double r = (x - k * SALUN_LN2_HIGH) - k * SALUN_LN2_LOW;
    for (int i = 14; i >= 2; i--)
        sum = 1 + sum * r / i;
    int half = (int)k / 2;
    return scale_two(scale_two(1 + sum * r, half), (int)k - half);
}

/* sin and cos of x, |x| <= pi/4, by their Taylor polynomials */
static double small_sin(double x) {
    double z = x * x, sum = 1;
    for (int i = 18; i >= 2; i -= 2)
        sum = 1 - sum * z / (i * (i + 1));
    return x * sum;
}

static double small_cos(double x) {
    double z = x * x, sum = 1;
    for (int i = 19; i >= 1; i -= 2)
        sum = 1 - sum * z / (i * (i + 1));
    return sum;
}

double salun_cos_turn(double u) {
    int quarter = (int)(u * 4 + 0.5);
    double x = (u - quarter * 0.25) * SALUN_TWO_PI;
    switch (quarter & 3) {
    case 0: return small_cos(x);
    case 1: return -small_sin(x);
    case 2: return -small_cos(x);
    default: return small_sin(x);
    }
}

double salun_normal(const uint32_t block[4]) {
    double u = 1 - salun_uniform(block[0], block[1]);                  /* (0, 1] */
    return sqrt(-2 * salun_log(u)) * salun_cos_turn(salun_uniform(block[2], block[3]));
}

/* ---- initial values ---- */

/* The block of element i, tried for the attempt-th time. */
static void block_of(uint64_t name, uint64_t seed, int64_t i, uint32_t attempt, uint32_t block[4]) {
    uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    uint32_t counter[4] = { (uint32_t)i, (uint32_t)(i >> 32) | attempt << 16, (uint32_t)name, (uint32_t)(name >> 32) };
    salun_philox(counter, key, block);
}

/* Element i, whose first attempt gave x. */
static double truncated(uint64_t name, uint64_t seed, int64_t i, double x) {
    uint32_t block[4];
    for (uint32_t attempt = 1; !(x >= -2 && x <= 2); attempt++) {
        block_of(name, seed, i, attempt, block);
        x = salun_normal(block);
    }
    return x;
}

static void init_normal(const SalunTensor *t, uint64_t seed, float *value, int64_t begin, int64_t end) {
    uint64_t name = salun_hash(t->name);
    double x[CHUNK];
    for (int64_t at = begin; at < end; at += CHUNK) {
        int64_t count = end - at < CHUNK ? end - at : CHUNK;
        salun_normals(name, seed, at, count, x);
        for (int64_t i = 0; i < count; i++)
            value[at + i] = (float)(t->init_a * (t->init == SALUN_INIT_NORMAL ? x[i] : truncated(name, seed, at + i, x[i])));
    }
}

static void init_uniform(const SalunTensor *t, uint64_t seed, float *value, int64_t begin, int64_t end) {
    uint64_t name = salun_hash(t->name);
    uint32_t block[4];
    for (int64_t i = begin; i < end; i++) {
        block_of(name, seed, i, 0, block);
        value[i] = (float)(t->init_a + (t->init_b - t->init_a) * salun_uniform(block[0], block[1]));
    }
}

void salun_init_part(const SalunTensor *t, uint64_t seed, float *value, int64_t begin, int64_t end) {
    switch ((SalunInit)t->init) {
    case SALUN_INIT_ZEROS:
    case SALUN_INIT_CONST:
        for (int64_t i = begin; i < end; i++)
            value[i] = t->init == SALUN_INIT_CONST ? (float)t->init_a : 0;
        break;
    case SALUN_INIT_NORMAL:
    case SALUN_INIT_TRUNC_NORMAL:
        init_normal(t, seed, value, begin, end);
        break;
    case SALUN_INIT_UNIFORM:
        init_uniform(t, seed, value, begin, end);
        break;
    }
}
