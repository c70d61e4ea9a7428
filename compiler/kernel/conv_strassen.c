/* conv_strassen.c - what conv_winograd.c's nest does otherwise for Strassen's algorithm: the transform of the operand, and
 * that of the results with the group's body behind it. */
#include "kernel/conv_strassen.h"

static Index zero(void) { return index_const(0); }

/* Whether pixel `row` of a tile may lie behind the image's last one. */
static bool may_lack(const WinogradPlan *p, int row) { return row > 0 && p->image_pixels % 2 > 0; }

/* The vector of input block `block` at a pixel, zero behind the last. */
static Reg load_pixel(WinogradNest *c, Index image, Index block, Index pixel, bool lacks) {
    const WinogradPlan *p = c->p;
    Index at = index_add(index_scale(image, 2 * p->blocks), block);
    at = index_scale(index_add(index_scale(at, p->image_pixels), pixel), p->width);
    if (!lacks)
        return kb_load(c->k, ACCESS_VECTOR, c->x, at);
    Index lanes = index_scale(index_plus(index_scale(pixel, -1), p->image_pixels), p->width);
    return kb_load_lanes(c->k, ACCESS_MASKED, c->x, at, lanes, 1);
}

/* Block by block, so that the operand and every point are walked in the order of memory. */
void strassen_range(WinogradNest *c, Index begin, Index end) {
    const WinogradPlan *p = c->p;
    int64_t block_step = (int64_t)p->pixels * p->width, point_step = p->blocks * block_step;
    Index group = index_var(kb_loop(c->k, "group", zero(), winograd_groups(c), 1));
    Index left = index_add(c->count, index_scale(group, -p->pixels));
    int last = kb_index(c->k, "tiles", INDEX_MIN, left, index_const(p->pixels));
    Index block = index_var(kb_loop(c->k, "block", begin, end, 1));
    Index slot = index_var(kb_loop(c->k, "slot", zero(), index_var(last), 1));
    Index image, tile = winograd_tile(c, index_add(index_scale(group, p->pixels), slot), &image);
    Index pixel = index_scale(tile, 2);
    Reg in[STRASSEN_PARTS], out[STRASSEN_POINTS];
    for (int q = 0; q < STRASSEN_PARTS; q++) {
        int row = q / 2;
        Index from = index_plus(index_scale(block, 2), q % 2);
        in[q] = load_pixel(c, image, from, index_plus(pixel, row), may_lack(p, row));
    }
    strassen_data(c->k, in, out);
    Index to = index_add(c->v_base, index_scale(group, p->points * point_step));
    to = index_add(to, index_add(index_scale(block, block_step), index_scale(slot, p->width)));
    to = index_var(kb_index(c->k, "to", INDEX_AFFINE, to, zero()));
    for (int i = 0; i < p->points; i++)
        kb_store(c->k, ACCESS_VECTOR, c->v, index_plus(to, i * point_step), out[i]);
    for (int i = 0; i < 3; i++)
        kb_end(c->k);
}

/* The results of all tiles, in place of the products of the first points. */
void strassen_results(WinogradNest *c) {
    const WinogradPlan *p = c->p;
    Index vector = index_var(kb_loop(c->k, "i", zero(), index_scale(c->count, (int64_t)p->slots * p->width), p->width));
    Reg in[STRASSEN_POINTS], out[STRASSEN_PARTS];
    for (int i = 0; i < p->points; i++)
        in[i] = kb_load(c->k, ACCESS_VECTOR, c->m, index_add(winograd_sums(p, index_const(i), zero(), zero()), vector));
    strassen_result(c->k, in, out);
    for (int q = 0; q < STRASSEN_PARTS; q++)
        kb_store(c->k, ACCESS_VECTOR, c->m, index_add(winograd_sums(p, index_const(q), zero(), zero()), vector), out[q]);
    kb_end(c->k);
}

/* The group's body over all pixels of the slot number `part` of the panel, which is in its first or second half. */
void strassen_finish_slot(WinogradNest *c, Index part, Index block) {
    const WinogradPlan *p = c->p;
    int axis = p->y->attr.window.spatial + 1;
    Index half = index_var(kb_index(c->k, "half", INDEX_DIV, part, index_const(p->slots))), slot = zero(), at[MAX_RANK];
    if (p->slots > 1)
        slot = index_var(kb_index(c->k, "slot", INDEX_MOD, part, index_const(p->slots)));
    for (int i = 0; i < MAX_RANK; i++)
        at[i] = zero();
    Index number = index_var(kb_loop(c->k, "tile", zero(), c->count, 1));
    Index tile = winograd_tile(c, number, &at[0]), pixel = index_scale(tile, 2), end = index_const(2);
    if (may_lack(p, 1))
        end = index_var(kb_index(c->k, "pixels", INDEX_MIN, index_plus(index_scale(pixel, -1), p->image_pixels), end));
    Index row = index_var(kb_loop(c->k, "row", zero(), end, 1));
    at[axis] = index_add(pixel, row);
    Index point = index_add(index_scale(row, 2), half);
    body_point(c->body, 0, at, block, kb_load(c->k, ACCESS_VECTOR, c->m, winograd_sums(p, point, number, slot)));
    kb_end(c->k);
    kb_end(c->k);
}
