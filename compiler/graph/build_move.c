/* build_move.c - built-in functions that take tensors apart and put them together, and attention between tensors.
 * Axes count the batch as 0, or from the end; the batch is never cut, joined or moved. */
#include "graph/build_parts.h"

#include <math.h>

static const char *shape_of_node(Builder *b, const Node *x) { return shape_text(b->arena, x->type, &x->shape); }

/* An axis of x that is no batch. */
static bool free_axis(Builder *b, const Node *x, int64_t axis, Span at, const char *verb, int *out) {
    if (!axis_of(b, x, axis, at, out))
        return false;
    if (*out > 0 || !x->shape.batched)
        return true;
    build_error(b, at, "axis 0 is the batch, which `%s` leaves as it is", verb);
    return false;
}

/* ---- slice, split, pad ---- */

/* x without an axis of size 1 */
static Node *without_axis(Builder *b, Node *x, int axis, Span at) {
    Shape s = { .batched = x->shape.batched };
    int channel = -1;
    for (int i = 0; i < x->shape.rank; i++) {
        if (i == axis)
            continue;
        if (i == x->channel)
            channel = s.rank;
        s.dim[s.rank++] = x->shape.dim[i];
    }
    return graph_reshape(b->graph, x, s, channel, build_at(b, at));
}

/* [from, to) of an axis; negative numbers count from its end. */
static bool range_inside(Builder *b, const LayerCall *c, const CallArg *range, int64_t size, int64_t *from, int64_t *to) {
    bool single = range->count == 1;
    *from = range->integers[0] < 0 ? range->integers[0] + size : range->integers[0];
    *to = single ? *from + 1 : range->integers[1] < 0 ? range->integers[1] + size : range->integers[1];
    if (*from >= 0 && *from < *to && *to <= size)
        return true;
    if (single)
        build_error(b, range->span, "this axis of %s has no place %lld", shape_of_node(b, c->x), (long long)range->integers[0]);
    else if (*from >= *to && *from >= 0 && *to <= size)
        build_error(b, range->span, "%lld..%lld is empty", (long long)range->integers[0], (long long)range->integers[1]);
    else
        build_error(b, range->span, "this axis of %s does not hold %lld..%lld", shape_of_node(b, c->x), (long long)range->integers[0],
                    (long long)range->integers[1]);
    return false;
}

/* slice(axis, from..to) keeps the axis, slice(axis, i) drops it */
static Value apply_slice(Builder *b, const LayerCall *c) {
    const CallArg *range = &c->arg[1];
    int axis;
    int64_t from, to;
    if (!free_axis(b, c->x, c->arg[0].integers[0], c->arg[0].span, c->name, &axis) ||
        !range_inside(b, c, range, c->x->shape.dim[axis], &from, &to))
        return value_bad();
    Node *x = graph_slice(b->graph, c->x, axis, from, to - from, build_at(b, c->span));
    return value_tensor(range->count == 1 ? without_axis(b, x, axis, c->span) : x);
}

enum { PARTS_MAX = 256 };

static bool split_sizes(Builder *b, const LayerCall *c, int axis, int64_t *size, int *count) {
    const CallArg *parts = &c->arg[1];
    int64_t whole = c->x->shape.dim[axis], sum = 0, n = parts->integers[0];
    if (parts->single) {
        if (n < 1 || n > PARTS_MAX || whole % n) {
            build_error(b, parts->span, "axis %d of %s cannot be split into %lld equal parts", axis, shape_of_node(b, c->x), (long long)n);
            return false;
        }
        *count = (int)n;
        for (int i = 0; i < *count; i++)
            size[i] = whole / n;
        return true;
    }
    *count = parts->count;
    for (int i = 0; i < *count; i++) {
        size[i] = parts->integers[i];
        sum += size[i];
        if (size[i] < 1) {
            build_error(b, parts->span, "the sizes of parts are at least 1, not %lld", (long long)size[i]);
            return false;
        }
    }
    if (sum == whole && *count > 0)
        return true;
    build_error(b, parts->span, "the parts are %lld in all; axis %d of %s is %lld", (long long)sum, axis, shape_of_node(b, c->x), (long long)whole);
    return false;
}

