/* constraint.c - raw values to constrained ones and back. */
#include "constraint.h"

#include "random.h"

#include <math.h>
#include <stdio.h>

bool salun_constraint_holds(const SalunTensor *t, float value) {
    if (t->constraint == SALUN_FREE)
        return true;
    if (!isfinite(value))
        return false;
    switch ((SalunConstraint)t->constraint) {
    case SALUN_GREATER: return value > t->lo;
    case SALUN_AT_LEAST: return value >= (float)t->lo;
    case SALUN_BETWEEN: return value > t->lo && value < t->hi;
    default: return true;
    }
}

float salun_constraint_value(const SalunTensor *t, float raw) {
    switch ((SalunConstraint)t->constraint) {
    case SALUN_GREATER: return (float)(t->lo + salun_exp(raw));
    case SALUN_AT_LEAST: return (float)(t->lo + (double)raw * raw);
    case SALUN_BETWEEN: return (float)(t->lo + (t->hi - t->lo) / (1 + salun_exp(-(double)raw)));
    default: return raw;
    }
}

float salun_constraint_raw(const SalunTensor *t, float value) {
    double over = value - t->lo;
    switch ((SalunConstraint)t->constraint) {
    case SALUN_GREATER: return (float)salun_log(over);
    case SALUN_AT_LEAST: return over > 0 ? (float)sqrt(over) : 0;      /* lo rounded to a float may lie below lo */
    case SALUN_BETWEEN: return (float)salun_log(over / (t->hi - value));
    default: return value;
    }
}

const char *salun_constraint_text(const SalunTensor *t, char *text, size_t size) {
    switch ((SalunConstraint)t->constraint) {
    case SALUN_GREATER: snprintf(text, size, "> %g", t->lo); break;
    case SALUN_AT_LEAST: snprintf(text, size, ">= %g", t->lo); break;
    case SALUN_BETWEEN: snprintf(text, size, "in (%g, %g)", t->lo, t->hi); break;
    default: snprintf(text, size, "any number"); break;
    }
    return text;
}

void salun_constraint_invert(const SalunProgram *p, const float *params, float *raw) {
    for (int i = 0; i < p->tensor_count; i++) {
        const SalunTensor *t = &p->tensors[i];
        if (t->is_state || t->raw_offset < 0)
            continue;
        for (int64_t k = 0; k < t->count; k++)
            raw[t->raw_offset + k] = salun_constraint_raw(t, params[t->offset + k]);
    }
}
