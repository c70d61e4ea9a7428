/* recompute.h - what the backward pass reads of the forward one: shared by recompute.c and segments.c. */
#ifndef SALUN_PASSES_RECOMPUTE_H
#define SALUN_PASSES_RECOMPUTE_H

#include "passes/passes.h"

enum { MAX_BASE = 8 };

/* What computing a MAP again would take, with the MAPs before it that are stored nowhere. */
typedef struct {
    Node *base[MAX_BASE]; int bases;   /* stored values that it reads */
    int work;                          /* operators at every element */
    bool host;                         /* a loop nest of the backward pass goes over one of these values anyway */
} Cone;

typedef struct {
    bool forward;                      /* outputs or states depend on it, or it is a forward value's second time (AGAIN_LATE) */
    bool kept;                         /* read by the backward pass, or by AGAIN_LATE, as it is */
    bool whole;                        /* some of these readers need all of it in memory: no MAP over its own shape */
    bool by_map;                       /* some of them are such MAPs */
    bool fixed;                        /* an output or a state */
    bool viewed;                       /* read in another shape */
    bool dropped;                      /* computed again inside of its readers, at the cost of `cone` */
    Cone cone;
    Node *again;                       /* what stands for it in the backward pass; NULL: itself */
} Value;

typedef struct {
    int64_t least;                     /* bytes from which on a value counts */
    int bases, work;                   /* the most of a cone */
    bool passes;                       /* loop nests may be added that do nothing but compute again */
} Limits;

typedef struct {
    Graph *g;
    Arena *arena;
    Limits limit;
    Value *value; int count;           /* by id, of the nodes that were there at the beginning */
    int64_t largest;                   /* bytes of the largest forward value */
} Recompute;

static inline Value *value_of(const Recompute *r, const Node *n) { return &r->value[n->id]; }

/* Looks at the step graph: every field of Value but `again`. */
Recompute *recompute_look(Graph *g, Arena *arena, Limits limit);
/* A batched value that is worth a thought: not below the limit, nor small beside the largest one. */
bool recompute_is_large(const Recompute *r, const Node *n);

/* segments.c: cuts what is kept into `count` segments of about the same size and computes the first `again` of them
 * a second time. Only what goes over a cut is kept of these. */
void recompute_segments(Graph *g, Limits limit, int count, int again);
#endif
