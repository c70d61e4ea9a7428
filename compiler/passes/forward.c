/* forward.c - many replacements in one walk: a node's note is what stands for it from now on. */
#include "passes/passes.h"

void forward_start(Graph *g) {
    for (Node *n = g->first; n; n = n->next)
        n->note = NULL;
}

static Node *current(Node *n) {
    while (n->note)
        n = n->note;
    return n;
}

void forward_inputs(Node *n) {
    for (int i = 0; i < n->arity; i++)
        n->in[i] = current(n->in[i]);
}

void forward_to(Node *n, Node *with) {
    with = current(with);
    if (n != with)
        n->note = with;
}

void forward_finish(Graph *g) {
    for (int i = 0; i < g->output_count; i++)
        g->outputs[i].node = current(g->outputs[i].node);
    for (int i = 0; i < g->effect_count; i++)
        g->effects[i].value = current(g->effects[i].value);
    for (Node *n = g->first; n; n = n->next)
        n->note = NULL;
}
