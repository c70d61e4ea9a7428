/* build_layer.c - built-in layers: convolution, linear, pooling, flatten, dropout. One row each in `layers`.
 * A layer checks everything that a graph builder would assert and says it in the user's terms. */
#include "graph/build_parts.h"

#include <string.h>

static const char *shape_of_node(Builder *b, const Node *x) { return shape_text(b->arena, x->type, &x->shape); }

/* ---- windows ---- */

static bool want_picture(Builder *b, const LayerCall *c) {
    const Node *x = c->x;
    if (x->shape.rank == 4 && x->channel == 1)
        return true;
    build_error(b, c->span, "`%s` takes pictures, f32[N, channels, height, width], not %s", c->name, shape_of_node(b, x));
    if (x->shape.rank == 4 && x->channel < 0)
        diag_help(b->diag, "the channel axis is not known; `reshape([...], channel = 1)` says it");
    else if (x->shape.rank == 3 || x->shape.rank == 5)
        diag_help(b->diag, "1 and 3 spatial dimensions are not supported yet");
    return false;
}

typedef struct WindowArgs {
    const CallArg *kernel, *stride, *dilation, *padding;    /* dilation NULL: 1 */
} WindowArgs;

static Window window_of(const WindowArgs *a, int64_t groups) {
    Window w = { .spatial = 2, .groups = groups };
    for (int i = 0; i < 2; i++) {
        w.kernel[i] = a->kernel->pair[i];
        w.stride[i] = a->stride->pair[i];
        w.dilation[i] = a->dilation ? a->dilation->pair[i] : 1;
        int64_t around = (w.kernel[i] - 1) * w.dilation[i];
        w.pad_lo[i] = a->padding->same ? around / 2 : a->padding->pair[i];
        w.pad_hi[i] = a->padding->same ? around - around / 2 : a->padding->pair[i];
    }
    return w;
}

static bool window_limits(Builder *b, const LayerCall *c, const Window *w) {
    const int64_t limit = 1 << 24;
    for (int i = 0; i < 2; i++)
        if (w->pad_lo[i] > limit || w->pad_hi[i] > limit) {
            build_error(b, c->span, "the window of this `%s` is too large", c->name);
            return false;
        }
    return true;
}

static bool window_shape(Builder *b, const LayerCall *c, const Window *w, int64_t channels, Shape *out) {
    if (!window_limits(b, c, w))
        return false;
    *out = c->x->shape;
    out->dim[1] = channels;
    if (!window_result(w, c->x->shape.dim + 2, out->dim + 2)) {
        build_error(b, c->span, "a window of %lldx%lld does not fit %s", (long long)((w->kernel[0] - 1) * w->dilation[0] + 1),
                    (long long)((w->kernel[1] - 1) * w->dilation[1] + 1), shape_of_node(b, c->x));
        diag_help(b->diag, "the picture has become too small here: fewer strides and pools before this place, or a larger input");
        return false;
    }
    return build_shape_fits(b, out, c->span);
}

/* ---- convolution and linear ---- */

static Node *weight_of(Builder *b, const LayerCall *c, Shape shape, const CallArg *init, const InitSpec *fallback) {
    double fan_in = 1, fan_out;
    for (int i = 1; i < shape.rank; i++)
        fan_in *= (double)shape.dim[i];
    fan_out = fan_in / (double)shape.dim[1] * (double)shape.dim[0];
    Init resolved;
    if (!init_resolve(b, init->given ? init->init : fallback, fan_in, fan_out, init->span, &resolved))
        return NULL;
    return build_parameter(b, "weight", shape, -1, false, &resolved, NULL, c->span, NULL);
}

static Value add_bias(Builder *b, const LayerCall *c, Node *y, int64_t count, double fan_in, const InitSpec *spec) {
    Init init;
    if (!init_resolve(b, spec, fan_in, (double)count, c->span, &init))
        return value_bad();
    Node *bias = build_parameter(b, "bias", shape_of(false, 1, &count), 0, false, &init, NULL, c->span, NULL);
    return bias ? value_tensor(graph_binary(b->graph, EXPR_ADD, y, bias, build_at(b, c->span))) : value_bad();
}

