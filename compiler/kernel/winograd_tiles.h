/* winograd_tiles.h - tiles of a blocked value, transformed: what the convolutions and their weight gradient share.
 *
 * Tile (i, j) of an image begins at element (i * step + off, j * step + off) and has t.cols x t.cols elements, zero where
 * they lie outside of the image. Its transform has t.rows x t.rows points, which go to `to`, point_step apart, input
 * blocks block_step apart. */
#ifndef SALUN_KERNEL_WINOGRAD_TILES_H
#define SALUN_KERNEL_WINOGRAD_TILES_H

#include "kernel/winograd.h"

typedef struct { int64_t count[2]; } TileGrid;             /* tiles of an image */
typedef struct { Index image, row, col; } TileAt;          /* row and col: of the tile among tiles */

typedef struct {
    Kernel *k;
    const Transform *t;
    int width;
    int64_t size[2], off[2], blocks;                       /* of the value: height and width; channel blocks */
    const TileGrid *grid;
    int64_t step;                                          /* from one tile to the next */
    int from, to;                                          /* buffers */
    int half, window;                                      /* scratch */
    int64_t point_step, block_step;
} TileSource;

/* Tile number `tile` of an image. */
TileAt tile_find(Kernel *k, const TileGrid *grid, Index image, Index tile);
void tile_scratch(TileSource *s);
/* The tile's transform, for blocks begin .. end - 1; `to`: of point 0 and block 0. */
void tile_transform(const TileSource *s, const TileAt *at, Index to, Index begin, Index end);
/* Cycles of one tile and block, loads and stores included. */
double tile_cost(const Transform *t);
#endif
