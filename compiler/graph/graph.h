/* graph.h - tensors with known shapes in static single assignment, and the program they belong to.
 *
 * A Program is one network elaborated: its table of parameters and states, and the graphs over it.
 *   infer   `training` false: inputs -> outputs
 *   step    `training` true, with the loss; autodiff adds gradients; one optimizer step without update
 *   update  the optimizer over slabs of the tables (passes/optimizer.c)
 *   train   step, and the update of the parameters whose gradients nothing else needs; finish: of the others (passes/train.c)
 * Nodes stand in topological order in their graph's list. Structs are open. */
#ifndef SALUN_GRAPH_H
#define SALUN_GRAPH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "graph/expr.h"
#include "support/arena.h"
#include "support/diag.h"
#include "support/source.h"
#include "support/table.h"
#include "support/writer.h"

enum { MAX_RANK = 6, MAX_SPATIAL = 3 };

typedef enum { TYPE_F32, TYPE_I32, TYPE_U8, TYPE_F16 } DType;

typedef struct {
    int rank;                 /* 0: a scalar */
    bool batched;             /* axis 0 is the batch: dim[0] its capacity, run time uses the first n */
    int64_t dim[MAX_RANK];
} Shape;

int64_t shape_count(const Shape *s);                  /* elements at full capacity; 1 for rank 0; INT64_MAX beyond it */
bool shape_equal(const Shape *a, const Shape *b);
const char *shape_text(Arena *a, DType t, const Shape *s);   /* f32[8, 64, 32, 32]; the user's form */

typedef enum { INIT_ZEROS, INIT_CONST, INIT_NORMAL, INIT_TRUNC_NORMAL, INIT_UNIFORM } InitKind;
typedef struct { InitKind kind; double a, b; } Init;  /* CONST a; NORMAL std a; TRUNC_NORMAL std a, cut at 2 std; UNIFORM in [a, b) */

typedef enum { CONSTRAINT_NONE, CONSTRAINT_GREATER, CONSTRAINT_AT_LEAST, CONSTRAINT_BETWEEN } ConstraintKind;
typedef struct { ConstraintKind kind; double lo, hi; } Constraint;

/* What the optimizer does with a parameter: the recipe's values after its `group` patterns. */
typedef struct { double lr_scale, weight_decay; bool frozen; } ParamGroup;

typedef struct TensorDecl TensorDecl;
struct TensorDecl {                   /* one parameter or state, named as in weight files */
    const char *name;                 /* "layer1.0.bn1.a" */
    Shape shape;
    int channel;                      /* axis or -1 */
    bool is_state;
    Init init;
    Constraint constraint;
    ParamGroup group;
    Span span;
    int index;                        /* position in program->tensors */
    int64_t offset;                   /* in floats, a multiple of 16, in table PARAMS or STATES (passes/tables.c) */
    int64_t raw_offset;               /* constrained parameters: in table RAW; else -1 */
};

typedef enum {
#define OP(id, text, arity, class, gradient) OP_##id,
#include "graph/ops.def"
    OP_COUNT
} OpId;
typedef enum { CLASS_LEAF, CLASS_MAP, CLASS_REDUCE, CLASS_CONTRACT, CLASS_MOVE, CLASS_POOL, CLASS_RANDOM } OpClass;
typedef struct { const char *text; int arity; OpClass class; } OpInfo;
extern const OpInfo op_info[OP_COUNT];

/* BATCH: n; STEP: training steps done; LR: this step's rate; SMOOTHING: of the loss's labels, recipe.smoothing unless the run says otherwise */
typedef enum { SCALAR_BATCH, SCALAR_STEP, SCALAR_LR, SCALAR_SMOOTHING, SCALAR_COUNT } ScalarId;

/* CONV*, *POOL*. Channels are axis 1 and the spatial dimensions the axes behind it; with channel_last, which only
 * convolutions with spatial dimensions have, channels are the last axis and the spatial dimensions those between.
 * A linear layer over tokens [N, T, C] is a convolution with channel_last, one spatial dimension and kernel 1: its
 * weight is [O, C, 1], and its operands have Node.channel 2. Weights are [O, C/groups, k...] always. */
typedef struct {
    int spatial;                      /* 0 to 3 */
    bool channel_last;
    int64_t kernel[MAX_SPATIAL], stride[MAX_SPATIAL], dilation[MAX_SPATIAL];
    int64_t pad_lo[MAX_SPATIAL], pad_hi[MAX_SPATIAL];
    int64_t groups;
} Window;