static bool groups_divide(Builder *b, const LayerCall *c, const CallArg *groups, int64_t in, int64_t out) {
    if (in % groups->integer == 0 && out % groups->integer == 0)
        return true;
    build_error(b, groups->span, "%lld groups do not divide %lld channels into %lld", (long long)groups->integer,
                (long long)in, (long long)out);
    (void)c;
    return false;
}

enum { CONV_CHANNELS, CONV_KERNEL, CONV_STRIDE, CONV_GROUPS, CONV_DILATION, CONV_PADDING, CONV_BIAS, CONV_INIT };

/* Weights start from N(0, 2 / fan_out), the choice of PyTorch's model zoo; a bias starts at zero. */
static Value apply_conv(Builder *b, const LayerCall *c) {
    const CallArg *a = c->arg;
    if (!want_picture(b, c))
        return value_bad();
    int64_t out = a[CONV_CHANNELS].integer, in = c->x->shape.dim[1], groups = a[CONV_GROUPS].integer;
    if (!groups_divide(b, c, &a[CONV_GROUPS], in, out))
        return value_bad();
    Window w = window_of(&(WindowArgs){ &a[CONV_KERNEL], &a[CONV_STRIDE], &a[CONV_DILATION], &a[CONV_PADDING] }, groups);
    Shape result;
    if (!window_shape(b, c, &w, out, &result))
        return value_bad();
    int64_t sizes[4] = { out, in / groups, w.kernel[0], w.kernel[1] };
    Node *weight = weight_of(b, c, shape_of(false, 4, sizes), &a[CONV_INIT], init_kaiming(b, true));
    if (!weight)
        return value_bad();
    Node *y = graph_conv(b->graph, c->x, weight, &w, build_at(b, c->span));
    if (a[CONV_BIAS].number == 0)
        return value_tensor(y);
    return add_bias(b, c, y, out, (double)(sizes[1] * sizes[2] * sizes[3]), init_constant(b, 0));
}

enum { LINEAR_WIDTH, LINEAR_BIAS, LINEAR_INIT };

static bool want_features(Builder *b, const LayerCall *c) {
    const Node *x = c->x;
    int last = x->shape.rank - 1;
    if (x->shape.batched && (last == 1 || (last >= 2 && last - 1 <= MAX_SPATIAL && x->channel == last)))
        return true;
    build_error(b, c->span, "`linear` takes f32[N, features] or f32[N, tokens, features], not %s", shape_of_node(b, x));
    if (last == 3 && x->channel == 1)
        diag_help(b->diag, "`flatten` or `global_avgpool` makes features of a picture, `reshape([%lld, -1]) |> transpose([0, 2, 1])` tokens",
                  (long long)x->shape.dim[1]);
    else if (last == 2 && x->channel == 1)
        diag_help(b->diag, "its channels are axis 1; `transpose([0, 2, 1])` makes them the last");
    else if (last >= 2 && x->channel < 0)
        diag_help(b->diag, "the channel axis is not known; `reshape([...], channel = %d)` says it", last);
    return false;
}

/* The weight [O, I] as that of a window of one element over the axes between batch and features. */
static Node *over_tokens(Builder *b, const LayerCall *c, Node *weight, Window *win) {
    Shape s = weight->shape;
    *win = (Window){ .spatial = c->x->shape.rank - 2, .groups = 1 };
    win->channel_last = win->spatial > 0;
    for (int i = 0; i < win->spatial; i++)
        s.dim[s.rank++] = win->kernel[i] = win->stride[i] = win->dilation[i] = 1;
    return win->spatial ? graph_reshape(b->graph, weight, s, -1, build_at(b, c->span)) : weight;
}

/* Weights and bias start from U(-a, a), a = 1 / sqrt(fan_in), as torch.nn.Linear's do; with `init`, the bias
 * starts at zero. */
static Value apply_linear(Builder *b, const LayerCall *c) {
    const Node *x = c->x;
    if (!want_features(b, c))
        return value_bad();
    int last = x->shape.rank - 1;
    int64_t out = c->arg[LINEAR_WIDTH].integer, in = x->shape.dim[last], sizes[2] = { out, in };
    Shape result = x->shape;
    result.dim[last] = out;
    if (!build_shape_fits(b, &result, c->span))
        return value_bad();
    const CallArg *init = &c->arg[LINEAR_INIT];
    Node *weight = weight_of(b, c, shape_of(false, 2, sizes), init, init_fan_in_uniform(b));
    if (!weight)
        return value_bad();
    Window win;
    weight = over_tokens(b, c, weight, &win);
    Node *y = graph_conv(b->graph, c->x, weight, &win, build_at(b, c->span));
    if (c->arg[LINEAR_BIAS].number == 0)
        return value_tensor(y);
    return add_bias(b, c, y, out, (double)in, init->given ? init_constant(b, 0) : init_fan_in_uniform(b));
}

