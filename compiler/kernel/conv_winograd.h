/* conv_winograd.h - a 3x3 convolution with stride 1 or 2, or its input gradient, by Winograd's F(m x m, 3x3).
 *
 * Tile (i, j) of results reads the operand from (i * read_step + off, j * read_step + off) on; the input gradient has the weights
 * turned around. Tiles are counted through rows, columns and images. A range is the tiles of `unit`
 * images or a part of one image's. Tiles that stick out read zeros and store what exists.
 *
 *     V [range][tile group][n^2][input block][P][W]      transformed operand; P tiles are a group
 *     U [panel][distinct^2][input channel][slots * W]    transformed weights: slices
 *     M [n^2][tile][slots * W]                           their products, of one range and panel, in scratch
 *
 * Every product is summed over the input channels in order, so that a tile's bits depend on nothing but the tile. */
#ifndef SALUN_KERNEL_CONV_WINOGRAD_H
#define SALUN_KERNEL_CONV_WINOGRAD_H

#include "kernel/conv.h"
#include "kernel/winograd_tiles.h"

typedef struct {
    Winograd f;
    bool strassen;                         /* of conv_strassen.h: without f, in, out, off and grid */
    int points, slices;                    /* n^2, distinct^2; the same without f */
    bool backward;                         /* CONV_INPUT */
    Node *x, *w, *y;
    int64_t images, in_channels, out_channels;
    int64_t image_pixels;                  /* results of an image */
    int64_t blocks, lanes;                 /* of input channels; of one block */
    PanelInputs inputs;                    /* input blocks that a panel reads */
    int64_t in[2], out[2], off[2], image_tiles;
    TileGrid grid;
    int width, slots, pixels;              /* W; V output blocks of a panel; P */
    int64_t panels, panel_floats;          /* of U */
    Store storage;                         /* of U */
    bool split;                            /* V is made by a call of its own and kept in memory; else each task makes its own */
    int64_t unit, parts, part_tiles;       /* images of a range; parts of an image, tiles of one */
    int64_t range_tiles, groups;           /* tiles of a range, groups of P */
    int64_t shares, share_blocks;          /* split: tasks of a range, and their input blocks */
    bool packs;                            /* split, one range: each task transforms its panel's weights, block by block */
    Ahead ahead;                           /* per group of tiles: of the next point's weights */
    bool panel_inner;                      /* split: consecutive tasks are panels of the same range */
    double cost;                           /* cycles of one processor for the whole batch, weights apart */
    double pack_cost;                      /* of the weights' transform */
} WinogradPlan;

/* Whether a window can be computed so at all, and the group's anchor. */
bool winograd_window(const Lower *l, const Window *w);
bool winograd_applies(const Lower *l, const Group *g);
/* The cheapest plan for this m; of p, in which all is set that does not depend on tiles and tasks. */
WinogradPlan winograd_plan(const Lower *l, const Group *g, int m);
WinogradPlan winograd_cheapest(const Target *t, WinogradPlan p);
void winograd_plan_print(Writer *out, const WinogradPlan *p);

/* conv_choose.c: what computes a convolution, with the prices of all that could, for readers. */
typedef struct { ConvAlgorithm algorithm; WinogradPlan plan; const char *why; } ConvChoice;   /* plan: unless direct */
ConvChoice conv_choose(const Lower *l, const Group *g, const ConvPlan *direct);

/* conv_winograd.c: appends the calls. `why`: for readers, behind the plan. */
void lower_conv_winograd(Lower *l, const Group *g, const WinogradPlan *p, const char *why);
/* pack_winograd.c: appends the call that transforms p's weights; the temporary that holds U. */
int pack_winograd(Lower *l, const Group *g, const WinogradPlan *p);
/* The kernel around a transform of weights, a task per panel and input block, and its call; `flops`: of a transformed weight. */
typedef struct { Kernel *k; const WinogradPlan *p; int from, to, temp; bool constant; Index panel, block; } PackNest;
PackNest pack_winograd_begin(Lower *l, const Group *g, const WinogradPlan *p);
int pack_winograd_end(Lower *l, const Group *g, const PackNest *n, double flops);
/* Emits what transforms one input block of a panel to the start of `to`, as if it were the only one. */
void pack_winograd_block(Kernel *k, const WinogradPlan *p, int from, int to, Index panel, Index block);

/* The nest while it is built; conv_winograd.c has it, conv_strassen.c fills in the transforms of its own. */
typedef struct {
    Kernel *k;
    const WinogradPlan *p;
    Body *body;
    int u, v, m;                           /* buffers */
    int w;                                 /* the weights as they are, where the task transforms them */
    int lines;                             /* scratch: half of the results' transform */
    int x;                                 /* the operand, where this kernel reads it */
    TileSource data;
    Index unit, part;                      /* the range */
    Index image;                           /* its first */
    Index count;                           /* its tiles */
    Index v_base;
    Index panel;
    InputRange inputs;                     /* what it reads */
    Reg *acc;                              /* [slot][tile] */
} WinogradNest;
/* Groups of P tiles of the range; image and tile of it that number `slot` of the range is; where its sums are in M. */
Index winograd_groups(WinogradNest *c);
Index winograd_tile(WinogradNest *c, Index slot, Index *image);
Index winograd_sums(const WinogradPlan *p, Index point, Index tile, Index slot);

/* Output blocks that the body of a panel has. */
static inline int winograd_body_slots(const WinogradPlan *p) { return p->strassen ? 2 * p->slots : p->slots; }
static inline int winograd_unroll(const WinogradPlan *p) {
    return p->lanes % 4 == 0 && p->slots * p->pixels < LARGE_TILE ? 4 : p->lanes % 2 == 0 ? 2 : 1;
}

static inline int64_t winograd_range_floats(const WinogradPlan *p) {
    return p->groups * p->points * p->blocks * p->pixels * p->width;
}
#endif
