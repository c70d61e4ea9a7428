/* product.c - products taken apart into powers of factors and put together again in canonical order.
 * Used to recognise forms whatever way they are spelled; an expression is rebuilt from its factors only
 * where such a form was found, so that elsewhere the user's own association stays. */
#include "graph/simple.h"

#include <math.h>

enum { MAX_PENDING = 2 * MAX_FACTORS, MAX_EXPONENT = 16 };

bool product_push(Product *into, const Expr *base, int twice) {
    for (int i = 0; i < into->count; i++) {
        if (into->f[i].base != base)
            continue;
        into->f[i].twice += twice;
        if (into->f[i].twice == 0)
            into->f[i] = into->f[--into->count];
        return true;
    }
    if (into->count == MAX_FACTORS)
        return false;
    into->f[into->count++] = (Factor){ base, twice };
    return true;
}

static bool scale_by(Product *into, double value, int twice) {
    if (twice % 2 != 0 && value < 0)
        return false;
    double power = pow(value, twice / 2.0);
    if (!isfinite(power) || power == 0)
        return false;
    into->scale *= power;
    return true;
}

bool product_times(Product *into, const Product *factor, int twice) {
    if (!scale_by(into, factor->scale, twice))
        return false;
    for (int i = 0; i < factor->count; i++) {
        int exponent = factor->f[i].twice * twice;
        if (exponent % 2 != 0 || !product_push(into, factor->f[i].base, exponent / 2))
            return false;
    }
    return true;
}

typedef struct { const Expr *e; int twice; } Pending;

static bool half_power(const Expr *e, int *twice) {
    if (e->op != EXPR_CONST || fabs(e->value) > MAX_EXPONENT || e->value * 2 != floor(e->value * 2))
        return false;
    *twice = (int)(e->value * 2);
    return true;
}

/* Splits e^(twice/2) into what `todo` takes; false: e is a factor of its own. A root stays over its whole
 * argument, since sqrt(x y) is sqrt(x) sqrt(y) only where neither is negative. */
static bool split(const Expr *e, int twice, Pending *todo, int *count) {
    Saturating s;
    int power;
    if (saturating_core(e, &s))
        return false;
    switch (e->op) {
    case EXPR_MUL:
    case EXPR_DIV:
        if (twice % 2)
            return false;
        todo[(*count)++] = (Pending){ e->arg[0], twice };
        todo[(*count)++] = (Pending){ e->arg[1], e->op == EXPR_MUL ? twice : -twice };
        return true;
    case EXPR_SQRT:
    case EXPR_RSQRT:
        if (twice % 2)
            return false;
        todo[(*count)++] = (Pending){ e->arg[0], e->op == EXPR_SQRT ? twice / 2 : -twice / 2 };
        return true;
    case EXPR_POW:
        if (twice % 2 || !half_power(e->arg[1], &power))
            return false;
        todo[(*count)++] = (Pending){ e->arg[0], twice / 2 * power };
        return true;
    default:
        return false;
    }
}

bool product_of(const Expr *e, Product *product) {
    Pending todo[MAX_PENDING];
    int count = 1;
    *product = (Product){ .scale = 1 };
    todo[0] = (Pending){ e, 2 };
    while (count) {
        Pending now = todo[--count];
        if (now.e->op == EXPR_NEG && now.twice % 2 == 0) {
            product->scale *= now.twice / 2 % 2 ? -1 : 1;
            todo[count++] = (Pending){ now.e->arg[0], now.twice };
        } else if (now.e->op == EXPR_CONST) {
            if (!scale_by(product, now.e->value, now.twice) && !product_push(product, now.e, now.twice))
                return false;
        } else if (count + 2 > MAX_PENDING || !split(now.e, now.twice, todo, &count)) {
            if (!product_push(product, now.e, now.twice))
                return false;
        }
    }
    return true;
}

/* factors with positive (sign 1) or negative (sign -1) exponents, multiplied up from the left */
static const Expr *side(ExprPool *p, const Product *product, int sign) {
    const Expr *result = expr_const(p, 1);
    for (int i = 0; i < product->count; i++)
        if (product->f[i].twice * sign > 0)
            result = simple_make(p, EXPR_MUL, result, simple_power(p, product->f[i].base, product->f[i].twice * sign),
                                 NULL);
    return result;
}

const Expr *product_build(ExprPool *p, const Product *product) {
    Product sorted = *product;
    for (int i = 1; i < sorted.count; i++) {
        Factor moving = sorted.f[i];
        int at = i;
        for (; at > 0 && expr_compare(moving.base, sorted.f[at - 1].base) < 0; at--)
            sorted.f[at] = sorted.f[at - 1];
        sorted.f[at] = moving;
    }
    const Expr *e = simple_make(p, EXPR_DIV, side(p, &sorted, 1), side(p, &sorted, -1), NULL);
    return simple_make(p, EXPR_MUL, expr_const(p, sorted.scale), e, NULL);
}
