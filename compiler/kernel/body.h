/* body.h - what the files of a Body share: its operators by level, its operands, its sums. */
#ifndef SALUN_KERNEL_BODY_H
#define SALUN_KERNEL_BODY_H

#include "kernel/lower.h"

enum { LEVEL_TASK, LEVEL_CHANNEL, LEVEL_POINT };

typedef struct {                 /* one operator of one MAP */
    const Expr *e;
    int level;
    int product;                 /* the argument that is a product and joins this sum as an fma; -1: none */
    bool fused;                  /* that product: never computed alone */
    Reg *reg;                    /* per slot */
    Reg *estimate, *inverse;     /* per slot: 1 / a square root, where it is estimated; after a Newton step */
    bool *is_mask;               /* per slot: reg is a mask */
} Term;

typedef struct { Node *map; const Expr *expr; Term *terms; int count; } MapTerms;   /* expr: as it is computed */

typedef struct {                 /* an operand from outside, a constant or a run-time scalar */
    Node *node;
    int level;
    int buffer;                  /* -1: immediate */
    Reg *reg;                    /* per slot */
} Source;

struct Body {
    Lower *l;
    Kernel *k;
    const Group *g;
    int width, slots;
    int rolled;                  /* slots that run one after the other in a loop, all as slot 0; 0: they are unrolled */
    bool blocked;
    int axis;                    /* the vectors' axis in the space; -1: rank 0 */
    int64_t extent;              /* elements along it, flattened axes included */
    bool ragged;                 /* extent is no multiple of W */
    bool flat_plain;             /* plain space walked as one axis behind the batch */
    bool pieces;                 /* of a plain space: vectors begin anywhere, at `first`, and have `lanes` elements when ragged */
    Index first, lanes;
    Source *sources; int source_count;
    int *out_buffer;             /* per group output */
    MapTerms *maps;
    Reg (*sums)[8];              /* per side sum, per slot */
    Reg *total;                  /* rolled: per side sum, of the slots that are done */
    Reg iota, limit;             /* ragged: lane numbers, and the extent in all lanes */
    Reg *mask;                   /* per slot: lanes that exist */
    Reg *value;                  /* per MAP, at the current point */
    Reg anchor;
    int *sum_temp;               /* per side sum: its partial sums */
    int *sum_buffer;
    int64_t panels, rows, unit;
};

/* body_terms.c */
void body_build_terms(Body *b, int map);
void body_emit_level(Body *b, int level, int slot, const Index *at, Index block);   /* all MAPs' operators of a level */

/* The core of a saturating form (graph/saturate.c), c + (B t) t with c > 0 and t clamped: neither small nor infinite. */
bool body_is_core(const Expr *d);

/* body_form.c: `e` in the form that takes the fewest products; varying: inputs, the first 64, that differ from vector to vector. */
const Expr *body_form(Arena *arena, const Expr *e, uint64_t varying);

static inline bool body_per_channel(const Node *sum) { return shape_count(&sum->shape) > 1; }

/* body.c */
Reg *body_new_regs(const Body *b);                           /* NO_REG for every slot */
const Source *body_source(const Body *b, const Node *x);     /* NULL: x is a member */
Reg body_value(const Body *b, const Node *x, int slot);      /* operand or member, at the current point */
Index body_lanes(const Body *b, Index block);                /* lanes of a vector that exist */
const char *body_buffer_text(const Body *b, const Node *n);  /* shape, layout and name, for readers */
#endif
