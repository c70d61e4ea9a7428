/* build_tensor.c - pointwise operators over numbers and tensors, reductions, reshape, and the functions of
 * compile-time numbers. */
#include "graph/build_parts.h"

#include <math.h>
#include <string.h>

/* ---- operators ---- */

static double number_of(Value v) { return v.kind == VALUE_BOOL ? v.boolean : v.number; }

/* op over numbers alone; conditions stay conditions */
static Value fold_numbers(Builder *b, ExprOp op, const Value *in, int count, Span at) {
    ExprPool *p = b->program->exprs;
    const Expr *arg[3] = { 0 };
    double values[3];
    for (int i = 0; i < count; i++) {
        arg[i] = expr_input(p, i);
        values[i] = number_of(in[i]);
    }
    if ((op == EXPR_DIV && values[1] == 0) || (op == EXPR_POW && values[0] == 0 && values[1] < 0)) {
        build_error(b, at, "division by zero");
        return value_bad();
    }
    double v = expr_fold(expr_make(p, op, arg[0], arg[1], arg[2]), values, NULL);
    if (isnan(v)) {
        build_error(b, at, "this has no value");
        return value_bad();
    }
    return value_number(v);
}

enum { SYMBOL_NODES_MAX = 200 };

static const Expr *as_expr(Builder *b, Value v) {
    return v.kind == VALUE_SYMBOL ? v.symbol : expr_const(b->program->exprs, number_of(v));
}

static Value symbol_operator(Builder *b, ExprOp op, const Value *in, int count, Span at) {
    const Expr *arg[3] = { 0 };
    for (int i = 0; i < count; i++)
        arg[i] = as_expr(b, in[i]);
    const Expr *e = expr_make(b->program->exprs, op, arg[0], arg[1], arg[2]);
    if (expr_size(e) <= SYMBOL_NODES_MAX)
        return value_symbol(e);
    build_error(b, at, "this expression over fan_in and fan_out is too large");
    return value_bad();
}

static void cannot(Builder *b, const Value *in, int count, Span at, const char *verb) {
    if (count == 1)
        build_error(b, at, "cannot %s %s", verb, value_text(b, in[0]));
    else {
        Value x = in[count - 2], y = in[count - 1];
        bool both = x.kind == VALUE_TENSOR && y.kind == VALUE_TENSOR;
        const char *left = both ? shape_text(b->arena, x.tensor->type, &x.tensor->shape) : value_text(b, x);
        const char *right = both ? shape_text(b->arena, y.tensor->type, &y.tensor->shape) : value_text(b, y);
        const char *word = strcmp(verb, "divide") == 0 ? "by" : strcmp(verb, "subtract") == 0 ? "from"
                         : strcmp(verb, "raise") == 0 ? "to" : "and";
        if (strcmp(verb, "subtract") == 0)
            build_error(b, at, "cannot %s %s %s %s", verb, right, word, left);
        else
            build_error(b, at, "cannot %s %s %s %s", verb, left, word, right);
    }
}

/* Says what a likely cause is: an axis of the batch, a kept axis, a stride. */
static void shapes_help(Builder *b, const Node *x, const Node *y) {
    if (x->shape.rank != y->shape.rank) {
        if (x->shape.batched && y->shape.batched)
            diag_help(b->diag, "sizes are matched axis by axis; `mean(x, axis = ..., keep = true)` keeps the axes it averages over");
        return;
    }
    if (x->shape.rank == 4 && x->shape.dim[1] == y->shape.dim[1])
        diag_help(b->diag, "their heights and widths differ: a stride or a padding was applied to one of them only");
    else if (x->shape.rank == 4 && x->shape.dim[2] == y->shape.dim[2] && x->shape.dim[3] == y->shape.dim[3])
        diag_help(b->diag, "their channels differ: a 1x1 convolution, `conv(%lld, 1)`, brings one to the other's",
                  (long long)x->shape.dim[1]);
    else if (x->shape.rank == 4)
        diag_help(b->diag, "a 1x1 convolution with a stride brings one to the other's shape");
}

/* The operand whose shape the others are aligned to: of largest rank, with a channel axis if one has it. */
static Node *widest(const Value *in, int count) {
    Node *best = NULL;
    for (int i = 0; i < count; i++) {
        if (in[i].kind != VALUE_TENSOR)
            continue;
        Node *x = in[i].tensor;
        if (!best || x->shape.rank > best->shape.rank ||
            (x->shape.rank == best->shape.rank && best->channel < 0 && x->channel >= 0))
            best = x;
    }
    return best;
}

