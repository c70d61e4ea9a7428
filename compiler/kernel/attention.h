/* attention.h - what forward and gradients of attention share: the operands of a head, tiles of products, the softmax.
 *
 * A task is (image, head, some chunks of queries). Lanes are queries: a chunk is `vectors` vectors of them, and the
 * scores of a chunk, [key][lane], wait in scratch, so maxima and sums over keys need no lane of another. A product
 * has one of two forms, both tiles in registers: with sums over the channels of a head it gives [key][lane], with sums
 * over keys or queries it gives rows [token][channel]. Every sum has one fixed order. Nothing is larger than
 * keys x chunk.
 *
 * Where a head is whole blocks (or vectors of a plain row) operands are read and written where they lie; other heads
 * are gathered into scratch, [token][channels rounded up to W], and scattered from there. */
#ifndef SALUN_KERNEL_ATTENTION_H
#define SALUN_KERNEL_ATTENTION_H

#include "kernel/lower.h"

enum { MAX_HEAD_ACC = 28, MAX_HEAD_VECTORS = 6 };

/* One operand or result of a head. Element (token, block b, lane) is at base + token * token_step + b * block_step + lane. */
typedef struct {
    Node *node;                    /* the value; what a slice is read from */
    int64_t channel;               /* of it, that head 0 begins with */
    int64_t tokens;
    int argument;                  /* buffer of the whole value */
    int buffer;                    /* where the head's rows are: `argument` or scratch */
    bool direct;
    Index base;
    int64_t token_step, block_step;
} HeadRows;

typedef struct {
    Lower *l;
    Kernel *k;
    Attention attr;
    int width;
    int64_t images, queries, keys, channels;
    bool batched;
    int64_t head, row, blocks;     /* channels of a head; rounded up to vectors; vectors */
    int vectors, key_tile;         /* of a chunk; keys of a tile of scores */
    int row_slots, row_tile;       /* tile of rows: blocks, tokens */
    int64_t lanes, chunks;         /* queries of a chunk; chunks of an image */
    int64_t parts, part_chunks;    /* tasks of a head */
    Index image, number;           /* of the task; number: of the head */
    Index first, count;            /* the chunk's first query, and how many there are */
    int64_t static_count;          /* of each chunk; 0: known at run time */
    int transposed;                /* scratch: queries of the chunk, [channel][lane] */
    int scores;                    /* scratch: [key][lane] */
    int largest, inverse;          /* scratch: [lane], largest score; 1 / the sum of probabilities */
    Reg acc[MAX_HEAD_ACC];
} Heads;

/* attention_plan.c: shapes, tiles and tasks; sums_queries: gradients that add up all queries are wanted. */
void heads_plan(Heads *h, Lower *l, const Node *attention, bool sums_queries);
/* declares an argument; a result when `written` */
HeadRows heads_argument(Heads *h, const char *name, Node *n, bool written);
const char *heads_title(const Heads *h);                       /* for readers */
void heads_scratch(Heads *h);                                  /* declares scratch, behind the arguments */
void heads_call(const Heads *h, PlannedCall *c, const Group *g, double products);   /* tasks; operations of so many per query, key and channel */

/* attention_heads.c: emits loops. heads_begin finds image and head, heads_chunks opens the loop over the task's chunks. */
void heads_begin(Heads *h);
int heads_chunks(Heads *h);                                    /* loops opened */
void heads_place(Heads *h, HeadRows *r);                       /* where the head's rows are; scratch where they are not direct */
void heads_gather(Heads *h, const HeadRows *r);                /* reads an operand that is not direct */
void heads_scatter(Heads *h, const HeadRows *r, Index from, Index end);   /* writes tokens of a result that is not direct */
void heads_transpose(Heads *h, const HeadRows *r, int to, double factor);   /* the chunk's rows, times the factor, to [channel][lane] */
/* acc = sum over the head's channels of x[key] y[lane], y transposed; finish sees a tile: acc[i * vectors + v] of key + i, i < keys. */
typedef void HeadsFinish(Heads *h, void *context, Index key, int keys);
void heads_lanes(Heads *h, const HeadRows *x, int transposed, HeadsFinish *finish, void *context);
/* to[row] = sum over s < sums of weights[row * row_step + s * sum_step] x[s], times factor[row] where factor >= 0 is a buffer;
 * x's row s is token first + s. `add`: added to what is there. */
typedef struct {
    int weights; int64_t row_step, sum_step;
    const HeadRows *x; Index x_first;
    Index sums; int64_t static_sums;           /* 0: known at run time */
    const HeadRows *to; Index to_first;
    Index rows; int64_t static_rows;           /* 0: known at run time */
    int factor;
    bool add;
} RowProduct;
void heads_rows(Heads *h, const RowProduct *p);
void heads_softmax(Heads *h, const HeadRows *queries, const HeadRows *keys);   /* transposed; scores = e^(score - largest), inverse */
Index heads_lane(const Heads *h, Index key, int vector);       /* element of a [key][lane] array */
#endif
