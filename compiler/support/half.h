/* half.h - floats of 16 bits as integers: IEEE binary16 (5 bits of exponent, 11 of precision) and bfloat16 (the upper half of a
 * float32: 8 and 8). Widening is exact. Narrowing rounds to nearest with ties to even, overflows to infinity, and keeps
 * denormals and NaN: a NaN becomes quiet and keeps its sign and leading bits (a compiler may leave out both conversions where a
 * value is widened and narrowed at once, and then a signalling one stays so). */
#ifndef SALUN_SUPPORT_HALF_H
#define SALUN_SUPPORT_HALF_H

#include <stdint.h>

float half_value(uint16_t bits);
uint16_t half_bits(float x);
float bfloat_value(uint16_t bits);
uint16_t bfloat_bits(float x);
/* x y + z rounded once to binary16; x, y, z are values of binary16. */
float half_fma(float x, float y, float z);
#endif