static Value map_tensors(Builder *b, ExprOp op, const Value *in, int count, Span at, const char *verb) {
    ExprPool *p = b->program->exprs;
    Node *target = widest(in, count), *operand[3];
    const Expr *arg[3] = { 0 };
    const Node *like = build_at(b, at);
    Shape joined = { 0 };
    int operands = 0;
    for (int i = 0; i < count; i++) {
        if (in[i].kind != VALUE_TENSOR) {
            arg[i] = as_expr(b, in[i]);
            continue;
        }
        Node *x = graph_align(b->graph, in[i].tensor, &target->shape, target->channel, like);
        if (!x || !shape_join(&joined, &x->shape, &joined)) {
            cannot(b, in, count, at, verb);
            shapes_help(b, in[i].tensor, in[i].tensor == target && i ? in[i - 1].kind == VALUE_TENSOR ? in[i - 1].tensor : target : target);
            return value_bad();
        }
        int k = 0;
        while (k < operands && operand[k] != x)
            k++;
        if (k == operands)
            operand[operands++] = x;
        arg[i] = expr_input(p, k);
    }
    if (!build_shape_fits(b, &joined, at))
        return value_bad();
    const Expr *e = expr_make(p, op, arg[0], arg[1], arg[2]);
    return value_tensor(graph_map_shape(b->graph, e, operand, operands, joined, target->channel, like));
}

Value build_operator(Builder *b, ExprOp op, const Value *in, int count, Span at, const char *verb) {
    bool tensors = false, symbols = false, conditions = op == EXPR_SELECT || op == EXPR_EQ;
    for (int i = 0; i < count; i++) {
        if (is_bad(in[i]))
            return value_bad();
        tensors = tensors || in[i].kind == VALUE_TENSOR;
        symbols = symbols || in[i].kind == VALUE_SYMBOL;
        bool number = in[i].kind == VALUE_NUMBER || in[i].kind == VALUE_SYMBOL || in[i].kind == VALUE_TENSOR;
        if (!number && !(conditions && in[i].kind == VALUE_BOOL)) {
            cannot(b, in, count, at, verb);
            return value_bad();
        }
    }
    if (tensors && symbols) {
        cannot(b, in, count, at, verb);
        diag_help(b->diag, "fan_in and fan_out are known only inside an initialiser");
        return value_bad();
    }
    if (tensors)
        return map_tensors(b, op, in, count, at, verb);
    return symbols ? symbol_operator(b, op, in, count, at) : fold_numbers(b, op, in, count, at);
}

/* ---- names of functions ---- */

bool scalar_function(const char *name, ExprOp *op) {
    static const ExprOp known[] = { EXPR_SQRT, EXPR_RSQRT, EXPR_EXP, EXPR_LOG, EXPR_TANH, EXPR_SIGMOID, EXPR_ERF, EXPR_SIN,
                                    EXPR_COS, EXPR_SOFTPLUS, EXPR_ABS, EXPR_MIN, EXPR_MAX, EXPR_DETACH };
    for (int i = 0; i < COUNT(known); i++)
        if (strcmp(expr_info[known[i]].text, name) == 0) {
            *op = known[i];
            return true;
        }
    return false;
}

static const char *const number_functions[] = { "len", "floor", "ceil", "round" };

bool number_function(const char *name) {
    for (int i = 0; i < COUNT(number_functions); i++)
        if (strcmp(number_functions[i], name) == 0)
            return true;
    return false;
}

/* len(list), floor(x), ceil(x), round(x) */
Value number_call(Builder *b, const char *name, const Bound *args, int count, Span at) {
    if (count != 1 || args[0].name) {
        build_error(b, at, "`%s` takes one value, not %d", name, count);
        return value_bad();
    }
    Value v = args[0].value;
    double x;
    if (strcmp(name, "len") == 0) {
        if (v.kind == VALUE_LIST || v.kind == VALUE_TUPLE)
            return value_number(v.list->count);
        if (v.kind == VALUE_RANGE)
            return value_number(v.range.to > v.range.from ? (double)(v.range.to - v.range.from) : 0);
        if (!is_bad(v))
            build_error(b, args[0].span, "`len` takes a list, not %s", value_text(b, v));
        return value_bad();
    }
    if (!value_want_number(b, v, args[0].span, arena_printf(b->arena, "what `%s` takes", name), &x))
        return value_bad();
    return value_number(*name == 'f' ? floor(x) : *name == 'c' ? ceil(x) : round(x));
}