int window_channel(const Window *w);                           /* the axis of an image's channels */
const int64_t *window_sizes(const Window *w, const Shape *s);  /* the spatial sizes of an image */

/* ATTENTION*: heads divides D; head h owns the channels h D/heads and up. causal (T >= S): query s sees the keys
 * t <= s + T - S. */
typedef struct { int heads; double scale; bool causal; } Attention;

typedef enum { TABLE_PARAMS, TABLE_STATES, TABLE_RAW, TABLE_GRADS, TABLE_SLOTS, TABLE_COUNT } TableId;
extern const char *const table_text[TABLE_COUNT];     /* "params", "states", .. */
extern const char *const scalar_text[SCALAR_COUNT];   /* "batch", .. */
extern const char *const dtype_text[];                /* "f32", "i32", "u8", "f16" */

/* A value of the forward pass computed once more for the backward pass (passes/recompute.c): LATE by loop nests of its
 * own, when the first of its readers wants it; INSIDE, a MAP, by every loop nest that reads it. */
typedef enum { AGAIN_NOT, AGAIN_LATE, AGAIN_INSIDE } Again;

typedef struct Node Node;
typedef struct Trace Trace;           /* how an instance was reached, for diagnostics */
struct Trace { const char *what; Span span; const Trace *outer; const char *layer; };   /* "block basic, called as layer2.0", where, from where, "basic" */

struct Node {
    OpId op;
    int id;
    Shape shape;
    DType type;
    int channel;                      /* axis or -1 */
    int arity;
    Node **in;
    union {
        const Expr *expr;             /* MAP */
        unsigned axes;                /* REDUCE: bit i is axis i */
        Window window;                /* CONV*, POOL */
        Attention attention;          /* ATTENTION* */
        struct { int axis; int64_t from; } part;   /* SLICE, PAD, CONCAT (axis alone); never a batched axis */
        int perm[MAX_RANK];           /* TRANSPOSE */
        int input;                    /* INPUT: position in graph->inputs */
        TensorDecl *tensor;           /* TENSOR */
        double value;                 /* FILL */
        ScalarId scalar;              /* SCALAR */
        uint32_t stream;              /* RANDOM */
        struct { TableId table; int64_t offset; } slab;   /* SLAB: offset in floats */
    } attr;
    Again again;
    Span span;
    const char *tap;                  /* instance that computes it ("layer2.0.bn1"), never NULL; "" outside of any */
    const Trace *trace;
    Node *prev, *next;
    void *note;                       /* a pass's own, void at its end */
};

typedef enum {
    EFFECT_STATE,                     /* tensor = node, after everything was read */
    EFFECT_GRADIENT,                  /* table GRADS at the tensor's offset = node */
    EFFECT_SLAB                       /* a range of a table = node, row-major (update, train, finish) */
} EffectKind;
typedef struct {
    EffectKind kind;
    TensorDecl *tensor;               /* STATE, GRADIENT */
    TableId table; int64_t offset;    /* SLAB */
    Node *value;
} Effect;

typedef struct { const char *name; Node *node; } Port;

typedef struct Program Program;
typedef struct {
    const char *name;                 /* "infer", "step", "update", "train", "finish" */
    Program *program;
    Arena *arena;
    ExprPool *exprs;
    Node *first, *last;
    int next_id;
    Port *inputs;  int input_count;   /* OP_INPUT nodes in declared order; targets behind inputs */
    Port *outputs; int output_count;  /* step: "loss" first, then the network's outputs */
    Effect *effects; int effect_count, effect_cap;
} Graph;

Graph *graph_new(Program *p, const char *name);

/* Builders. Each appends one node behind graph->last,
 * infers its shape and asserts that the arguments are legal: callers diagnose user errors first.
 * `like` gives span, tap and trace; NULL: none. */
