/* conv.h - what the files of the convolution schedule share: the plan of one loop nest.
 *
 * CONV and CONV_INPUT are the same loop nest over tap lists. Along one spatial dimension the results q of a
 * phase, 0 <= q < count, stand at q * so + r and read the operand at q * si + off + t * doff for the taps
 * t in [0, taps), which belong to the kernel's row k0 + t * dk. CONV has one phase per dimension;
 * CONV_INPUT with stride s has s of them, one for each r.
 *
 * A task is (unit of images, panel of V output channel blocks, part of the rows). A register tile is V blocks
 * by some pixels of a row. Sums run over (input block, taps, lane of the block) in this order for
 * every pixel, wherever its tile stands and however many images there are.
 *
 * A small image is summed up input block by input block, so that weights are read once and not once per row; in training the
 * task may pack them itself then, so that packed ones are never in memory.
 *
 * Packed weights: [panel][phases][input block][taps..][lane][V * W], zero where there is no weight. */
#ifndef SALUN_KERNEL_CONV_H
#define SALUN_KERNEL_CONV_H

#include "kernel/lower.h"

enum { MAX_TILE_PIXELS = 14, MAX_PHASES = 4, MAX_TILES = 32, MAX_NARROW = 8 };
enum { LARGE_TILE = 24 };      /* vectors of a register tile from which on a loop over lanes costs nothing: 2 of them at a time, else 4 */

typedef struct { int64_t count, so, r, si, off, doff, k0, dk, taps; } TapPhase;
typedef struct { int64_t in, out; int phases; TapPhase phase[MAX_PHASES]; } TapDim;

/* `repeat` tiles of `pixels` results beside each other from result `first` of a phase on. */
typedef struct { int64_t first, pixels, repeat; bool border; } ColumnTile;
typedef struct { ColumnTile tile[MAX_TILES]; int count; } ColumnTiles;

/* conv_inputs.c: the units of `unit` input channels that each panel of `channels` output channels reads: those that its groups
 * touch. Their number is the same for all panels and the first ones lie at equal steps, or both are found at run time. */
typedef struct {
    int64_t channels, out_channels, in_channels, group_out, group_in, unit;
    int64_t most;              /* units of a panel at most */
    double mean;               /* on average */
    bool uneven;               /* found at run time */
    int64_t base, step, together;  /* else the first is base + panel / together * step */
} PanelInputs;
typedef struct { Index first, count, begin, end; } InputRange;  /* units; the channels among them, where units are not whole */
void panel_inputs_plan(PanelInputs *s, bool equal);            /* from the first line; equal: else all panels read all units */
InputRange panel_inputs(Kernel *k, const PanelInputs *s, Index panel);  /* emits what it takes to know them */
/* Lanes [*begin, *end) of its unit number `block` that are channels of its groups, *begin in steps of `unroll`. Those that fill up
 * the last vector are not. */
void panel_lanes(Kernel *k, const PanelInputs *s, const InputRange *r, Index block, int unroll, Index *begin, Index *end);

/* Weights that few tiles use are fetched into the cache of level 2 before their turn: while a tile is summed, its share of
 * what is read next. `lines` of 64 bytes per `unroll` lanes, 0: none; a tile's share is `share` floats. */
typedef struct { int lines, unroll; int64_t share; } Ahead;
/* floats: of the weights that `tiles` tiles one after the other read, each `lanes` input channels and taps; `uses`: how often in all. */
Ahead ahead_plan(const Target *t, int64_t floats, int64_t tiles, int64_t uses, int64_t lanes, int unroll);
/* Emits it for the lanes from number `lane` on; `at`: where in buffer w the share of the tile begins. */
void ahead_fetch(Kernel *k, Ahead a, int w, Index at, Index lane);

/* An operand larger than the cache of level 2, of a convolution without neighbours: beside the products of a tile and an input
 * block the block's pixels of a later tile are fetched, `lines` per `unroll` lanes, `step` floats apart, `distance` floats ahead.
 * lines is 0: nothing. */
typedef struct { int lines, unroll; int64_t step, distance; } DataAhead;

typedef enum {
    CONV_TILED,                /* tiles along the last dimension */
    CONV_IMAGES,               /* no spatial dimension: tiles of images */
    CONV_POINTS                /* any window: one pixel at a time, taps found at run time */
} ConvForm;

