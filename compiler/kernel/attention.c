/* attention.c - ATTENTION: softmax over the keys of scale q k, times v, head by head (attention.h).
 * Source: A. Vaswani et al., "Attention is all you need", 2017, equation 1. */
#include "kernel/attention.h"

static void attend(Heads *h, HeadRows *q, HeadRows *k, HeadRows *v, HeadRows *y) {
    HeadRows *all[] = {q, k, v, y};
    heads_begin(h);
    for (int i = 0; i < COUNT(all); i++)
        heads_place(h, all[i]);
    for (int i = 0; i < 3; i++)
        heads_gather(h, all[i]);
    int opened = heads_chunks(h);
    heads_softmax(h, q, k);
    heads_rows(h, &(RowProduct){.weights = h->scores, .row_step = 1, .sum_step = h->lanes, .x = v, .x_first = index_const(0),
                                .sums = index_const(h->keys), .static_sums = h->keys, .to = y, .to_first = h->first, .rows = h->count,
                                .static_rows = h->static_count, .factor = h->inverse});
    heads_scatter(h, y, h->first, index_add(h->first, h->count));
    while (opened--)
        kb_end(h->k);
}

void lower_attention(Lower *l, const Group *g) {
    Heads h;
    Node *n = g->anchor;
    heads_plan(&h, l, n, false);
    h.k = lower_kernel(l, g, "");
    h.k->title = arena_printf(l->arena, "%s; %s", h.k->title, heads_title(&h));
    HeadRows q = heads_argument(&h, "q", n->in[0], false), k = heads_argument(&h, "k", n->in[1], false);
    HeadRows v = heads_argument(&h, "v", n->in[2], false), y = heads_argument(&h, "y", n, true);
    heads_scratch(&h);
    attend(&h, &q, &k, &v, &y);
    kernel_finish(h.k);
    PlannedCall *c = lower_call(l, h.k, g->prepare);
    for (int i = 0; i < 3; i++)
        call_arg_value(c, n->in[i]);
    call_arg_value(c, n);
    heads_call(&h, c, g, 4);
    c->tap = n;
    c->out = 3;
}