/* ---- pooling and flatten ---- */

enum { POOL_SIZE, POOL_STRIDE, POOL_PADDING };

static Value apply_pool(Builder *b, const LayerCall *c, OpId op) {
    const CallArg *a = c->arg, *stride = a[POOL_STRIDE].given ? &a[POOL_STRIDE] : &a[POOL_SIZE];
    if (!want_picture(b, c))
        return value_bad();
    Window w = window_of(&(WindowArgs){ &a[POOL_SIZE], stride, NULL, &a[POOL_PADDING] }, 1);
    Shape result;
    if (!window_shape(b, c, &w, c->x->shape.dim[1], &result))
        return value_bad();
    if (!window_covers(&w, c->x->shape.dim + 2)) {
        build_error(b, a[POOL_PADDING].span, "some windows of this `%s` would hold padding only", c->name);
        diag_help(b->diag, "the padding must be smaller than the window");
        return value_bad();
    }
    return value_tensor(graph_pool(b->graph, op, (Node *[]){ c->x }, &w, result, build_at(b, c->span)));
}

static Value apply_maxpool(Builder *b, const LayerCall *c) { return apply_pool(b, c, OP_MAXPOOL); }
static Value apply_avgpool(Builder *b, const LayerCall *c) { return apply_pool(b, c, OP_AVGPOOL); }

/* [N, C, ...] -> [N, C] */
static Value apply_global_avgpool(Builder *b, const LayerCall *c) {
    Node *x = c->x;
    if (x->shape.rank < 3 || !x->shape.batched || x->channel < 1) {
        build_error(b, c->span, "`global_avgpool` takes f32[N, channels, ...], not %s", shape_of_node(b, x));
        return value_bad();
    }
    unsigned axes = ((1u << x->shape.rank) - 1) & ~(1u | 1u << x->channel);
    int64_t sizes[2] = { x->shape.dim[0], x->shape.dim[x->channel] };
    Node *mean = mean_over(b, x, axes, c->span);
    return value_tensor(graph_reshape(b->graph, mean, shape_of(true, 2, sizes), 1, build_at(b, c->span)));
}

/* [N, ...] -> [N, product]; the features are its channels */
static Value apply_flatten(Builder *b, const LayerCall *c) {
    Node *x = c->x;
    if (!x->shape.batched) {
        build_error(b, c->span, "`flatten` takes a tensor with a batch, not %s", shape_of_node(b, x));
        return value_bad();
    }
    if (x->shape.rank == 2 && x->channel == 1)
        return value_tensor(x);
    int64_t sizes[2] = { x->shape.dim[0], 1 };
    for (int i = 1; i < x->shape.rank; i++)
        sizes[1] *= x->shape.dim[i];
    return value_tensor(graph_reshape(b->graph, x, shape_of(true, 2, sizes), 1, build_at(b, c->span)));
}

/* ---- randomness ---- */

/* The stream of random numbers of the instance, a function of its tap; two taps never share one. */
static uint32_t stream_of_tap(Builder *b) {
    uint64_t hash = table_hash(b->tap, strlen(b->tap));
    uint32_t stream = (uint32_t)(hash ^ hash >> 32);
    for (;; stream++) {
        const char *key = arena_printf(b->arena, "%u", stream);
        if (!table_has(b->streams, key)) {
            table_set(b->streams, key, b);
            return stream;
        }
    }
}

/* x / (1 - p) where a uniform number, one for each element of `mask`, is at least p, else 0 */
static Value drop(Builder *b, const LayerCall *c, Shape mask) {
    double p = c->arg[0].number;
    if (!b->training || p == 0)
        return value_tensor(c->x);
    ExprPool *pool = b->program->exprs;
    const Node *like = build_at(b, c->span);
    Node *in[2] = { c->x, graph_random(b->graph, mask, c->x->channel, stream_of_tap(b), like) };
    const Expr *dropped = expr_make(pool, EXPR_LT, expr_input(pool, 1), expr_const(pool, p), NULL);
    const Expr *scaled = expr_make(pool, EXPR_MUL, expr_input(pool, 0), expr_const(pool, 1 / (1 - p)), NULL);
    const Expr *e = expr_make(pool, EXPR_SELECT, dropped, expr_const(pool, 0), scaled);
    return value_tensor(graph_map_shape(b->graph, e, in, 2, c->x->shape, c->x->channel, like));
}

