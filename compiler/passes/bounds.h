/* bounds.h - how far from zero the values of a graph can lie, whatever the input is.
 *
 * A bound is a property of formulas: |A t / sqrt(1 + B t^2)| < |A| / sqrt(B), |tanh| < 1, a sum is bounded by the sum of
 * the bounds, a maximum by the largest of them. It depends on parameters, so it is a value of the graph too: of
 * parameters and states alone, and so known when weights are loaded. */
#ifndef SALUN_PASSES_BOUNDS_H
#define SALUN_PASSES_BOUNDS_H

#include "graph/graph.h"

typedef struct {
    Node *below, *above;       /* of one element, rank 0: -below <= value <= above, up to roundings; NULL: not bounded */
    int terms;                 /* how many bounded values are added up in it, 1 at least */
} Bounds;

/* Bounds of every node that g has now, by id, from new nodes behind graph->last; what is not used is dce's. */
Bounds *graph_bounds(Arena *arena, Graph *g);
#endif
