/* shape.c - shapes, windows, and what makes a node legal: node_error states each operator's shape rule.
 * Source of the rules: graph/ops.def. */
#include "graph/graph.h"

#include <assert.h>
#include <string.h>

Shape shape_of(bool batched, int rank, const int64_t *dim) {
    assert(rank >= 0 && rank <= MAX_RANK && (rank > 0 || !batched));
    Shape s = { .rank = rank, .batched = batched };
    for (int i = 0; i < rank; i++)
        s.dim[i] = dim[i];
    return s;
}

int64_t shape_count(const Shape *s) {
    int64_t count = 1;
    for (int i = 0; i < s->rank; i++)
        if (__builtin_mul_overflow(count, s->dim[i], &count))
            return INT64_MAX;
    return count;
}

bool shape_equal(const Shape *a, const Shape *b) {
    if (a->rank != b->rank || a->batched != b->batched)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

const char *shape_text(Arena *a, DType t, const Shape *s) {
    Writer *w = writer_new(a);
    writer_printf(w, "%s[", dtype_text[t]);
    for (int i = 0; i < s->rank; i++)
        writer_printf(w, "%s%lld", i ? ", " : "", (long long)s->dim[i]);
    writer_char(w, ']');
    return w->data;
}

bool shape_join(const Shape *a, const Shape *b, Shape *result) {
    if (a->rank == 0 || b->rank == 0) {
        *result = a->rank == 0 ? *b : *a;
        return true;
    }
    if (a->rank != b->rank)
        return false;
    Shape s = { .rank = a->rank, .batched = a->batched || b->batched };
    for (int i = 0; i < s.rank; i++) {
        if (a->dim[i] != b->dim[i] && a->dim[i] != 1 && b->dim[i] != 1)
            return false;
        s.dim[i] = a->dim[i] == 1 ? b->dim[i] : a->dim[i];
    }
    if (s.batched && a->batched != b->batched) {
        const Shape *fixed = a->batched ? b : a, *batched = a->batched ? a : b;
        if (fixed->dim[0] != 1)
            return false;
        s.dim[0] = batched->dim[0];
    }
    if (a->batched && b->batched && a->dim[0] != b->dim[0])
        return false;
    *result = s;
    return true;
}

/* ---- windows ---- */

enum { WINDOW_LIMIT = 1 << 24 };   /* of any size in a window, so that sums of products stay exact */

static bool window_sane(const Window *w, int i) {
    return w->kernel[i] >= 1 && w->kernel[i] <= WINDOW_LIMIT && w->stride[i] >= 1 && w->stride[i] <= WINDOW_LIMIT &&
           w->dilation[i] >= 1 && w->dilation[i] <= WINDOW_LIMIT && w->pad_lo[i] >= 0 &&
           w->pad_lo[i] <= WINDOW_LIMIT && w->pad_hi[i] >= 0 && w->pad_hi[i] <= WINDOW_LIMIT;
}

static int64_t window_extent(const Window *w, int i) {
    return (w->kernel[i] - 1) * w->dilation[i] + 1;
}

bool window_result(const Window *win, const int64_t *in, int64_t *out) {
    if (win->spatial < 0 || win->spatial > MAX_SPATIAL)
        return false;
    for (int i = 0; i < win->spatial; i++) {
        if (!window_sane(win, i) || in[i] < 1 || in[i] > INT64_MAX / 4)
            return false;
        int64_t room = in[i] + win->pad_lo[i] + win->pad_hi[i] - window_extent(win, i);
        if (room < 0)
            return false;
        out[i] = room / win->stride[i] + 1;
    }
    return true;
}

bool window_covers(const Window *win, const int64_t *in) {
    for (int i = 0; i < win->spatial; i++) {
        int64_t extent = window_extent(win, i);
        if (win->pad_lo[i] >= extent || win->pad_hi[i] >= extent)
            return false;
        if (in[i] < win->dilation[i] && win->pad_lo[i] > 0)
            return false;
    }
    return true;
}

int window_channel(const Window *w) { return w->channel_last ? w->spatial + 1 : 1; }

const int64_t *window_sizes(const Window *w, const Shape *s) { return s->dim + (w->channel_last ? 1 : 2); }

/* ---- rules: each gives what is wrong, or NULL ---- */

/* image [N, C, in...] and result [N, ., out...] of a window (or with channels last): batch, spatial sizes */
static const char *window_error(const Window *win, const Shape *image, const Shape *result) {
    int64_t out[MAX_SPATIAL];
    if (win->spatial < 0 || win->spatial > MAX_SPATIAL)
        return "the window has no legal number of spatial dimensions";
    if (image->rank != win->spatial + 2 || result->rank != image->rank)
        return "rank is not 2 + the window's spatial dimensions";
    if (image->batched != result->batched || image->dim[0] != result->dim[0])
        return "batch of image and result differ";
    if (win->channel_last && win->spatial == 0)
        return "channels are the last axis of a window without spatial dimensions";
    if (!window_result(win, window_sizes(win, image), out))
        return "the window does not fit its image";
    for (int i = 0; i < win->spatial; i++)
        if (out[i] != window_sizes(win, result)[i])
            return "spatial sizes are not the window's result";
    return NULL;
}

/* image [N, C, in...], weight [O, C/groups, k...], result [N, O, out...], or with channels last */
static const char *conv_error(const Window *win, const Shape *image, const Shape *weight, const Shape *result) {
    const char *error = window_error(win, image, result);
    if (error)
        return error;
    if (weight->batched || weight->rank != image->rank)
        return "the weight has the wrong rank or a batch";
    int channel = window_channel(win);
    if (win->groups < 1 || image->dim[channel] % win->groups || weight->dim[0] % win->groups)
        return "groups do not divide the channels";
    if (weight->dim[1] != image->dim[channel] / win->groups)
        return "the weight's second dimension is not channels / groups";
    if (weight->dim[0] != result->dim[channel])
        return "the weight's first dimension is not the result's channels";
    for (int i = 0; i < win->spatial; i++)
        if (weight->dim[2 + i] != win->kernel[i])
            return "the weight's spatial sizes are not the window's kernel";
    return NULL;
}

/* With channels last, the image's and the result's own channel axis is the window's. */
static const char *contract_error(const Node *n, const Shape *image, const Shape *weight, const Shape *result) {
    const Window *win = &n->attr.window;
    const char *error = conv_error(win, image, weight, result);
    if (error || !win->channel_last)
        return error;
    const Node *other = n->op == OP_CONV_WEIGHT ? n->in[1] : n;
    return n->in[0]->channel == window_channel(win) && other->channel == window_channel(win)
               ? NULL : "the channel axis is not the window's";
}

/* q, k, v and for gradients dy; the result's shape is that of `like` */
static const char *attention_error(const Node *n, const Shape *like) {
    const Attention *a = &n->attr.attention;
    const Shape *q = &n->in[0]->shape, *k = &n->in[1]->shape, *v = &n->in[2]->shape;
    if (q->rank != 3 || k->rank != 3)
        return "the rank is not 3";
    if (!shape_equal(k, v))
        return "keys and values differ in shape";
    if (q->batched != k->batched || q->dim[0] != k->dim[0] || q->dim[2] != k->dim[2])
        return "batch or channels of queries and keys differ";
    if (a->heads < 1 || q->dim[2] % a->heads)
        return "heads do not divide the channels";
    if (a->causal && k->dim[1] < q->dim[1])
        return "some queries would see no key";
    if (n->arity == 4 && !shape_equal(q, &n->in[3]->shape))
        return "the gradient's shape is not the queries'";
    for (int i = 0; i < n->arity; i++)
        if (n->in[i]->channel != 2)
            return "channels are not the last axis";
    return n->channel == 2 && shape_equal(&n->shape, like) ? NULL : "the shape or the channel axis is not the operator's";
}

static const char *int8_error(const Node *n) {
    const char *error = contract_error(n, &n->in[0]->shape, &n->in[1]->shape, &n->shape);
    if (error)
        return error;
    if (n->attr.window.groups != 1)
        return "channels are in groups";
    if (n->in[0]->type != TYPE_U8 || n->in[1]->type != TYPE_F32 || n->in[2]->type != TYPE_I32 || n->in[3]->type != TYPE_F32)
        return "the types are not u8, f32, i32 and f32";
    return n->in[2]->shape.rank || n->in[3]->shape.rank ? "zero and step are no scalars" : NULL;
}

static const char *half_error(const Node *n) {
    const char *error = contract_error(n, &n->in[0]->shape, &n->in[1]->shape, &n->shape);
    if (error)
        return error;
    if (n->attr.window.groups != 1 || n->attr.window.channel_last || n->attr.window.spatial == 0)
        return "channels are in groups or last, or there is no window";
    return n->in[0]->type != TYPE_F16 || n->in[1]->type != TYPE_F32 ? "the types are not f16 and f32" : NULL;
}

static const char *pool_error(const Window *win, const Shape *image, const Shape *result) {
    if (win->channel_last)
        return "a pool's channels are axis 1";
    const char *error = window_error(win, image, result);
    if (error)
        return error;
    if (image->dim[1] != result->dim[1])
        return "channels of image and result differ";
    return window_covers(win, image->dim + 2) ? NULL : "a window holds padding only";
}

static const char *map_error(const Node *n) {
    if (!n->attr.expr)
        return "no expression";
    if (expr_input_limit(n->attr.expr) > n->arity)
        return "the expression uses an input that is not there";
    if (n->attr.expr->coord_limit > n->shape.rank)
        return "the expression uses a coordinate beyond the rank";
    for (int i = 0; i < n->arity; i++) {
        Shape joined;
        if (!shape_join(&n->in[i]->shape, &n->shape, &joined) || !shape_equal(&joined, &n->shape))
            return "an input does not broadcast to the shape";
    }
    return NULL;
}

static const char *reduce_error(const Node *n) {
    const Shape *x = &n->in[0]->shape;
    if (n->shape.rank != x->rank || n->attr.axes >> x->rank)
        return "axes or rank do not fit the input";
    for (int i = 0; i < x->rank; i++)
        if (n->shape.dim[i] != (n->attr.axes >> i & 1 ? 1 : x->dim[i]))
            return "the shape is not the input's with size 1 along the axes";
    if (n->shape.batched != (x->batched && !(n->attr.axes & 1)))
        return "batched is not what the axes leave";
    return NULL;
}

static const char *reshape_error(const Node *n) {
    const Node *x = n->in[0];
    if (n->type != x->type)
        return "the type changes";
    if (shape_count(&n->shape) != shape_count(&x->shape))
        return "the number of elements changes";
    if (n->shape.batched != x->shape.batched || (n->shape.batched && n->shape.dim[0] != x->shape.dim[0]))
        return "the batch does not stay axis 0";
    return NULL;
}

static const char *transpose_error(const Node *n) {
    const Node *x = n->in[0];
    unsigned seen = 0;
    if (n->type != x->type)
        return "the type changes";
    if (n->shape.rank != x->shape.rank || n->shape.batched != x->shape.batched)
        return "rank or batched differ from the input's";
    for (int i = 0; i < n->shape.rank; i++) {
        int from = n->attr.perm[i];
        if (from < 0 || from >= x->shape.rank || seen >> from & 1)
            return "no permutation";
        seen |= 1u << from;
        if (n->shape.dim[i] != x->shape.dim[from])
            return "the shape is not the input's permuted";
    }
    return n->shape.batched && n->attr.perm[0] != 0 ? "the batch does not stay axis 0" : NULL;
}

/* Shapes equal but for the size along the axis, which is no batch. */
static const char *part_error(const Node *n) {
    int axis = n->attr.part.axis;
    if (axis < 0 || axis >= n->shape.rank || (axis == 0 && n->shape.batched))
        return "the axis is out of range or the batch";
    if (n->arity < 1)
        return "there is no input";
    for (int k = 0; k < n->arity; k++) {
        Shape s = n->in[k]->shape;
        if (n->in[k]->type != n->type)
            return "the type changes";
        if (s.rank != n->shape.rank)
            return "the rank changes";
        s.dim[axis] = n->shape.dim[axis];
        if (!shape_equal(&s, &n->shape))
            return "the shape changes along another axis";
    }
    return NULL;
}

static const char *slice_error(const Node *n) {
    const char *error = part_error(n);
    if (error)
        return error;
    const Shape *whole = n->op == OP_SLICE ? &n->in[0]->shape : &n->shape;
    const Shape *part = n->op == OP_SLICE ? &n->shape : &n->in[0]->shape;
    int axis = n->attr.part.axis;
    return n->attr.part.from < 0 || n->attr.part.from > whole->dim[axis] - part->dim[axis] ? "the range is not inside" : NULL;
}

static const char *concat_error(const Node *n) {
    const char *error = part_error(n);
    int64_t size = 0;
    for (int k = 0; k < n->arity && !error; k++)
        size += n->in[k]->shape.dim[n->attr.part.axis];
    return error ? error : size != n->shape.dim[n->attr.part.axis] ? "the sizes do not add up" : NULL;
}

static const char *leaf_error(const Node *n) {
    switch (n->op) {
    case OP_TENSOR:
        if (!n->attr.tensor)
            return "no tensor";
        return shape_equal(&n->shape, &n->attr.tensor->shape) ? NULL : "the shape is not the tensor's";
    case OP_SCALAR:
        return n->shape.rank || (int)n->attr.scalar < 0 || n->attr.scalar >= SCALAR_COUNT ? "no scalar" : NULL;
    case OP_SLAB:
        if (n->shape.rank != 1 || n->shape.batched)
            return "the shape is not of rank 1 without a batch";
        return (int)n->attr.slab.table < 0 || n->attr.slab.table >= TABLE_COUNT || n->attr.slab.offset < 0
                   ? "the range is not in a table" : NULL;
    default:
        return NULL;
    }
}

static const char *shape_error(const Node *n) {
    if (n->shape.rank < 0 || n->shape.rank > MAX_RANK)
        return "the rank is out of range";
    if (n->shape.batched && n->shape.rank == 0)
        return "a scalar has no batch";
    for (int i = 0; i < n->shape.rank; i++)
        if (n->shape.dim[i] < 1)
            return "a dimension is below 1";
    if (shape_count(&n->shape) == INT64_MAX)
        return "the shape has too many elements";
    return n->channel < -1 || n->channel >= n->shape.rank ? "the channel axis is out of range" : NULL;
}

static const char *rule_error(const Node *n) {
    const Shape *a = n->arity > 0 ? &n->in[0]->shape : NULL, *b = n->arity > 1 ? &n->in[1]->shape : NULL;
    const Window *win = &n->attr.window;
    switch (n->op) {
    case OP_MAP: return map_error(n);
    case OP_SUM: case OP_MAXIMUM: return reduce_error(n);
    case OP_CONV: return contract_error(n, a, b, &n->shape);
    case OP_CONV_INT8: return int8_error(n);
    case OP_CONV_HALF: return half_error(n);
    case OP_CONV_INPUT: return contract_error(n, &n->shape, b, a);
    case OP_CONV_WEIGHT: return contract_error(n, a, &n->shape, b);
    case OP_ATTENTION: case OP_ATTENTION_Q: return attention_error(n, a);
    case OP_ATTENTION_K: case OP_ATTENTION_V: return attention_error(n, b);
    case OP_MAXPOOL: case OP_AVGPOOL: return pool_error(win, a, &n->shape);
    case OP_AVGPOOL_INPUT: return pool_error(win, &n->shape, a);
    case OP_MAXPOOL_INPUT:
        if (!shape_equal(a, &n->shape) || !shape_equal(b, &n->in[2]->shape))
            return "x and dx, or y and dy, differ in shape";
        return pool_error(win, a, b);
    case OP_RESHAPE: return reshape_error(n);
    case OP_TRANSPOSE: return transpose_error(n);
    case OP_SLICE: case OP_PAD: return slice_error(n);
    case OP_CONCAT: return concat_error(n);
    default: return leaf_error(n);
    }
}

const char *node_error(const Node *n) {
    if ((int)n->op < 0 || n->op >= OP_COUNT)
        return "no operator";
    if (n->arity < 0 || (op_info[n->op].arity >= 0 && n->arity != op_info[n->op].arity))
        return "the number of inputs is not the operator's";
    if (!n->tap)
        return "no tap";
    OpClass class = op_info[n->op].class;
    for (int i = 0; i < n->arity; i++) {
        if (!n->in[i])
            return "an input is missing";
        if (n->in[i]->type != TYPE_F32 && class != CLASS_MAP && class != CLASS_MOVE && n->op != OP_CONV_INT8 && n->op != OP_CONV_HALF)
            return "an input is not f32";
    }
    if (n->type != TYPE_F32 && class != CLASS_MOVE && class != CLASS_MAP && n->op != OP_INPUT)
        return "the type is not f32";
    const char *error = shape_error(n);
    return error ? error : rule_error(n);
}