/* ---- reductions ---- */

bool axis_of(Builder *b, const Node *x, int64_t axis, Span at, int *out) {
    int64_t i = axis < 0 ? axis + x->shape.rank : axis;
    if (i < 0 || i >= x->shape.rank) {
        build_error(b, at, "%s has no axis %lld", shape_text(b->arena, x->type, &x->shape), (long long)axis);
        return false;
    }
    *out = (int)i;
    return true;
}

static bool axes_of(Builder *b, const LayerCall *c, unsigned *axes) {
    const CallArg *a = &c->arg[0];
    *axes = 0;
    for (int i = 0; i < a->count; i++) {
        int axis;
        if (!axis_of(b, c->x, a->integers[i], a->span, &axis))
            return false;
        if (axis == 0 && c->x->shape.batched) {
            build_error(b, a->span, "axis 0 is the batch; what is computed for one image does not depend on the others");
            diag_help(b->diag, "in training, `batch_mean(x)` averages over the batch and all axes but the channels");
            return false;
        }
        *axes |= 1u << axis;
    }
    return true;
}

static int64_t axes_count(const Shape *s, unsigned axes) {
    int64_t count = 1;
    for (int i = 0; i < s->rank; i++)
        if (axes >> i & 1)
            count *= s->dim[i];
    return count;
}

static Node *divide_by(Builder *b, Node *x, double by, Span at) {
    if (by == 1)
        return x;
    ExprPool *p = b->program->exprs;
    const Expr *e = expr_make(p, EXPR_DIV, expr_input(p, 0), expr_const(p, by), NULL);
    return graph_map_shape(b->graph, e, &x, 1, x->shape, x->channel, build_at(b, at));
}

Node *mean_over(Builder *b, Node *x, unsigned axes, Span at) {
    if (!axes)
        return x;
    Node *sum = graph_reduce(b->graph, OP_SUM, x, axes, build_at(b, at));
    return divide_by(b, sum, (double)axes_count(&x->shape, axes), at);
}

/* x without the axes, which have size 1 */
static Node *drop_axes(Builder *b, Node *x, unsigned axes, Span at) {
    Shape s = { .batched = x->shape.batched };
    int channel = -1;
    for (int i = 0; i < x->shape.rank; i++) {
        if (axes >> i & 1)
            continue;
        if (i == x->channel)
            channel = s.rank;
        s.dim[s.rank++] = x->shape.dim[i];
    }
    return axes ? graph_reshape(b->graph, x, s, channel, build_at(b, at)) : x;
}

static Value reduced(Builder *b, const LayerCall *c, Node *x, unsigned axes) {
    return value_tensor(c->arg[1].number != 0 ? x : drop_axes(b, x, axes, c->span));
}

static Value apply_mean(Builder *b, const LayerCall *c) {
    unsigned axes;
    return axes_of(b, c, &axes) ? reduced(b, c, mean_over(b, c->x, axes, c->span), axes) : value_bad();
}

static Value apply_reduce(Builder *b, const LayerCall *c, OpId op) {
    unsigned axes;
    if (!axes_of(b, c, &axes))
        return value_bad();
    Node *x = axes ? graph_reduce(b->graph, op, c->x, axes, build_at(b, c->span)) : c->x;
    return reduced(b, c, x, axes);
}

static Value apply_sum(Builder *b, const LayerCall *c) { return apply_reduce(b, c, OP_SUM); }
static Value apply_maximum(Builder *b, const LayerCall *c) { return apply_reduce(b, c, OP_MAXIMUM); }

/* Elements per channel of the run-time batch, rank 0. */
static Node *batch_count(Builder *b, const Node *x, Span at) {
    ExprPool *p = b->program->exprs;
    double inner = 1;
    for (int i = 1; i < x->shape.rank; i++)
        if (i != x->channel)
            inner *= (double)x->shape.dim[i];
    Node *n = graph_scalar(b->graph, SCALAR_BATCH, build_at(b, at));
    const Expr *e = expr_make(p, EXPR_MUL, expr_input(p, 0), expr_const(p, inner), NULL);
    return graph_map_shape(b->graph, e, &n, 1, (Shape){ 0 }, -1, build_at(b, at));
}