/* split(axis, 3): equal parts; split(axis, [64, 128]): parts of these sizes */
static Value apply_split(Builder *b, const LayerCall *c) {
    int64_t size[PARTS_MAX], from = 0;
    Value part[PARTS_MAX];
    int axis, count;
    if (!free_axis(b, c->x, c->arg[0].integers[0], c->arg[0].span, c->name, &axis) || !split_sizes(b, c, axis, size, &count))
        return value_bad();
    for (int i = 0; i < count; i++) {
        part[i] = value_tensor(graph_slice(b->graph, c->x, axis, from, size[i], build_at(b, c->span)));
        from += size[i];
    }
    return value_list(b, VALUE_TUPLE, part, count, c->span);
}

static Value apply_pad(Builder *b, const LayerCall *c) {
    const CallArg *before = &c->arg[1], *after = &c->arg[2];
    int axis;
    if (!free_axis(b, c->x, c->arg[0].integers[0], c->arg[0].span, c->name, &axis))
        return value_bad();
    Shape s = c->x->shape;
    s.dim[axis] += before->integer + after->integer;
    if (!build_shape_fits(b, &s, c->span))
        return value_bad();
    return value_tensor(graph_pad(b->graph, c->x, axis, before->integer, s.dim[axis], build_at(b, c->span)));
}

/* ---- concat ---- */

/* x once for every image, with the channel axis of `like` where it has none */
static Node *every_image(Builder *b, Node *x, const Node *like, Span at) {
    Shape s = x->shape;
    if (s.batched || !like->shape.batched || s.rank != like->shape.rank || s.dim[0] != 1)
        return x;
    s.batched = true;
    s.dim[0] = like->shape.dim[0];
    return graph_map_shape(b->graph, expr_input(b->program->exprs, 0), &x, 1, s, like->channel, build_at(b, at));
}

static bool joins(Builder *b, const LayerCall *c, const Node *x, const Node *y, int axis) {
    bool same = x->shape.rank == y->shape.rank && x->shape.batched == y->shape.batched && x->type == y->type;
    int other = -1;
    for (int i = 0; i < x->shape.rank && same; i++)
        if (i != axis && x->shape.dim[i] != y->shape.dim[i])
            other = i;
    if (same && other < 0)
        return true;
    build_error(b, c->span, "cannot concatenate %s and %s along axis %d", shape_of_node(b, x), shape_of_node(b, y), axis);
    if (same)
        diag_help(b->diag, "they differ along axis %d as well", other);
    return false;
}

/* The operand that says which axis is the batch and which the channels. */
static Node *typical(const LayerCall *c) {
    Node *best = c->xs[0];
    for (int i = 1; i < c->count; i++) {
        const Node *x = c->xs[i];
        if ((x->shape.batched && !best->shape.batched) || (x->shape.batched == best->shape.batched && best->channel < 0 && x->channel >= 0))
            best = c->xs[i];
    }
    return best;
}

static Value apply_concat(Builder *b, const LayerCall *c) {
    Node *like = typical(c), **in = NEW_ARRAY(b->arena, Node *, c->count);
    int axis;
    if (!free_axis(b, like, c->arg[0].integers[0], c->arg[0].span, c->name, &axis))
        return value_bad();
    Shape s = like->shape;
    s.dim[axis] = 0;
    for (int i = 0; i < c->count; i++) {
        in[i] = every_image(b, c->xs[i], like, c->span);
        if (!joins(b, c, like, in[i], axis))
            return value_bad();
        s.dim[axis] += in[i]->shape.dim[axis];
    }
    return build_shape_fits(b, &s, c->span) ? value_tensor(graph_concat(b->graph, in, c->count, axis, build_at(b, c->span))) : value_bad();
}

/* ---- transpose ---- */

static Value apply_transpose(Builder *b, const LayerCall *c) {
    const CallArg *axes = &c->arg[0];
    int perm[MAX_RANK], rank = c->x->shape.rank;
    unsigned seen = 0;
    if (axes->count != rank) {
        build_error(b, axes->span, "`transpose` lists all %d axes of %s in their new order", rank, shape_of_node(b, c->x));
        if (rank == 3)
            diag_help(b->diag, "`transpose([0, 2, 1])` exchanges the last two");
        return value_bad();
    }
    for (int i = 0; i < rank; i++) {
        if (!axis_of(b, c->x, axes->integers[i], axes->span, &perm[i]))
            return value_bad();
        if (seen >> perm[i] & 1) {
            build_error(b, axes->span, "axis %d is listed twice", perm[i]);
            return value_bad();
        }
        seen |= 1u << perm[i];
    }
    if (c->x->shape.batched && perm[0] != 0) {
        build_error(b, axes->span, "the batch stays axis 0");
        return value_bad();
    }
    return value_tensor(graph_transpose(b->graph, c->x, perm, build_at(b, c->span)));
}

