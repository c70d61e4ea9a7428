/* constraint.c - reparametrizations that keep a parameter in its range: value = c(raw), raw any number.
 * The optimizer, its decay and its clipping see raw. The runtime has a twin of the two functions. */
#include "passes/passes.h"

#include <assert.h>
#include <float.h>
#include <math.h>

double constraint_value(const Constraint *c, double raw) {
    switch (c->kind) {
    case CONSTRAINT_GREATER: return c->lo + exp(raw);
    case CONSTRAINT_AT_LEAST: return c->lo + raw * raw;
    case CONSTRAINT_BETWEEN: return c->lo + (c->hi - c->lo) / (1 + exp(-raw));
    default: return raw;
    }
}

double constraint_raw(const Constraint *c, double value) {
    switch (c->kind) {
    case CONSTRAINT_GREATER: return log(value - c->lo);
    case CONSTRAINT_AT_LEAST: return sqrt(fmax(value - c->lo, 0));      /* lo rounded to a float may lie below lo */
    case CONSTRAINT_BETWEEN: return log((value - c->lo) / (c->hi - value));
    default: return value;
    }
}

const Expr *constraint_expr(ExprPool *p, const Constraint *c, const Expr *raw) {
    const Expr *grown = raw;
    if (c->kind == CONSTRAINT_NONE)
        return raw;
    if (c->kind == CONSTRAINT_GREATER)
        grown = expr_make(p, EXPR_EXP, raw, NULL, NULL);
    else if (c->kind == CONSTRAINT_AT_LEAST)
        grown = expr_make(p, EXPR_MUL, raw, raw, NULL);
    else
        grown = expr_make(p, EXPR_MUL, expr_const(p, c->hi - c->lo), expr_make(p, EXPR_SIGMOID, raw, NULL, NULL), NULL);
    return expr_make(p, EXPR_ADD, expr_const(p, c->lo), grown, NULL);
}

const Expr *constraint_rounded(ExprPool *p, const Constraint *c, const Expr *value) {
    if (c->kind == CONSTRAINT_GREATER || c->kind == CONSTRAINT_BETWEEN) {
        float least = c->lo == 0 ? FLT_MIN : nextafterf((float)c->lo, INFINITY);
        value = expr_make(p, EXPR_MAX, expr_const(p, least), value, NULL);
    }
    if (c->kind == CONSTRAINT_BETWEEN)
        value = expr_make(p, EXPR_MIN, expr_const(p, nextafterf((float)c->hi, -INFINITY)), value, NULL);
    return value;
}
