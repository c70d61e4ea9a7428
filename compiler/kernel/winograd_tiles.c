/* winograd_tiles.c - see winograd_tiles.h. A tile that lies inside is read where it is; what exists of any other is
 * copied to a window of zeros first. Both halves of a transform are loops, with what is between in scratch. */
#include "kernel/winograd_tiles.h"

static Index zero(void) { return index_const(0); }

TileAt tile_find(Kernel *k, const TileGrid *grid, Index image, Index tile) {
    Index row = index_var(kb_index(k, "row", INDEX_DIV, tile, index_const(grid->count[1])));
    Index col = index_var(kb_index(k, "col", INDEX_MOD, tile, index_const(grid->count[1])));
    return (TileAt){ image, row, col };
}

static bool all_inside(const TileSource *s) {
    for (int i = 0; i < 2; i++)
        if (s->off[i] < 0 || (s->grid->count[i] - 1) * s->step + s->off[i] + s->t->cols > s->size[i])
            return false;
    return true;
}

void tile_scratch(TileSource *s) {
    s->half = kb_scratch(s->k, "half", ELEM_F32, (int64_t)s->t->rows * s->t->cols * s->width);
    s->window = all_inside(s) ? -1 : kb_scratch(s->k, "window", ELEM_F32, (int64_t)s->t->cols * s->t->cols * s->width);
}

static Index element(const TileSource *s, Index image, Index block, Index y, Index x) {
    Index at = index_add(index_scale(image, s->blocks), block);
    at = index_add(index_scale(at, s->size[0]), y);
    at = index_add(index_scale(at, s->size[1]), x);
    return index_scale(at, s->width);
}

/* The first half, column by column: from a buffer whose rows are row_step apart. */
static void columns(const TileSource *s, int from, Index at, int64_t row_step) {
    int n = s->t->cols;
    Index j = index_var(kb_loop(s->k, "j", zero(), index_const(n), 1));
    Index first = index_var(kb_index(s->k, "at", INDEX_AFFINE, index_add(at, index_scale(j, s->width)), zero()));
    Reg in[WINOGRAD_SIZE], out[WINOGRAD_SIZE];
    for (int i = 0; i < n; i++)
        in[i] = kb_load(s->k, ACCESS_VECTOR, from, index_plus(first, i * row_step));
    winograd_apply(s->k, s->t, in, out);
    for (int i = 0; i < s->t->rows; i++)
        kb_store(s->k, ACCESS_VECTOR, s->half, index_plus(index_scale(j, s->width), (int64_t)i * n * s->width), out[i]);
    kb_end(s->k);
}

static void rows(const TileSource *s, Index to) {
    int n = s->t->cols;
    Index i = index_var(kb_loop(s->k, "i", zero(), index_const(s->t->rows), 1));
    Index from = index_scale(i, (int64_t)n * s->width);
    Index first = index_var(kb_index(s->k, "to", INDEX_AFFINE, index_add(to, index_scale(i, s->t->rows * s->point_step)), zero()));
    Reg in[WINOGRAD_SIZE], out[WINOGRAD_SIZE];
    for (int j = 0; j < n; j++)
        in[j] = kb_load(s->k, ACCESS_VECTOR, s->half, index_plus(from, (int64_t)j * s->width));
    winograd_apply(s->k, s->t, in, out);
    for (int j = 0; j < s->t->rows; j++)
        kb_store(s->k, ACCESS_VECTOR, s->to, index_plus(first, j * s->point_step), out[j]);
    kb_end(s->k);
}

static void copy_window(const TileSource *s, const TileAt *t, Index block) {
    Index at[2] = { index_scale(t->row, s->step), index_scale(t->col, s->step) }, i[2];
    for (int d = 0; d < 2; d++) {
        Index first = index_plus(at[d], s->off[d]);
        int begin = kb_index(s->k, "begin", INDEX_MAX, index_scale(first, -1), zero());
        int end = kb_index(s->k, "end", INDEX_MIN, index_plus(index_scale(first, -1), s->size[d]), index_const(s->t->cols));
        i[d] = index_var(kb_loop(s->k, d ? "j" : "i", index_var(begin), index_var(end), 1));
        at[d] = index_add(first, i[d]);
    }
    Reg r = kb_load(s->k, ACCESS_VECTOR, s->from, element(s, t->image, block, at[0], at[1]));
    kb_store(s->k, ACCESS_VECTOR, s->window, index_scale(index_add(index_scale(i[0], s->t->cols), i[1]), s->width), r);
    kb_end(s->k);
    kb_end(s->k);
}

static void clear_window(const TileSource *s) {
    int64_t count = (int64_t)s->t->cols * s->t->cols * s->width;
    Index i = index_var(kb_loop(s->k, "i", zero(), index_const(count), s->width));
    kb_store(s->k, ACCESS_VECTOR, s->window, i, kb_const(s->k, 0, true));
    kb_end(s->k);
}

/* A number that is negative where the tile sticks out. */
static Index room(const TileSource *s, const TileAt *t) {
    Index at[2] = { index_scale(t->row, s->step), index_scale(t->col, s->step) }, least[2];
    for (int d = 0; d < 2; d++) {
        Index first = index_plus(at[d], s->off[d]), behind = index_plus(index_scale(first, -1), s->size[d] - s->t->cols);
        least[d] = index_var(kb_index(s->k, "room", INDEX_MIN, first, behind));
    }
    return index_var(kb_index(s->k, "inside", INDEX_MIN, least[0], least[1]));
}

void tile_transform(const TileSource *s, const TileAt *t, Index to, Index begin, Index end) {
    bool inside = all_inside(s);
    Index space = inside ? zero() : room(s, t);
    if (!inside) {
        kb_if(s->k, space, zero());
        clear_window(s);
        kb_end(s->k);
    }
    Index block = index_var(kb_loop(s->k, "block", begin, end, 1));
    if (!inside)
        kb_if(s->k, index_const(-1), space);
    Index row = index_plus(index_scale(t->row, s->step), s->off[0]), col = index_plus(index_scale(t->col, s->step), s->off[1]);
    Index first = element(s, t->image, block, row, col);
    columns(s, s->from, first, s->size[1] * s->width);
    if (!inside) {
        kb_end(s->k);
        kb_if(s->k, space, zero());
        copy_window(s, t, block);
        columns(s, s->window, zero(), (int64_t)s->t->cols * s->width);
        kb_end(s->k);
    }
    rows(s, index_add(to, index_scale(block, s->block_step)));
    kb_end(s->k);
}

double tile_cost(const Transform *t) {
    return (t->cols + t->rows) * (winograd_operations(t) + t->rows + t->cols);
}
