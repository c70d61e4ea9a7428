/* evaluate_f64.c - the operators in double. */
#define REAL double
#define MATH(name) name
#define EVALUATE evaluate_f64
#include "interp/evaluate.inc"
