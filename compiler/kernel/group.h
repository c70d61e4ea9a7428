/* group.h - fusion groups: sets of nodes that become one loop nest, and the layouts of the values between.
 *
 * Every node of a graph but leaves and aliases belongs to one group. A group has at most one anchor
 * (CONTRACT, REDUCE, POOL, MOVE, RANDOM); its MAPs all have the group's space, the shape of the anchor's result
 * or, without an anchor, of the MAPs themselves. Side sums add a member's value up to a smaller shape on the
 * way. Only `outputs` and the sums are materialised. */
#ifndef SALUN_KERNEL_GROUP_H
#define SALUN_KERNEL_GROUP_H

#include "graph/graph.h"
#include "kernel/kir.h"

/* PLAIN: row-major. BLOCKED: [batch][ceil(C/W)][the other axes in order][W] with C the channel axis;
 * lanes beyond C are zero. Rank 2 [N, C] blocked is [N][ceil(C/W) * W]. */
typedef enum { LAYOUT_PLAIN, LAYOUT_BLOCKED } Layout;

typedef struct Group Group;

/* What lowering knows of a value: in node->note from layout on. */
typedef struct {
    Group *group;              /* that computes it; NULL for leaves and aliases */
    Layout layout;
    Node *alias;               /* the value lives in this other node's memory (reshape of plain, FILL folded; slice of
                                  channels that attention alone reads: a part of it). NULL: its own */
    bool materialised;
    bool placed;               /* space and offset are known: a leaf, an output, an effect, or planned */
    int space; int64_t offset; /* its place, bytes */
    int life;                  /* its row while planning; 0: none yet */
    bool forward;              /* outputs or states depend on it */
    const Node *copy_of;       /* the AGAIN_INSIDE value that this member of a group computes; NULL: none */
} ValueInfo;
static inline ValueInfo *value_info(const Node *n) { return n->note; }

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Group {
    int id;
    Node *anchor;

    Node **maps; int map_count;        /* MAPs behind the anchor, topological */
    Node **sums; int sum_count;        /* OP_SUM nodes added up on the way */
    Node **inputs; int input_count;    /* values from outside, each once, in order of first use */
    Node **outputs; int output_count;  /* members visible outside */
    Shape space; int channel;          /* of maps */
    bool prepare;                      /* depends on parameters and states alone (infer graph) */
};

typedef struct Grouping Grouping;
struct Grouping { Graph *graph; Group **groups; int count; Arena *arena; const Target *target; };
/* blas: linear layers are products of the BLAS, behind which nothing fuses. */
static inline bool is_attention(const Node *n) { return n->op >= OP_ATTENTION && n->op <= OP_ATTENTION_V; }
bool is_linear(const Node *n);                               /* CONV, CONV_INPUT or CONV_WEIGHT without spatial dimensions and groups */
Grouping *pass_fuse(Arena *a, Graph *g, const Target *t, bool blas);   /* assigns groups and layouts; groups in executable order */
void grouping_print(Writer *out, const Grouping *g);         /* --emit=groups */
void grouping_verify(const Grouping *g);
int64_t value_floats(const Node *n, int width);              /* memory of a value in its layout, elements */
int64_t value_size(const Node *n, int width);

/* Feature maps (batched, more than one channel) are blocked where this says so. */
bool layout_wants_blocks(const Node *n);
bool group_is_blocked(const Group *g);                       /* the same of a group's space: vectors lie along its channels */

/* The element index of logical position at[0..rank) of a value in its layout, for the vector of W channels (BLOCKED)
 * whose block is `block`: at[channel] is ignored and lane 0 addressed. PLAIN: at[channel] is block * W. */
Index value_index(const Node *n, int width, const Index *at, Index block);
int64_t plain_stride(const Node *n, int axis);              /* elements from one place along the axis of a PLAIN value to the next */
Index plain_index(const Node *n, const Index *at);           /* row-major, of a PLAIN value; axes of size 1 are skipped */
#endif
