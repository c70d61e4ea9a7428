/* pack_strassen.c - weights of a 1x1 convolution transformed for Strassen's algorithm, in the order in which they are read
 * (conv_winograd.h): one task per panel and two input blocks. In entry infer those of parameters are made once, by
 * prepare. */
#include "kernel/conv_strassen.h"

typedef struct {
    Kernel *k;
    const WinogradPlan *p;
    int from, to, rows;
} Pack;

static Index zero(void) { return index_const(0); }

/* Row `row` of W rows of the weights, which runs through the channels that vary fastest there, in all four parts: transformed. */
static void transform_row(Pack *s, Index out, Index in, Index row, Reg *points) {
    const WinogradPlan *p = s->p;
    Reg parts[STRASSEN_PARTS];
    for (int q = 0; q < STRASSEN_PARTS; q++) {
        Index x = index_scale(index_plus(in, q / 2), p->width);
        Index y = index_scale(index_plus(out, (int64_t)(q % 2) * p->slots), p->width);
        Index at = p->backward ? index_add(index_scale(index_add(x, row), p->w->shape.dim[1]), y)
                               : index_add(index_scale(index_add(y, row), p->w->shape.dim[1]), x);
        parts[q] = kb_load(s->k, ACCESS_VECTOR, s->from, at);
    }
    strassen_weights(s->k, parts, points);
}

/* Rows are input channels: they go where they belong. */
static void pack_rows(Pack *s, Index out, Index in, Index to, int64_t point_step) {
    const WinogradPlan *p = s->p;
    Index row = index_var(kb_loop(s->k, "row", zero(), index_const(p->width), 1));
    Reg points[STRASSEN_POINTS];
    transform_row(s, out, in, row, points);
    to = index_add(to, index_scale(row, (int64_t)p->slots * p->width));
    for (int i = 0; i < p->points; i++)
        kb_store(s->k, ACCESS_VECTOR, s->to, index_plus(to, i * point_step), points[i]);
    kb_end(s->k);
}

/* Rows are output channels: they wait in scratch, and are transposed point by point. */
static void pack_columns(Pack *s, Index out, Index in, Index to, int64_t point_step) {
    const WinogradPlan *p = s->p;
    int64_t square = (int64_t)p->width * p->width;
    Index row = index_var(kb_loop(s->k, "row", zero(), index_const(p->width), 1));
    Reg points[STRASSEN_POINTS], rows[TRANSPOSE_WIDTH], columns[TRANSPOSE_WIDTH];
    transform_row(s, out, in, row, points);
    for (int i = 0; i < p->points; i++)
        kb_store(s->k, ACCESS_VECTOR, s->rows, index_plus(index_scale(row, p->width), i * square), points[i]);
    kb_end(s->k);
    Index point = index_var(kb_loop(s->k, "point", zero(), index_const(p->points), 1));
    for (int i = 0; i < p->width; i++)
        rows[i] = kb_load(s->k, ACCESS_VECTOR, s->rows, index_plus(index_scale(point, square), (int64_t)i * p->width));
    transpose(s->k, rows, p->width, columns);
    to = index_add(to, index_scale(point, point_step));
    for (int i = 0; i < p->width; i++)
        kb_store(s->k, ACCESS_VECTOR, s->to, index_plus(to, (int64_t)i * p->slots * p->width), columns[i]);
    kb_end(s->k);
}

static void pack_part(Pack *s, Index panel, Index block) {
    const WinogradPlan *p = s->p;
    int64_t block_floats = p->lanes * p->slots * p->width, point_step = p->inputs.most * block_floats;
    Index slot = zero();
    if (p->slots > 1)
        slot = index_var(kb_loop(s->k, "slot", zero(), index_const(p->slots), 1));
    Index out = index_add(index_scale(panel, winograd_body_slots(p)), slot), in = index_scale(block, 2);
    Index to = index_add(index_scale(panel, p->panel_floats), index_add(index_scale(block, block_floats), index_scale(slot, p->width)));
    if (p->backward)
        pack_rows(s, out, in, to, point_step);
    else
        pack_columns(s, out, in, to, point_step);
    if (p->slots > 1)
        kb_end(s->k);
}

int pack_strassen(Lower *l, const Group *g, const WinogradPlan *p) {
    PackNest n = pack_winograd_begin(l, g, p);
    Pack s = { .k = n.k, .p = p, .from = n.from, .to = n.to };
    if (!p->backward)
        s.rows = kb_scratch(s.k, "rows", ELEM_F32, (int64_t)p->points * p->width * p->width);
    pack_part(&s, n.panel, n.block);
    return pack_winograd_end(l, g, &n, 2);
}