/* ---- attention ---- */

static bool are_tokens(Builder *b, const LayerCall *c) {
    for (int i = 0; i < c->count; i++) {
        const Node *x = c->xs[i];
        if (x->shape.rank == 3 && x->shape.batched && x->channel == 2)
            continue;
        build_error(b, c->span, "`attend` takes tokens, f32[N, tokens, channels] with the channels last, not %s", shape_of_node(b, x));
        if (x->shape.rank == 3 && x->channel == 1)
            diag_help(b->diag, "its channels are axis 1; `transpose([0, 2, 1])` makes them the last");
        return false;
    }
    return true;
}

static bool tokens_agree(Builder *b, const LayerCall *c) {
    const Shape *q = &c->xs[0]->shape, *k = &c->xs[1]->shape, *v = &c->xs[2]->shape;
    if (q->dim[2] == k->dim[2] && shape_equal(k, v))
        return true;
    build_error(b, c->span, "queries %s, keys %s and values %s do not fit together", shape_of_node(b, c->xs[0]), shape_of_node(b, c->xs[1]),
                shape_of_node(b, c->xs[2]));
    diag_help(b->diag, "all have the same channels, and keys and values the same tokens");
    return false;
}

enum { ATTEND_HEADS, ATTEND_CAUSAL, ATTEND_SCALE };

/* Scores are divided by sqrt(channels of a head) unless a scale is given. */
static Value apply_attend(Builder *b, const LayerCall *c) {
    const CallArg *heads = &c->arg[ATTEND_HEADS], *scale = &c->arg[ATTEND_SCALE];
    if (!are_tokens(b, c) || !tokens_agree(b, c))
        return value_bad();
    int64_t channels = c->x->shape.dim[2], queries = c->x->shape.dim[1], keys = c->xs[1]->shape.dim[1];
    if (channels % heads->integer) {
        build_error(b, heads->span, "%lld heads do not divide %lld channels", (long long)heads->integer, (long long)channels);
        return value_bad();
    }
    Attention a = { .heads = (int)heads->integer, .causal = c->arg[ATTEND_CAUSAL].number != 0 };
    a.scale = scale->given ? scale->number : 1 / sqrt((double)(channels / heads->integer));
    if (!isfinite(a.scale)) {
        build_error(b, scale->span, "`scale` of `attend` must be finite");
        return value_bad();
    }
    if (a.causal && keys < queries) {
        build_error(b, c->span, "%lld queries cannot look back at %lld keys: the first would see none", (long long)queries, (long long)keys);
        return value_bad();
    }
    return value_tensor(graph_attention(b->graph, c->xs[0], c->xs[1], c->xs[2], &a, build_at(b, c->span)));
}

const BuiltinLayer move_functions[] = {
    { "slice", false, 1, apply_slice, { { "axis", ARG_AXIS, true, 0 }, { "range", ARG_RANGE, true, 0 } } },
    { "split", false, 1, apply_split, { { "axis", ARG_AXIS, true, 0 }, { "parts", ARG_INTEGERS, true, 0 } } },
    { "pad", false, 1, apply_pad,
      { { "axis", ARG_AXIS, true, 0 }, { "before", ARG_NATURAL, true, 0 }, { "after", ARG_NATURAL, false, 0 } } },
    { "concat", false, TENSORS_ANY, apply_concat, { { "axis", ARG_AXIS, true, 0 } } },
    { "transpose", false, 1, apply_transpose, { { "axes", ARG_AXES, true, 0 } } },
    { "attend", false, 3, apply_attend,
      { { "heads", ARG_SIZE, true, 0 }, { "causal", ARG_FLAG, false, 0 }, { "scale", ARG_NUMBER, false, 0 } } },
    { 0 },
};