static bool want_batch(Builder *b, const LayerCall *c, int rank) {
    if (c->x->shape.batched && c->x->shape.rank >= rank && (rank < 2 || c->x->channel > 0))
        return true;
    build_error(b, c->span, "`%s` takes a tensor with a batch%s, not %s", c->name, rank < 2 ? "" : " and a channel axis",
                shape_of_node(b, c->x));
    return false;
}

static Value apply_dropout(Builder *b, const LayerCall *c) {
    return want_batch(b, c, 1) ? drop(b, c, c->x->shape) : value_bad();
}

/* Whole channels of an image, or, with `channel` -1, whole images. */
static Value drop_parts(Builder *b, const LayerCall *c, int channel) {
    Shape mask = c->x->shape;
    for (int i = 1; i < mask.rank; i++)
        if (i != channel)
            mask.dim[i] = 1;
    return drop(b, c, mask);
}

static Value apply_dropout2d(Builder *b, const LayerCall *c) {
    return want_batch(b, c, 2) ? drop_parts(b, c, c->x->channel) : value_bad();
}

static Value apply_drop_path(Builder *b, const LayerCall *c) {
    return want_batch(b, c, 1) ? drop_parts(b, c, -1) : value_bad();
}

static Value apply_identity(Builder *b, const LayerCall *c) {
    (void)b;
    return value_tensor(c->x);
}

/* ---- the table ---- */

#define SAME -1     /* fallback of ARG_PADDING */

const BuiltinLayer layers[] = {
    { "conv", true, 1, apply_conv,
      { { "channels", ARG_SIZE, true, 0 }, { "kernel", ARG_PAIR, true, 0 }, { "stride", ARG_PAIR, false, 1 },
        { "groups", ARG_SIZE, false, 1 }, { "dilation", ARG_PAIR, false, 1 }, { "padding", ARG_PADDING, false, SAME },
        { "bias", ARG_FLAG, false, 0 }, { "init", ARG_INIT, false, 0 }, { "weight", ARG_LATER, false, 0 } } },
    { "linear", true, 1, apply_linear,
      { { "features", ARG_SIZE, true, 0 }, { "bias", ARG_FLAG, false, 1 }, { "init", ARG_INIT, false, 0 },
        { "weight", ARG_LATER, false, 0 } } },
    { "maxpool", true, 1, apply_maxpool,
      { { "size", ARG_PAIR, true, 0 }, { "stride", ARG_PAIR, false, 0 }, { "padding", ARG_PADDING, false, 0 } } },
    { "avgpool", true, 1, apply_avgpool,
      { { "size", ARG_PAIR, true, 0 }, { "stride", ARG_PAIR, false, 0 }, { "padding", ARG_PADDING, false, 0 } } },
    { "global_avgpool", true, 1, apply_global_avgpool, { { 0 } } },
    { "flatten", true, 1, apply_flatten, { { 0 } } },
    { "identity", true, 1, apply_identity, { { 0 } } },
    { "dropout", true, 1, apply_dropout, { { "p", ARG_PROBABILITY, true, 0 } } },
    { "dropout2d", true, 1, apply_dropout2d, { { "p", ARG_PROBABILITY, true, 0 } } },
    { "drop_path", true, 1, apply_drop_path, { { "p", ARG_PROBABILITY, true, 0 } } },
    { 0 },
};

const char *const later_layers[] = {
    "embedding", "matmul", "upsample", "roi_align", "gain", "meanshift", "standardized", NULL
};

static const BuiltinLayer *row_named(const BuiltinLayer *rows, const char *name) {
    for (; rows->name; rows++)
        if (strcmp(rows->name, name) == 0)
            return rows;
    return NULL;
}

const BuiltinLayer *builtin_layer(const char *name) {
    const BuiltinLayer *row = row_named(layers, name);
    if (!row)
        row = row_named(tensor_functions, name);
    return row ? row : row_named(move_functions, name);
}
