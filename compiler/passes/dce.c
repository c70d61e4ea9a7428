/* dce.c - nodes that nothing needs go.
 * needs: topological order     keeps: order, shapes     spoils: nothing */
#include "passes/passes.h"

void graph_dce(Graph *g) {
    Node needed;                                     /* its address is the mark */
    for (Node *n = g->first; n; n = n->next)
        n->note = n->op == OP_INPUT ? &needed : NULL;
    for (int i = 0; i < g->output_count; i++)
        g->outputs[i].node->note = &needed;
    for (int i = 0; i < g->effect_count; i++)
        g->effects[i].value->note = &needed;
    for (Node *n = g->last; n; n = n->prev)
        for (int i = 0; i < n->arity && n->note; i++)
            n->in[i]->note = &needed;
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (!n->note)
            graph_remove(g, n);
        n->note = NULL;
    }
    graph_sort(g);
}