Node *graph_input(Graph *g, const char *name, DType t, Shape s, int channel, const Node *like);
Node *graph_tensor(Graph *g, TensorDecl *t, const Node *like);
Node *graph_fill(Graph *g, Shape s, int channel, double value, const Node *like);
Node *graph_scalar(Graph *g, ScalarId id, const Node *like);
Node *graph_slab(Graph *g, TableId table, int64_t offset, int64_t count, const Node *like);
Node *graph_map(Graph *g, const Expr *e, Node *const *in, int arity, const Node *like);   /* shape: join of the inputs */
Node *graph_map_shape(Graph *g, const Expr *e, Node *const *in, int arity, Shape s, int channel, const Node *like);
/* The same of another type: values are rounded to the nearest integer, ties to even, and lie in the type's range. */
Node *graph_map_integer(Graph *g, const Expr *e, Node *const *in, int arity, Shape s, int channel, DType type, const Node *like);
Node *graph_reduce(Graph *g, OpId op, Node *x, unsigned axes, const Node *like);
Node *graph_conv(Graph *g, Node *x, Node *w, const Window *win, const Node *like);
/* A convolution by whole numbers: x holds bytes, whose meaning is step (x - zero); weights are rounded per output channel. */
/* x f16, w f32, rounded to f16 */
Node *graph_conv_half(Graph *g, Node *x, Node *w, const Window *win, const Node *like);
Node *graph_conv_int8(Graph *g, Node *x, Node *w, Node *zero, Node *step, const Window *win, const Node *like);
Node *graph_conv_input(Graph *g, Node *dy, Node *w, const Window *win, Shape x, const Node *like);
Node *graph_conv_weight(Graph *g, Node *x, Node *dy, const Window *win, Shape w, const Node *like);
Node *graph_pool(Graph *g, OpId op, Node *const *in, const Window *win, Shape result, const Node *like);
Node *graph_reshape(Graph *g, Node *x, Shape s, int channel, const Node *like);
Node *graph_transpose(Graph *g, Node *x, const int *perm, const Node *like);
Node *graph_attention(Graph *g, Node *q, Node *k, Node *v, const Attention *a, const Node *like);
/* op ATTENTION_Q, _K or _V of in = q, k, v, dy */
Node *graph_attention_gradient(Graph *g, OpId op, Node *const *in, const Attention *a, const Node *like);
Node *graph_slice(Graph *g, Node *x, int axis, int64_t from, int64_t size, const Node *like);
Node *graph_pad(Graph *g, Node *x, int axis, int64_t from, int64_t size, const Node *like);   /* size: the result's */
Node *graph_concat(Graph *g, Node *const *in, int count, int axis, const Node *like);
Node *graph_random(Graph *g, Shape s, int channel, uint32_t stream, const Node *like);
/* two operands of any broadcastable rank: inserts the reshapes that a MAP needs (see graph_align) */
Node *graph_binary(Graph *g, ExprOp op, Node *x, Node *y, const Node *like);
Node *graph_unary(Graph *g, ExprOp op, Node *x, const Node *like);
void graph_effect(Graph *g, EffectKind kind, TensorDecl *t, Node *value);
void graph_effect_slab(Graph *g, TableId table, int64_t offset, Node *value);
void graph_output(Graph *g, const char *name, Node *node);
Node *graph_copy(Graph *g, const Node *n);           /* another node that computes the same from the same inputs */

/* x as an operand of a MAP over `target`: rank 0 and equal ranks stay; a rank-1 tensor lies along the
 * target's channel axis when it has one; other ranks align at the last axis. NULL when it does not fit. */
Node *graph_align(Graph *g, Node *x, const Shape *target, int channel, const Node *like);
/* Equal rank or rank 0; dims equal or 1. A batched axis 0 joins a batched one or a 1, and stays batched. */
bool shape_join(const Shape *a, const Shape *b, Shape *result);
Shape shape_of(bool batched, int rank, const int64_t *dim);
/* spatial sizes of a window's result; false when one would be < 1 */
bool window_result(const Window *win, const int64_t *in, int64_t *out);
/* whether every window holds at least one element that is no padding: what a pool requires */
bool window_covers(const Window *win, const int64_t *in);

/* every use, output and effect, but for uses in `with` itself (which may be computed from old); the order
 * of nodes is the caller's to keep or to restore with graph_sort */
void graph_replace(Graph *g, Node *old, Node *with);
void graph_remove(Graph *g, Node *n);                             /* n has no use */
void graph_move_before(Graph *g, Node *n, Node *before);
int graph_count(const Graph *g);
void graph_sort(Graph *g);                                        /* restores topological order (stable) and renumbers ids */