typedef struct {
    ConvForm form;
    bool backward;             /* CONV_INPUT */
    bool int8;                 /* CONV_INT8: x is counted in words of 4 bytes, 4 channels of a pixel; lanes are words */
    bool half;                 /* CONV_HALF: a sum is a vector of binary16 for two slots, added up in scratch every few blocks */
    int64_t narrow;            /* channels of a group, in and out, where whole groups fill a vector: lane l of a result takes the
                                  lanes of its group one after the other (depthwise: its own); 0: every lane takes all */
    const char *why;           /* of the form, for readers */
    Node *x, *w, *y;
    const Window *window;
    const Target *target;
    int64_t images;            /* capacity */
    int64_t in_channels, out_channels;
    int64_t group_in, group_out;             /* channels of one group */
    int axis;                  /* of x and y, that the spatial dimensions begin with */
    int dims;                  /* spatial dimensions of the loop nest */
    TapDim dim[MAX_SPATIAL];
    int64_t merged;            /* 1x1: so many rows lie end to end in one row of the nest, dims is 2; 0: rows as they are */
    bool plain;                /* one result channel: its vectors lie along the pixels of an image staged whole */
    /* the data operand: element strides */
    int64_t x_image, x_unit, x_lane, x_pixel;  /* x_unit: from one input block's lanes to the next */
    int64_t x_dim[MAX_SPATIAL];
    int64_t lanes;             /* input channels of one block */
    PanelInputs inputs;        /* blocks, or channels of a plain operand */
    int64_t blocks;            /* input blocks that a panel reads at most */
    /* tiles and tasks */
    int width, slots;          /* W; V */
    int pixels;                /* P */
    int unroll, border_unroll; /* lanes per iteration */
    int64_t panels, unit, parts, part_rows;
    bool panel_inner;          /* consecutive tasks are panels of the same pixels */
    bool staged;               /* the row's sums wait in scratch for one loop over the body */
    bool by_block;             /* all sums of the unit wait in scratch: input blocks are the outer loop, rows the inner */
    bool packs;                /* by_block: the task packs a block's weights itself, for its rows alone */
    int64_t panel_floats;      /* of packed weights */
    Store storage;             /* of those */
    bool widened;              /* a task begins by widening its panel into scratch: so many tiles read it again */
    Ahead ahead;               /* per tile of P pixels: of the next panel */
    DataAhead data_ahead;
    double flops;              /* of one task */
} ConvPlan;

ConvPlan conv_plan(const Lower *l, const Group *g);
DataAhead ahead_data_plan(const Target *t, const ConvPlan *p);
void conv_plan_print(Writer *out, const ConvPlan *p);          /* one line for explain */

/* Tiles of one phase of the last dimension. */
ColumnTiles conv_tiles(const ConvPlan *p, const TapPhase *phase);
/* Combinations of phases, counted with the last dimension innermost, and the packed weights of one of them. */
int conv_combinations(const ConvPlan *p);
void conv_combination(const ConvPlan *p, int combination, const TapPhase **phase);
int64_t conv_phase_offset(const ConvPlan *p, int combination);  /* floats from the panel's begin */
int64_t conv_taps(const ConvPlan *p, int combination);
int64_t conv_weight_bytes(const ConvPlan *p);

/* conv_points.c: the loop nest of CONV_POINTS; conv.c: of the others. */
typedef struct {
    Kernel *k;
    const ConvPlan *p;
    Body *body;
    int x, w, stage;           /* buffers */
    int plain_w;               /* the weights as they are, where the task packs them */
    Index w_panel;             /* where the panel begins in w */
    Index image, panel;
    Index image_begin;         /* of the task's unit */
    InputRange inputs;         /* what the panel reads: first unit, blocks */
    Index lane_begin, lane_end;  /* of the current block's lanes, those that the panel reads */
    Index weights, ahead;      /* where the tile's weights begin, and what it fetches ahead */
    Reg *acc;                  /* [slot][pixel], NO_REG: not used yet */
    int sums;                  /* half: scratch, [slot][pixel][W], of a tile */
    int start, scale;          /* int8: buffers of conv_int8.c */
    Reg *scales;               /* int8: per slot */
    Reg *take;                 /* narrow: per lane of a group, the lane that each lane takes */
} ConvNest;
/* Emits what data_ahead says for the lanes from number `lane` on; x: where the tile's pixels of that lane's block begin in buffer c->x. */
void ahead_fetch_data(const ConvNest *c, Index x, Index lane);
Reg conv_sum(ConvNest *c, int slot, int pixel);                /* the register of a sum */
/* Which lanes the lanes of groups of `narrow` channels take, [narrow]; emitted at the start of a task. */
Reg *conv_narrow_lanes(Kernel *k, int64_t narrow);
/* Whether groups of so many channels are narrow. */
bool conv_is_narrow(int width, int64_t group_in, int64_t group_out, int64_t groups);
void conv_points(ConvNest *c, Index row_begin, Index row_end);
void conv_zero(ConvNest *c, int pixels);
/* One tap of narrow groups: weights at w, the vector of pixel i at x + i * pixel_step; pixels whose bit of `valid` is set. */
void conv_narrow(ConvNest *c, int pixels, unsigned valid, int64_t pixel_step, Index x, Index w);
Index conv_block(const ConvNest *c, int slot);                 /* channel block of a slot */
InputRange conv_inputs(Kernel *k, const ConvPlan *p, Index panel);

