/* expr.h - scalar expressions: the body of a MAP, of an activation, of an epilogue.
 *
 * An expression is a directed acyclic graph over the inputs of its MAP, constants and coordinates.
 * Nodes are interned in an ExprPool: two equal expressions of one pool are the same pointer.
 * expr_make only interns; nothing is simplified until expr_simplify is asked, so that the
 * interpreter sees the formula as it was written. */
#ifndef SALUN_GRAPH_EXPR_H
#define SALUN_GRAPH_EXPR_H

#include <stdbool.h>
#include <stdint.h>
#include "support/arena.h"
#include "support/writer.h"

typedef enum {
    EXPR_CONST,   /* value */
    EXPR_INPUT,   /* element of the MAP's input number `index`, broadcast */
    EXPR_COORD,   /* this element's coordinate along output axis `index`, as a number */
#define EXPR(id, text, n, value, dx, dy, dz) EXPR_##id,
#include "graph/expr.def"
    EXPR_OP_COUNT
} ExprOp;

typedef struct Expr Expr;
struct Expr {
    ExprOp op;
    int id;               /* order of creation in its pool: arguments come before results */
    double value;         /* EXPR_CONST */
    int index;            /* EXPR_INPUT, EXPR_COORD */
    const Expr *arg[3];
    int input_limit;      /* 1 + the largest input index at or below this node; 0: none */
    int coord_limit;      /* the same of coordinates */
    uint64_t inputs;      /* bit k: input k occurs, for k < 64 */
};

typedef struct { const char *text; int args; } ExprInfo;
extern const ExprInfo expr_info[EXPR_OP_COUNT];

typedef struct ExprPool ExprPool;
ExprPool *expr_pool_new(Arena *arena);

const Expr *expr_const(ExprPool *p, double value);
const Expr *expr_input(ExprPool *p, int index);
const Expr *expr_coord(ExprPool *p, int axis);
/* op with its expr_info[op].args arguments; the others NULL */
const Expr *expr_make(ExprPool *p, ExprOp op, const Expr *x, const Expr *y, const Expr *z);

/* `e` with input k replaced by with[k] (k < count; NULL keeps the input). */
const Expr *expr_substitute(ExprPool *p, const Expr *e, const Expr *const *with, int count);
bool expr_uses_input(const Expr *e, int index);
int expr_input_limit(const Expr *e);         /* 1 + the largest input index used; 0: none */
int expr_size(const Expr *e);                /* distinct operator nodes */

/* The distinct nodes at and below e in order of id: arguments before results, e last. Neither this
 * nor any walk built on it recurses, so depth is no limit. */
const Expr **expr_nodes(Arena *arena, const Expr *e, int *count);
/* Position of `e` in such a list; it must be there. */
int expr_position(const Expr *const *nodes, int count, const Expr *e);

/* Value by the table's formula, in double: used by folding, never by the interpreter. */
double expr_fold(const Expr *e, const double *input, const double *coord);

/* graph/simplify.c: an equal expression with fewer operations: constants folded, neutral elements
 * dropped, small integer powers multiplied out, and saturating forms A t / sqrt(c + B t^2) guarded
 * so that a large t gives the limit (docs/internals.md, "Saturating forms"). Keyed on shape alone. */
const Expr *expr_simplify(ExprPool *p, const Expr *e);

/* graph/gather.c: an equal expression whose products multiply what depends on no input in `varying` (bit k:
 * input k, for k < 64) first, so that it can be computed outside of loops. `e` is simplified. */
const Expr *expr_gather(ExprPool *p, const Expr *e, uint64_t varying);

/* graph/derive.c: d e / d input[k], simplified. */
const Expr *expr_derivative(ExprPool *p, const Expr *e, int k);

/* graph/derive.c: the same by recovery from the output: when `e` has the shape A x / sqrt(1 + B x^2) with A, B
 * free of input `x_input`, the derivative by input k written over the inputs and the
 * result y = e (as input number `y_input`) without x itself. NULL where no such form is known. */
const Expr *expr_derivative_from_output(ExprPool *p, const Expr *e, int x_input, int k, int y_input);

/* Whether `e` has that shape with A a product of powers of constants and inputs. Recovery divides by A: it is
 * right only where the inputs in `nonzero` (bit k: input k, for k < 64) are not 0. */
bool expr_recoverable(ExprPool *p, const Expr *e, int x_input, uint64_t *nonzero);

/* `d`, a derivative of `e`, with the value of `e` taken from input `y_input` wherever it occurs, and so the test of
 * a rectifier (max(c, x), `x if x > c else c`): often x is no longer used then. Always right. */
const Expr *expr_recover(ExprPool *p, const Expr *e, const Expr *d, int y_input);

/* Infix, fully determined: `(i0 * i1) / sqrt(...)`; inputs are i0, i1.., coordinates c0, c1... Where the
 * tree would be large, what is shared comes first under a name: `t0 = i0 * i0; (t0 + 1) / t0`. */
void expr_print(Writer *out, const Expr *e);
void expr_print_number(Writer *out, double value);   /* shortest decimal that reads back to the same bits */
#endif
