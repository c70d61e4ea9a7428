/* evaluate_f32.c - the operators in float. */
#define REAL float
#define MATH(name) name##f
#define EVALUATE evaluate_f32
#include "interp/evaluate.inc"