/* The nest of c->k over the operands' buffers, which it has, and the group's; its call, x its first argument; the group's. */
void conv_nest(Lower *l, const Group *g, ConvNest *c);
PlannedCall *conv_call(Lower *l, const Group *g, const ConvNest *c);
void conv_outputs(PlannedCall *call, const Group *g, ConvNest *c);

/* conv_int8.c: sums of bytes begin with what the bytes' zero adds up to over the taps that are inside, and end as floats. */
typedef struct { Index begin, end; bool all; } TapRange;       /* taps of a dimension that read inside; all: every row has all */
void conv_int8_begin(ConvNest *c);                             /* at the start of the task */
/* Sets the sums of `pixels` results; rows: taps of the outer dimensions; columns: of the last, [begin, end) per pixel. */
void conv_int8_start(ConvNest *c, int pixels, const TapRange *rows, const int64_t (*columns)[2]);
Reg conv_int8_result(ConvNest *c, int slot, Reg sum);

/* conv_half.c: a tile's sums in float32, which wait in scratch, are cleared; every few blocks those in binary16 are added; one. */
void conv_half_begin(ConvNest *c, int pixels);
void conv_half_add(ConvNest *c, int pixels);
Reg conv_half_result(const ConvNest *c, int slot, int pixel);
/* Input blocks whose products a sum in binary16 takes at most. */
int64_t conv_half_blocks(const ConvPlan *p, int combination);

/* pack_int8.c: appends the call that rounds and packs weights; the temporaries that hold them, what sums begin with, and the
 * scale of each output channel. */
typedef struct { int weights, start, scale; } PackedInt8;
PackedInt8 pack_int8(Lower *l, const Group *g, const ConvPlan *p);
/* What sums begin with: [panel][taps before end, per dimension][V * W] integers, so many per panel and slot in vectors. */
int64_t conv_int8_starts(const ConvPlan *p);
Index conv_int8_at(const ConvPlan *p, const Index *end);       /* the vector of slot 0 of panel 0 for these ends */

/* pack.c: appends the call that packs p's weights; the temporary that holds them. */
int pack_weights(Lower *l, const Group *g, const ConvPlan *p);
/* Emits what packs one input block of a panel, without groups, to the start of `to`, as if it were the only one. */
void pack_block(Kernel *k, const ConvPlan *p, int from, int to, Index panel, Index block);
/* Emits prefetches of `run` floats of weights or of their gradient, whatever line they begin in. */
void pack_prefetch(Kernel *k, int from, Index at, int64_t run);
bool pack_is_constant(const Node *w);      /* made of parameters and states alone: packed once in entry infer */
bool conv_packs_each_time(const Lower *l, const Node *w);      /* not by prepare */

/* Cycles of one input channel and tap for `count` results in tiles of V blocks by `pixels`: products, loads, a bound by
 * the products' latency. The pixels of a tile that the registers hold; 0: too many blocks. */
double conv_tile_cost(const Target *t, int slots, int64_t pixels, int64_t count);
int conv_tile_pixels(const Target *t, int slots);
/* How much longer so many equal tasks take than if all processors had the same share: the mean over 1, 2, 4 and 8
 * of them; few tasks are worth less also because processors are disturbed. */
double conv_balance(double tasks);
/* Cycles of one processor for the whole batch, the group's body apart. */
double conv_plan_cost(const ConvPlan *p);
double conv_pack_cost(const ConvPlan *p);      /* of packing, where it is not done by prepare */
#endif