void graph_print(Writer *out, const Graph *g);   /* stable; one line per node: `%3 = conv %1, %2 {..} : f32[..]  ; layer1.0.conv1 line 7` */
void graph_dot(Writer *out, const Graph *g);
void graph_verify(const Graph *g, const char *after);   /* aborts naming the pass when an invariant is broken */
const char *graph_check(const Graph *g, Arena *arena);  /* the first broken invariant in words; NULL: sound */
/* What is wrong with a node seen alone with its inputs (arity, shapes, types, attributes); NULL: nothing.
 * The builders assert that it is NULL. */
const char *node_error(const Node *n);

/* ---- the program ---- */

typedef enum { PRE_RESIZE, PRE_CENTER_CROP, PRE_NORMALIZE } PreKind;
typedef struct { PreKind kind; int64_t size; int channels; double mean[4], std[4]; } PreStep;

typedef enum { AUG_PAD_CROP, AUG_FLIP } AugKind;
typedef struct { AugKind kind; double value; } Augment;            /* PAD_CROP: pixels; FLIP: probability */

typedef enum { SCHED_CONST, SCHED_WARMUP, SCHED_COSINE, SCHED_LINEAR, SCHED_STEP } SchedKind;
typedef struct {
    SchedKind kind;
    double epochs;                    /* its length; the last one runs to the end of training */
    double to;                        /* COSINE, LINEAR: final factor */
    double gamma; double at[16]; int at_count;   /* STEP: factor at each epoch of at[] */
} SchedPart;

typedef struct { const char *pattern; bool has_lr, has_decay; double lr_scale, weight_decay; bool freeze; } GroupRule;

typedef struct {
    const char *data;                 /* "cifar10", "cifar100", "mnist", "npy:a.npy,b.npy" or "" */
    int64_t batch;
    Augment *augment; int augment_count;
    double smoothing;
    double lr, momentum, weight_decay; bool nesterov;
    double clip_norm;                 /* 0: none */
    GroupRule *group; int group_count;
    SchedPart *schedule; int schedule_count;
    int64_t epochs; uint64_t seed;
} Recipe;

typedef struct { const char *name; Shape shape; const char *what; Span span; bool replaceable; } Tap;   /* what: "salu", "conv" */

/* What --precision=int8 or f16 made of one convolution of `infer`, and why. */
typedef struct { const char *tap; Span span; bool lower; bool by_range; const char *why; } LayerPrecision;   /* by_range: only its input's range decided */

/* Whoever can show which values occur. */
typedef struct Calibration Calibration;
struct Calibration {
    /* Widens seen[i] to the least and the largest that values of nodes[i] commonly are; false: went wrong, said elsewhere. */
    bool (*see)(Calibration *c, const Graph *g, Node *const *nodes, int count, double (*seen)[2]);
};

struct Program {
    Arena *arena;
    ExprPool *exprs;
    const char *name;                 /* of the network or variant */
    const char *file;
    int64_t batch;                    /* capacity N */
    int recompute;                    /* effort to save training memory: passes/recompute.c */
    TensorDecl **tensors; int tensor_count, tensor_cap;
    Tap *taps; int tap_count, tap_cap;
    Graph *infer, *step, *update;     /* step, update: NULL when compiled for inference only */
    Graph *train, *finish;            /* step and update in one, NULL where that is not possible (passes/train.c) */
    PreStep *pre; int pre_count;      /* of input 0; 0: none declared */
    Recipe recipe;
    int64_t table_size[TABLE_COUNT];  /* floats; passes/tables.c */
    bool int8;                        /* infer: convolutions of bytes where passes/quantize.c can */
    int half;                         /* infer: convolutions in float16, for vectors of so many floats; 0: none */
    Calibration *calibration;         /* for that, NULL: none */
    LayerPrecision *precision; int precision_count, precision_cap;
    Table *names; int named;          /* program_tensor's index over tensors[0 .. named) */
};

Program *program_new(Arena *arena, const char *name);              /* empty, batch 1, a fresh ExprPool */
/* Appends a tensor: index set, offsets -1, group of a plain parameter (lr_scale 1); the rest is the caller's. */
TensorDecl *program_add_tensor(Program *p, const char *name, Shape shape, int channel, bool is_state);
/* The tensor of that name, the first where a name occurs twice; NULL when there is none. Sees whatever
 * was appended to p->tensors before the call. */
TensorDecl *program_tensor(Program *p, const char *name);
#endif
