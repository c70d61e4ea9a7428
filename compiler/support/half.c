/* half.c - binary16 and bfloat16 in integers, whatever the processor has. */
#include "support/half.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

float bfloat_value(uint16_t bits) {
    return float_of((uint32_t)bits << 16);
}

uint16_t bfloat_bits(float x) {
    enum { QUIET = 0x40 };
    uint32_t u = bits_of(x);
    if (isnan(x))
        return (uint16_t)(u >> 16 | QUIET);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

float half_value(uint16_t bits) {
    enum { INFINITE = 0x7c00, NORMAL = 0x400 };
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, rest = bits & 0x7fff;
    if (rest < NORMAL)
        return float_of(sign | bits_of((float)rest * 0x1p-24f));
    if (rest < INFINITE)
        return float_of(sign | ((rest << 13) + (112u << 23)));
    return float_of(sign | 0x7f800000 | (rest & 0x3ff) << 13 | (rest > INFINITE ? 0x400000 : 0));
}

uint16_t half_bits(float x) {
    uint32_t u = bits_of(x), sign = u >> 16 & 0x8000, rest = u & 0x7fffffff;
    if (rest > 0x7f800000)                                   /* NaN */
        return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x3ff));
    if (rest >= 0x477ff000)                                  /* from 65520 on */
        return (uint16_t)(sign | 0x7c00);
    if (rest >= 0x38800000)                                  /* from 2^-14 on */
        return (uint16_t)(sign | ((rest - (112u << 23) + 0xfff + (rest >> 13 & 1)) >> 13));
    return (uint16_t)(sign | (bits_of(float_of(rest) + 0.5f) - bits_of(0.5f)));  /* 0.5 has the last place of a denormal, 2^-24 */
}

float half_fma(float x, float y, float z) {
    double product = (double)x * (double)y, sum = product + (double)z;
    if (!isfinite(sum))
        return half_value(half_bits((float)sum));
    /* Rounded to odd in double, then in float, so that the last rounding sees which side of a tie the sum is on. */
    double part = sum - product, error = (product - (sum - part)) + ((double)z - part);
    uint64_t u;
    memcpy(&u, &sum, sizeof u);
    if (error != 0 && !(u & 1)) {
        u += (error > 0) == (sum > 0) ? 1 : (uint64_t)-1;
        memcpy(&sum, &u, sizeof u);
    }
    float narrow = (float)sum;
    if ((double)narrow != sum) {
        uint32_t n = bits_of(narrow);
        bool away = fabs((double)narrow) > fabs(sum);
        narrow = float_of((away ? n - 1 : n) | 1);
    }
    return half_value(half_bits(narrow));
}
