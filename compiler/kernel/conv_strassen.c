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

/* One slot of every part of the panel, at all pixels of a tile. */
static void finish_slot(WinogradNest *c, Index tile, Index image, Index pixel, int slot) {
    const WinogradPlan *p = c->p;
    int slots = winograd_body_slots(p), axis = c->p->y->attr.window.spatial + 1;
    Reg in[STRASSEN_POINTS], out[STRASSEN_PARTS];
    Index at[MAX_RANK];
    for (int i = 0; i < p->points; i++)
        in[i] = kb_load(c->k, ACCESS_VECTOR, c->m, winograd_sums(p, index_const(i), tile, slot));
    strassen_result(c->k, in, out);
    for (int i = 0; i < MAX_RANK; i++)
        at[i] = zero();
    at[0] = image;
    for (int q = 0; q < STRASSEN_PARTS; q++) {
        int row = q / 2, part = q % 2 * p->slots + slot;
        at[axis] = index_plus(pixel, row);
        if (may_lack(p, row))
            kb_if(c->k, at[axis], index_const(p->image_pixels));
        body_point(c->body, part, at, index_plus(index_scale(c->panel, slots), part), out[q]);
        if (may_lack(p, row))
            kb_end(c->k);
    }
}

void strassen_finish(WinogradNest *c) {
    const WinogradPlan *p = c->p;
    Index number = index_var(kb_loop(c->k, "tile", zero(), c->count, 1));
    Index image, tile = winograd_tile(c, number, &image);
    for (int s = 0; s < p->slots; s++)
        finish_slot(c, number, image, index_scale(tile, 2), s);
    kb_end(c->k);
}