static bool batch_statistics(Builder *b, const LayerCall *c) {
    if (!b->training) {
        build_error(b, c->span, "`%s` depends on the other images of the batch; only training may", c->name);
        diag_help(b->diag, "put it inside `if training { ... }`");
        return false;
    }
    if (c->x->shape.batched && c->x->channel > 0)
        return true;
    build_error(b, c->span, "`%s` takes a tensor with a batch and a channel axis, not %s", c->name,
                shape_text(b->arena, c->x->type, &c->x->shape));
    return false;
}

static Value apply_batch_count(Builder *b, const LayerCall *c) {
    return batch_statistics(b, c) ? value_tensor(batch_count(b, c->x, c->span)) : value_bad();
}

/* Over the run-time batch and every axis but the channels: rank 1. */
static Value apply_batch_mean(Builder *b, const LayerCall *c) {
    if (!batch_statistics(b, c))
        return value_bad();
    unsigned axes = ((1u << c->x->shape.rank) - 1) & ~(1u << c->x->channel);
    const Node *like = build_at(b, c->span);
    Node *sum = graph_reduce(b->graph, OP_SUM, c->x, axes, like);
    int64_t channels = c->x->shape.dim[c->x->channel];
    Node *flat = graph_reshape(b->graph, sum, shape_of(false, 1, &channels), 0, like);
    Node *count = batch_count(b, c->x, c->span);
    return value_tensor(graph_binary(b->graph, EXPR_DIV, flat, count, build_at(b, c->span)));
}

/* ---- reshape ---- */

static bool reshape_sizes(Builder *b, const LayerCall *c, Shape *s) {
    const CallArg *a = &c->arg[0];
    const Shape *x = &c->x->shape;
    int64_t known = 1, total = 1, open = -1;
    for (int i = x->batched; i < x->rank; i++)
        total *= x->dim[i];
    *s = (Shape){ .batched = x->batched, .rank = a->count + x->batched, .dim = { x->dim[0] } };
    if (s->rank > MAX_RANK) {
        build_error(b, a->span, "tensors have at most %d axes", MAX_RANK);
        return false;
    }
    for (int i = 0; i < a->count; i++) {
        int64_t size = a->integers[i];
        s->dim[i + x->batched] = size;
        bool second = size == -1 && open >= 0;
        if (size == -1)
            open = i + x->batched;
        if (second || size == 0 || size < -1) {
            build_error(b, a->span, second ? "only one size can be left open with -1" : "sizes are at least 1; -1 stands for what is left over");
            return false;
        }
        if (size > 0 && __builtin_mul_overflow(known, size, &known))
            known = INT64_MAX;
    }
    if (open >= 0 && known <= total && total % known == 0)
        s->dim[open] = total / known;
    else if (open >= 0 || known != total) {
        build_error(b, c->span, "cannot reshape %s: an image has %lld elements, which these sizes do not hold",
                    shape_text(b->arena, c->x->type, x), (long long)total);
        return false;
    }
    return true;
}

/* The channel axis is said, or stays axis 1 where the size there stays. */
static Value apply_reshape(Builder *b, const LayerCall *c) {
    Shape s;
    if (!reshape_sizes(b, c, &s))
        return value_bad();
    int channel = -1;
    if (c->arg[1].given) {
        int64_t axis = c->arg[1].integer;
        if (axis < 0 || axis >= s.rank) {
            build_error(b, c->arg[1].span, "%s has no axis %lld", shape_text(b->arena, TYPE_F32, &s), (long long)axis);
            return value_bad();
        }
        channel = (int)axis;
    } else if (c->x->channel == 1 && s.rank > 1 && s.dim[1] == c->x->shape.dim[1]) {
        channel = 1;
    }
    return value_tensor(graph_reshape(b->graph, c->x, s, channel, build_at(b, c->span)));
}

const BuiltinLayer tensor_functions[] = {
    { "mean", false, 1, apply_mean, { { "axis", ARG_AXES, true, 0 }, { "keep", ARG_FLAG, false, 0 } } },
    { "sum", false, 1, apply_sum, { { "axis", ARG_AXES, true, 0 }, { "keep", ARG_FLAG, false, 0 } } },
    { "maximum", false, 1, apply_maximum, { { "axis", ARG_AXES, true, 0 }, { "keep", ARG_FLAG, false, 0 } } },
    { "batch_mean", false, 1, apply_batch_mean, { { 0 } } },
    { "batch_count", false, 1, apply_batch_count, { { 0 } } },
    { "reshape", false, 1, apply_reshape, { { "sizes", ARG_INTEGERS, true, 0 }, { "channel", ARG_NATURAL, false, 0 } } },
    { 0 },
};
