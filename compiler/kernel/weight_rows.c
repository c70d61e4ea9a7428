/* weight_rows.c - pieces of rows of the plain weights, see weight_rows.h. */
#include "kernel/weight_rows.h"

WeightRows weight_rows(Lower *l, Kernel *k, const Group *g) {
    const Shape *dw = &g->anchor->shape;
    return (WeightRows){ .k = k, .body = body_new_pieces(l, k, g), .width = l->target->width, .out_channels = dw->dim[0],
                         .row = shape_count(dw) / dw->dim[0] };
}

void weight_rows_put(const WeightRows *r, Index out, Index at, Index count, bool whole, const Reg *vectors) {
    Reg rows[TRANSPOSE_WIDTH];
    bool cut = r->out_channels % r->width != 0;
    int channels = (int)(r->out_channels < r->width ? r->out_channels : r->width);
    transpose(r->k, vectors, channels, rows);
    for (int c = 0; c < channels; c++) {
        Index lanes = count;
        if (cut) {                                   /* none of a channel beyond the last */
            Index left = index_scale(index_plus(index_scale(out, -r->width), r->out_channels - c), r->width);
            lanes = index_var(kb_index(r->k, "lanes", INDEX_MIN, count, left));
        }
        Index row = index_scale(index_plus(index_scale(out, r->width), c), r->row);
        body_piece(r->body, index_add(row, at), lanes, whole && !cut, rows[c]);
    }
}

void weight_rows_copy(const WeightRows *r, int buffer, Index from, int64_t step, Index out, Index at, Index count, bool whole) {
    Reg vectors[TRANSPOSE_WIDTH];
    Index i = index_var(kb_loop(r->k, "i", index_const(0), count, r->width));
    for (int v = 0; v < r->width; v++)
        vectors[v] = kb_load(r->k, ACCESS_VECTOR, buffer, index_plus(index_add(from, index_scale(i, step)), v * step));
    weight_rows_put(r, out, index_add(at, i), index_add(count, index_scale(i, -1)), whole, vectors);
    kb_end(r->k);
}

void weight_rows_args(const WeightRows *r, PlannedCall *c, const Group *g) {
    int first = c->arg_count;
    body_args(r->body, c);
    c->group = g;
    c->tap = g->anchor;
    for (int i = first; i < c->arg_count; i++)
        if (c->args[i].value == g->anchor)
            c->out = i;
}
