/* simple.h - between simplify.c, product.c, saturate.c, gather.c and derive.c: expressions built under local rules.
 * Arguments of simple_make are themselves simplified; the result is, too. */
#ifndef SALUN_GRAPH_SIMPLE_H
#define SALUN_GRAPH_SIMPLE_H

#include "graph/expr.h"

/* op over its arguments with constants folded, neutral elements dropped, constants of a product gathered
 * into one and operands of + and * in a canonical order. Associates nothing but constants anew. */
const Expr *simple_make(ExprPool *p, ExprOp op, const Expr *x, const Expr *y, const Expr *z);

/* x to the power twice / 2 by multiplications, a division and a square root */
const Expr *simple_power(ExprPool *p, const Expr *x, int twice);

bool expr_is_const(const Expr *e, double value);

/* A total order by structure alone, whatever order the pool saw the expressions in. < 0: a first. */
int expr_compare(const Expr *a, const Expr *b);

/* ---- product.c: an expression as scale * f[0].base^(f[0].twice / 2) * ... ---- */

enum { MAX_FACTORS = 16 };
typedef struct { const Expr *base; int twice; } Factor;   /* exponents in halves, so that a root is a factor */
typedef struct { double scale; int count; Factor f[MAX_FACTORS]; } Product;

/* Takes products, quotients, signs, constant powers and roots apart; equal bases become one factor, the
 * bases of guarded forms (saturate.c) stay whole. False when there are too many factors. */
bool product_of(const Expr *e, Product *product);
/* into *= factor^(twice / 2); false when there is no room, or scale of `factor` has no such power */
bool product_times(Product *into, const Product *factor, int twice);
bool product_push(Product *into, const Expr *base, int twice);
/* factors in canonical order: scale * (a * b) / (c * d) */
const Expr *product_build(ExprPool *p, const Product *product);

/* ---- saturate.c: the guarded form of t / sqrt(1 + B t^2) ---- */

typedef struct { const Expr *bend, *inner; } Saturating;  /* B and t */

/* The parts of an unguarded product A t / sqrt(c + B t^2): the guarded A * (T / sqrt(1 + (B T) T)), T the
 * clamped t; any other product as it is. */
const Expr *saturate_product(ExprPool *p, const Expr *e);

/* Nodes of the guarded form; each names B and t. */
bool saturating_core(const Expr *e, Saturating *s);         /* T / sqrt(1 + (B T) T) */
bool saturating_square(const Expr *e, Saturating *s);       /* 1 + (B T) T */
bool saturating_clamp(const Expr *e, Saturating *s);        /* T */
const Expr *saturating_make_core(ExprPool *p, Saturating s);
const Expr *saturating_make_square(ExprPool *p, Saturating s);
const Expr *saturating_make_clamp(ExprPool *p, Saturating s);
/* A node of the guarded form anew from now[] of its B and t (nodes[] lists what `e` stands in); NULL for any other. */
const Expr *saturating_rebuild(ExprPool *p, const Expr *e, const Expr *const *nodes, const Expr *const *now, int count);
const Expr *saturating_limit(ExprPool *p, const Expr *bend);   /* largest |T| */

/* When simplified `e` is A x / sqrt(1 + B x^2) with A, B free of input x: A and B. */
bool saturating_of_input(ExprPool *p, const Expr *e, int x_input, const Expr **a, const Expr **b);
#endif
