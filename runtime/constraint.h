/* constraint.h - parameters that are kept in range by reparametrization: value = f(raw).
 *
 *   > lo         value = lo + exp(raw)
 *   >= lo        value = lo + raw^2
 *   in (lo, hi)  value = lo + (hi - lo) / (1 + exp(-raw))
 * Computed in double and rounded once. */
#ifndef SALUN_CONSTRAINT_H
#define SALUN_CONSTRAINT_H

#include "salun.h"

#include <stdbool.h>

/* Whether value satisfies t's constraint; NaN and infinities never do, except in a free tensor. */
bool salun_constraint_holds(const SalunTensor *t, float value);
float salun_constraint_value(const SalunTensor *t, float raw);
/* The inverse, for a value that satisfies the constraint. */
float salun_constraint_raw(const SalunTensor *t, float value);
/* "> 0", ">= 0", "in (0, 1)" into text; returns text. */
const char *salun_constraint_text(const SalunTensor *t, char *text, size_t size);

/* RAW of every constrained parameter from PARAMS. */
void salun_constraint_invert(const SalunProgram *p, const float *params, float *raw);

#endif
