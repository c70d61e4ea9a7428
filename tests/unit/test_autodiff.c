/* test_autodiff.c - gradients of the step graph, evaluated by the interpreter in double, against central
 * differences of its loss: every operator with a rule, broadcasting of every kind, full and partial batch,
 * before and after fold and cse; and what is not computed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "interp/interp.h"
#include "passes/passes.h"

enum { CAPACITY = 3 };

typedef struct { Arena *arena; Program *p; Graph *g; ExprPool *e; int64_t input_size[8]; } Fixture;

static int setup(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    f->arena = arena_new(0);
    f->p = program_new(f->arena, "net");
    f->p->batch = CAPACITY;
    f->g = f->p->step = graph_new(f->p, "step");
    f->e = f->p->exprs;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    Fixture *f = *state;
    arena_destroy(f->arena);
    free(f);
    return 0;
}

#define DIMS(...) (int64_t[]){ __VA_ARGS__ }
#define BATCHED(rank, ...) shape_of(true, rank, DIMS(CAPACITY, __VA_ARGS__))
#define FIXED(rank, ...) shape_of(false, rank, DIMS(__VA_ARGS__))
#define SCALAR ((Shape){ 0 })

static Node *input(Fixture *f, Shape s) {
    f->input_size[f->g->input_count] = shape_count(&s);
    return graph_input(f->g, "x", TYPE_F32, s, s.rank > 1 ? 1 : -1, NULL);
}

static Node *param(Fixture *f, const char *name, Shape s) {
    return graph_tensor(f->g, program_add_tensor(f->p, name, s, s.rank == 1 ? 0 : -1, false), NULL);
}

static Node *positive(Fixture *f, const char *name, Shape s) {
    Node *n = param(f, name, s);
    n->attr.tensor->constraint = (Constraint){ CONSTRAINT_GREATER, 0, INFINITY };
    return n;
}

static const Expr *in(Fixture *f, int k) { return expr_input(f->e, k); }
static const Expr *num(Fixture *f, double v) { return expr_const(f->e, v); }
static const Expr *op1(Fixture *f, ExprOp op, const Expr *x) { return expr_make(f->e, op, x, NULL, NULL); }
static const Expr *op2(Fixture *f, ExprOp op, const Expr *x, const Expr *y) { return expr_make(f->e, op, x, y, NULL); }

static const Expr *salu_expr(Fixture *f) {
    const Expr *square = op2(f, EXPR_MUL, op2(f, EXPR_MUL, in(f, 1), in(f, 2)), op2(f, EXPR_POW, in(f, 0), num(f, 2)));
    return op2(f, EXPR_DIV, op2(f, EXPR_MUL, in(f, 1), in(f, 0)), op1(f, EXPR_SQRT, op2(f, EXPR_ADD, num(f, 1), square)));
}

static Node *salu(Fixture *f, Node *x, Node *a, Node *b) {
    return graph_map(f->g, salu_expr(f), (Node *[]){ x, a, b }, 3, NULL);
}

static Node *swalu(Fixture *f, Node *x, Node *a, Node *b) {
    const Expr *gate = op2(f, EXPR_ADD, num(f, 1), salu_expr(f));
    const Expr *e = op2(f, EXPR_MUL, op2(f, EXPR_DIV, in(f, 0), num(f, 2)), gate);
    return graph_map(f->g, e, (Node *[]){ x, a, b }, 3, NULL);
}

static Node *tanh_of(Fixture *f, Node *x) { return graph_unary(f->g, EXPR_TANH, x, NULL); }
static Node *add(Fixture *f, Node *x, Node *y) { return graph_binary(f->g, EXPR_ADD, x, y, NULL); }
static Node *mul(Fixture *f, Node *x, Node *y) { return graph_binary(f->g, EXPR_MUL, x, y, NULL); }

static Window window(int spatial, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad, int64_t groups) {
    Window w = { .spatial = spatial, .groups = groups };
    for (int i = 0; i < spatial; i++) {
        w.kernel[i] = kernel;
        w.stride[i] = stride;
        w.dilation[i] = dilation;
        w.pad_lo[i] = pad;
        w.pad_hi[i] = pad;
    }
    return w;
}

/* The loss: the mean over the batch of y weighted by an input of its shape, so that no gradient is uniform. */
static void finish(Fixture *f, Node *y) {
    Node *sum = mul(f, y, input(f, y->shape));
    sum = graph_reduce(f->g, OP_SUM, sum, (1u << sum->shape.rank) - 1, NULL);
    sum = graph_reshape(f->g, sum, SCALAR, -1, NULL);
    graph_output(f->g, "loss", graph_binary(f->g, EXPR_DIV, sum, graph_scalar(f->g, SCALAR_BATCH, NULL), NULL));
}

static double *numbers(Fixture *f, int64_t count, uint32_t salt, double lo, double hi) {
    double *v = NEW_ARRAY(f->arena, double, count + 1);
    for (int64_t i = 0; i < count; i++) {
        salt = salt * 1664525u + 1013904223u;
        v[i] = lo + (hi - lo) * (salt >> 8) * 0x1p-24;
    }
    return v;
}

/* ---- checking ---- */

static void run(Interp *it, const Graph *g, int64_t n) {
    if (!interp_run(it, g, n))
        fail_msg("interpreter: %s", interp_error(it));
}

static double loss_of(Interp *it, const Graph *g, int64_t n) {
    int64_t count;
    run(it, g, n);
    double loss = interp_output(it, 0, &count)[0];
    assert_int_equal(count, 1);
    return loss;
}

static void check_tensor(Interp *it, const Graph *g, int64_t n, TensorDecl *t, double *value, const double *gradient) {
    const double h = 1e-5;
    int64_t count = shape_count(&t->shape);
    for (int64_t i = 0; i < count; i += count > 40 ? 7 : 1) {
        double kept = value[i], by[2];
        for (int side = 0; side < 2; side++) {
            value[i] = kept + (side ? h : -h);
            interp_set_tensor(it, t, value);
            by[side] = loss_of(it, g, n);
        }
        value[i] = kept;
        double wanted = (by[1] - by[0]) / (2 * h);
        if (!(fabs(gradient[i] - wanted) <= 2e-8 * fmax(1, fabs(wanted))))
            fail_msg("d loss / d %s[%lld] at n = %lld: %.12g, by differences %.12g", t->name, (long long)i, (long long)n,
                     gradient[i], wanted);
    }
    interp_set_tensor(it, t, value);
}

static void check_batch(Fixture *f, int64_t n) {
    Interp *it = interp_new(f->p, true, 0);
    for (int i = 0; i < f->g->input_count; i++) {
        bool batched = f->g->inputs[i].node->shape.batched;
        int64_t count = batched ? f->input_size[i] / CAPACITY * n : f->input_size[i];
        assert_true(interp_set_input_double(it, i, numbers(f, count, 77u + (uint32_t)i, -1, 1), count));
    }
    double *value[32], *gradient[32];
    for (int i = 0; i < f->p->tensor_count; i++) {
        TensorDecl *t = f->p->tensors[i];
        bool above = t->constraint.kind != CONSTRAINT_NONE;
        value[i] = numbers(f, shape_count(&t->shape), 5u + (uint32_t)i, above ? 0.5 : -1, above ? 2 : 1);
        gradient[i] = NEW_ARRAY(f->arena, double, shape_count(&t->shape));
        interp_set_tensor(it, t, value[i]);
    }
    run(it, f->g, n);
    for (int i = 0; i < f->p->tensor_count; i++)
        interp_get_gradient(it, f->p->tensors[i], gradient[i]);
    for (int i = 0; i < f->p->tensor_count; i++)
        check_tensor(it, f->g, n, f->p->tensors[i], value[i], gradient[i]);
    interp_destroy(it);
}

/* Differentiates, then checks at several n, before and after the passes behind autodiff. */
static void check(Fixture *f, Node *y) {
    finish(f, y);
    graph_verify(f->g, "building");
    pass_tables(f->p);
    pass_autodiff(f->p);
    graph_verify(f->g, "autodiff");
    for (int round = 0; round < 2; round++) {
        check_batch(f, CAPACITY);
        check_batch(f, 1);
        graph_fold(f->g);
        graph_verify(f->g, "fold");
        graph_cse(f->g);
        graph_verify(f->g, "cse");
    }
}

static int count_op(const Fixture *f, OpId op) {
    int count = 0;
    for (const Node *n = f->g->first; n; n = n->next)
        count += n->op == op;
    return count;
}

/* ---- contractions ---- */

static void conv_case(Fixture *f, int spatial, const int64_t *size, Window win, int64_t channels, int64_t outs) {
    Shape s = { .rank = spatial + 2, .batched = true, .dim = { CAPACITY, channels } };
    Shape w = { .rank = spatial + 2, .dim = { outs, channels / win.groups } }, first = w;
    Window point = window(spatial, 1, 1, 1, 0, 1);
    for (int i = 0; i < spatial; i++) {
        s.dim[2 + i] = size[i];
        w.dim[2 + i] = win.kernel[i];
        first.dim[2 + i] = 1;
    }
    first.dim[0] = first.dim[1] = channels;
    Node *h = graph_conv(f->g, input(f, s), param(f, "first", first), &point, NULL);
    Node *y = graph_conv(f->g, tanh_of(f, h), param(f, "weight", w), &win, NULL);
    check(f, tanh_of(f, y));
}

static void conv_linear(void **state) { conv_case(*state, 0, NULL, window(0, 1, 1, 1, 0, 1), 5, 4); }
static void conv_1d(void **state) { conv_case(*state, 1, DIMS(9), window(1, 3, 2, 2, 1, 1), 2, 3); }
static void conv_2d(void **state) { conv_case(*state, 2, DIMS(6, 5), window(2, 3, 1, 1, 1, 1), 3, 2); }
static void conv_2d_stride(void **state) { conv_case(*state, 2, DIMS(7, 8), window(2, 3, 2, 1, 1, 2), 4, 6); }
static void conv_2d_groups(void **state) { conv_case(*state, 2, DIMS(5, 5), window(2, 2, 1, 2, 1, 3), 3, 6); }
static void conv_3d(void **state) { conv_case(*state, 3, DIMS(3, 4, 3), window(3, 2, 1, 1, 1, 1), 2, 2); }

/* ---- pools ---- */

static void pool_case(Fixture *f, OpId op, Window win) {
    Shape s = BATCHED(4, 2, 7, 6), result = s;
    Node *x = tanh_of(f, mul(f, input(f, s), param(f, "scale", FIXED(4, 1, 2, 7, 6))));
    assert_true(window_result(&win, s.dim + 2, result.dim + 2));
    check(f, graph_pool(f->g, op, &x, &win, result, NULL));
}

static void maxpool(void **state) { pool_case(*state, OP_MAXPOOL, window(2, 3, 2, 1, 1, 1)); }
static void maxpool_plain(void **state) { pool_case(*state, OP_MAXPOOL, window(2, 2, 2, 1, 0, 1)); }
static void avgpool(void **state) { pool_case(*state, OP_AVGPOOL, window(2, 3, 2, 1, 1, 1)); }
static void avgpool_plain(void **state) { pool_case(*state, OP_AVGPOOL, window(2, 2, 1, 1, 0, 1)); }

/* ---- moves and reductions ---- */

static void moves(void **state) {
    Fixture *f = *state;
    Node *x = mul(f, input(f, BATCHED(3, 4, 6)), param(f, "p", FIXED(3, 1, 4, 6)));
    Node *t = graph_transpose(f->g, x, (int[]){ 0, 2, 1 }, NULL);
    Node *r = graph_reshape(f->g, tanh_of(f, t), BATCHED(4, 3, 2, 4), 1, NULL);
    Node *u = graph_transpose(f->g, r, (int[]){ 0, 3, 1, 2 }, NULL);
    check(f, tanh_of(f, mul(f, u, param(f, "q", FIXED(4, 1, 4, 1, 2)))));
}

static void transposed_weight(void **state) {
    Fixture *f = *state;
    Window linear = window(0, 1, 1, 1, 0, 1);
    Node *w = graph_transpose(f->g, param(f, "w", FIXED(2, 4, 5)), (int[]){ 1, 0 }, NULL);
    check(f, tanh_of(f, graph_conv(f->g, input(f, BATCHED(2, 4)), tanh_of(f, w), &linear, NULL)));
}

/* [N, T, C] with the channels last: linear over tokens, and a strided window over them */
static Node *tokens(Fixture *f, Node *x, const char *name, int64_t outs, Window win) {
    win.channel_last = true;
    return graph_conv(f->g, x, param(f, name, FIXED(3, outs, x->shape.dim[2] / win.groups, win.kernel[0])), &win, NULL);
}

static Node *token_input(Fixture *f, int64_t count, int64_t channels) {
    Node *x = input(f, BATCHED(3, count, channels));
    x->channel = 2;
    return x;
}

static void conv_tokens(void **state) {
    Fixture *f = *state;
    Node *x = tanh_of(f, tokens(f, token_input(f, 7, 4), "first", 6, window(1, 1, 1, 1, 0, 1)));
    check(f, tanh_of(f, tokens(f, x, "second", 4, window(1, 3, 2, 1, 1, 2))));
}

static void attention_case(Fixture *f, int64_t queries, int64_t keys, bool causal) {
    Window point = window(1, 1, 1, 1, 0, 1);
    Node *x = token_input(f, queries, 3), *z = token_input(f, keys, 5);
    Node *q = tokens(f, x, "q", 6, point), *k = tokens(f, z, "k", 6, point), *v = tokens(f, z, "v", 6, point);
    Node *y = graph_attention(f->g, q, k, tanh_of(f, v), &(Attention){ .heads = 3, .scale = 1.7, .causal = causal }, NULL);
    check(f, tanh_of(f, y));
    assert_int_equal(count_op(f, OP_ATTENTION_Q) + count_op(f, OP_ATTENTION_K) + count_op(f, OP_ATTENTION_V), 3);
}

static void attention(void **state) { attention_case(*state, 5, 5, false); }
static void attention_causal(void **state) { attention_case(*state, 5, 5, true); }
static void attention_across(void **state) { attention_case(*state, 2, 7, false); }
static void attention_last_queries(void **state) { attention_case(*state, 3, 5, true); }

/* One tensor read as queries, keys and values: its gradient is one concatenation, of which nothing is added. */
static void attention_split(void **state) {
    Fixture *f = *state;
    Node *qkv = tokens(f, token_input(f, 4, 3), "qkv", 12, window(1, 1, 1, 1, 0, 1)), *part[3];
    for (int i = 0; i < 3; i++)
        part[i] = graph_slice(f->g, qkv, 2, 4 * i, 4, NULL);
    check(f, tanh_of(f, graph_attention(f->g, part[0], part[1], part[2], &(Attention){ .heads = 2, .scale = 0.7 }, NULL)));
    assert_int_equal(count_op(f, OP_CONCAT), 1);
    assert_int_equal(count_op(f, OP_PAD), 0);
}

static void parts(void **state) {
    Fixture *f = *state;
    Node *x = mul(f, input(f, BATCHED(3, 4, 6)), param(f, "p", FIXED(3, 1, 4, 6)));
    Node *a = graph_slice(f->g, x, 1, 1, 2, NULL), *b = graph_slice(f->g, x, 1, 0, 3, NULL);   /* overlap: added */
    Node *q = graph_slice(f->g, param(f, "q", FIXED(3, 3, 2, 6)), 0, 2, 1, NULL);
    Node *both = graph_concat(f->g, (Node *[]){ mul(f, a, q), tanh_of(f, b), a }, 3, 1, NULL);
    check(f, tanh_of(f, graph_pad(f->g, tanh_of(f, both), 2, 1, 9, NULL)));
    assert_true(count_op(f, OP_PAD) > 1);
}

static void sums(void **state) {
    Fixture *f = *state;
    Node *x = tanh_of(f, mul(f, input(f, BATCHED(3, 4, 5)), param(f, "p", FIXED(3, 1, 4, 5))));
    Node *rows = graph_reduce(f->g, OP_SUM, x, 1u << 2, NULL);          /* keeps the batch */
    Node *batch = graph_reduce(f->g, OP_SUM, x, 1u | 1u << 2, NULL);    /* over it: [1, 4, 1] */
    Node *y = mul(f, add(f, x, tanh_of(f, rows)), tanh_of(f, batch));
    check(f, y);
}

/* batch normalization as the prelude writes it */
static void batchnorm(void **state) {
    Fixture *f = *state;
    unsigned axes = 1u | 1u << 2 | 1u << 3;
    Node *x = tanh_of(f, mul(f, input(f, BATCHED(4, 3, 4, 4)), param(f, "p", FIXED(4, 1, 3, 4, 4))));
    Node *count = graph_binary(f->g, EXPR_MUL, graph_scalar(f->g, SCALAR_BATCH, NULL), graph_fill(f->g, SCALAR, -1, 16, NULL), NULL);
    Node *mean = graph_binary(f->g, EXPR_DIV, graph_reduce(f->g, OP_SUM, x, axes, NULL), count, NULL);
    Node *centred = graph_binary(f->g, EXPR_SUB, x, mean, NULL);
    Node *var = graph_binary(f->g, EXPR_DIV, graph_reduce(f->g, OP_SUM, mul(f, centred, centred), axes, NULL), count, NULL);
    Node *scale = graph_unary(f->g, EXPR_RSQRT, add(f, var, graph_fill(f->g, SCALAR, -1, 1e-5, NULL)), NULL);
    Node *y = mul(f, mul(f, centred, scale), param(f, "weight", FIXED(1, 3)));
    check(f, tanh_of(f, add(f, y, param(f, "bias", FIXED(1, 3)))));
}

/* softmax with its largest element taken off: MAXIMUM's gradient cancels */
static void softmax(void **state) {
    Fixture *f = *state;
    Window linear = window(0, 1, 1, 1, 0, 1);
    Node *x = graph_conv(f->g, input(f, BATCHED(2, 6)), param(f, "w", FIXED(2, 5, 6)), &linear, NULL);
    x = add(f, x, param(f, "bias", FIXED(1, 5)));
    Node *top = graph_reduce(f->g, OP_MAXIMUM, x, 1u << 1, NULL);
    Node *e = graph_unary(f->g, EXPR_EXP, graph_binary(f->g, EXPR_SUB, x, top, NULL), NULL);
    Node *total = graph_reduce(f->g, OP_SUM, e, 1u << 1, NULL);
    check(f, graph_unary(f->g, EXPR_LOG, graph_binary(f->g, EXPR_DIV, e, total, NULL), NULL));
}

/* ---- maps ---- */

static void broadcasting(void **state) {
    Fixture *f = *state;
    Node *x = input(f, BATCHED(4, 2, 3, 4));
    Node *y = mul(f, x, param(f, "scalar", SCALAR));
    y = tanh_of(f, add(f, y, param(f, "channel", FIXED(1, 2))));
    y = mul(f, y, param(f, "rows", FIXED(4, 1, 1, 3, 1)));
    y = add(f, y, param(f, "all", FIXED(4, 1, 2, 3, 4)));
    y = tanh_of(f, mul(f, y, param(f, "one", FIXED(4, 1, 1, 1, 1))));
    Node *product = mul(f, param(f, "left", FIXED(2, 2, 1)), param(f, "right", FIXED(2, 1, 4)));
    check(f, mul(f, y, graph_reshape(f->g, tanh_of(f, product), FIXED(4, 1, 2, 1, 4), -1, NULL)));
}

static void fan_out(void **state) {
    Fixture *f = *state;
    Node *p = param(f, "p", FIXED(2, 1, 5)), *x = input(f, BATCHED(2, 5));
    TensorDecl *t = p->attr.tensor;
    Node *h = tanh_of(f, mul(f, x, p));
    Node *again = graph_tensor(f->g, t, NULL);           /* the same parameter read once more */
    Node *y = add(f, mul(f, h, h), mul(f, tanh_of(f, h), again));
    check(f, add(f, add(f, y, h), mul(f, p, again)));
}

static void activations(void **state) {
    Fixture *f = *state;
    Node *a = positive(f, "a", SCALAR), *b = positive(f, "b", SCALAR), *c = positive(f, "c", FIXED(1, 2));
    Window win = window(2, 3, 1, 1, 1, 1);
    Node *x = graph_conv(f->g, input(f, BATCHED(4, 2, 4, 5)), param(f, "conv", FIXED(4, 2, 2, 3, 3)), &win, NULL);
    Node *h = swalu(f, salu(f, x, a, b), b, positive(f, "gate", SCALAR));
    Node *channel = graph_align(f->g, c, &h->shape, 1, NULL);
    Node *y = graph_conv(f->g, h, param(f, "conv2", FIXED(4, 2, 2, 3, 3)), &win, NULL);
    y = salu(f, y, channel, b);
    check(f, swalu(f, add(f, y, h), a, channel));
}

static void rectifiers(void **state) {
    Fixture *f = *state;
    Node *x = mul(f, input(f, BATCHED(2, 6)), param(f, "p", FIXED(2, 1, 6)));
    Node *h = graph_map(f->g, op2(f, EXPR_MAX, num(f, 0), in(f, 0)), &x, 1, NULL);
    const Expr *test = op2(f, EXPR_LT, num(f, 0), in(f, 0));
    const Expr *leaky = expr_make(f->e, EXPR_SELECT, test, in(f, 0), op2(f, EXPR_MUL, in(f, 1), in(f, 0)));
    Node *y = graph_map(f->g, leaky, (Node *[]){ x, param(f, "alpha", SCALAR) }, 2, NULL);
    check(f, add(f, h, y));
}

/* An unconstrained factor may be 0, where nothing follows from the output: it is not recovered. */
static void zero_scale(void **state) {
    Fixture *f = *state;
    Node *a = param(f, "a", SCALAR), *b = positive(f, "b", SCALAR);
    Node *x = mul(f, input(f, BATCHED(2, 4)), param(f, "p", FIXED(2, 1, 4)));
    check(f, salu(f, x, a, b));
    Interp *it = interp_new(f->p, true, 0);
    double zero = 0, one = 1, gradient = NAN, *ones = numbers(f, 12, 3, 1, 2);
    interp_set_tensor(it, program_tensor(f->p, "a"), &zero);
    interp_set_tensor(it, program_tensor(f->p, "b"), &one);
    interp_set_tensor(it, program_tensor(f->p, "p"), ones);
    interp_set_input_double(it, 0, ones, 12);
    interp_set_input_double(it, 1, ones, 12);
    run(it, f->g, CAPACITY);
    interp_get_gradient(it, program_tensor(f->p, "a"), &gradient);
    assert_true(isfinite(gradient) && gradient > 0);
    interp_destroy(it);
}

static void coordinates(void **state) {
    Fixture *f = *state;
    const Expr *e = op1(f, EXPR_TANH, op2(f, EXPR_MUL, in(f, 0), expr_coord(f->e, 1)));
    Node *p = param(f, "p", SCALAR);
    check(f, graph_map_shape(f->g, e, &p, 1, BATCHED(2, 5), 1, NULL));
}

static void detached(void **state) {
    Fixture *f = *state;
    Node *p = param(f, "p", SCALAR);
    Node *held = graph_unary(f->g, EXPR_DETACH, p, NULL);
    finish(f, mul(f, input(f, BATCHED(2, 2)), mul(f, held, p)));
    pass_tables(f->p);
    pass_autodiff(f->p);
    for (int folded = 0; folded < 2; folded++) {
        Interp *it = interp_new(f->p, true, 0);
        double value = 3, gradient, ones[] = { 1, 1, 1, 1, 1, 1 };
        interp_set_tensor(it, p->attr.tensor, &value);
        interp_set_input_double(it, 0, ones, 6);
        interp_set_input_double(it, 1, ones, 6);
        run(it, f->g, CAPACITY);
        interp_get_gradient(it, program_tensor(f->p, "p"), &gradient);
        assert_float_equal(gradient, 6, 1e-12);          /* not 12: one of the two counts */
        interp_destroy(it);
        graph_fold(f->g);
    }
}

/* ---- what is not computed ---- */

static void only_what_is_needed(void **state) {
    Fixture *f = *state;
    Window win = window(2, 3, 1, 1, 1, 1);
    Node *x = input(f, BATCHED(4, 2, 4, 4)), *a = positive(f, "a", SCALAR), *b = positive(f, "b", SCALAR);
    Node *frozen = param(f, "frozen.weight", FIXED(4, 2, 2, 3, 3));
    Node *mean = graph_tensor(f->g, program_add_tensor(f->p, "mean", SCALAR, -1, true), NULL);
    Node *h = graph_conv(f->g, x, frozen, &win, NULL);
    h = salu(f, add(f, graph_conv(f->g, h, param(f, "weight", FIXED(4, 2, 2, 3, 3)), &win, NULL), mean), a, b);
    frozen->attr.tensor->group.frozen = true;
    finish(f, h);
    pass_tables(f->p);
    pass_autodiff(f->p);
    graph_verify(f->g, "autodiff");
    assert_int_equal(count_op(f, OP_CONV_INPUT), 0);
    assert_int_equal(count_op(f, OP_CONV_WEIGHT), 1);
    assert_int_equal(f->g->effect_count, 3);
    assert_string_equal(f->g->effects[0].tensor->name, "a");
    assert_string_equal(f->g->effects[2].tensor->name, "weight");
    graph_fold(f->g);
    graph_cse(f->g);
    /* salu's backward reads its output: its input has one reader, the salu itself */
    int readers = 0;
    for (const Node *n = f->g->first; n; n = n->next)
        for (int i = 0; i < n->arity; i++)
            readers += n->in[i]->op == OP_MAP && n->in[i]->arity == 2 && n->in[i]->in[0]->op == OP_CONV;
    assert_int_equal(readers, 1);
}

static void no_parameters(void **state) {
    Fixture *f = *state;
    finish(f, tanh_of(f, input(f, BATCHED(2, 2))));
    pass_tables(f->p);
    pass_autodiff(f->p);
    graph_verify(f->g, "autodiff");
    assert_int_equal(f->g->effect_count, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(conv_linear), TEST(conv_1d), TEST(conv_2d), TEST(conv_2d_stride), TEST(conv_2d_groups), TEST(conv_3d),
        TEST(conv_tokens), TEST(attention), TEST(attention_causal), TEST(attention_across), TEST(attention_last_queries),
        TEST(attention_split), TEST(parts),
        TEST(maxpool), TEST(maxpool_plain), TEST(avgpool), TEST(avgpool_plain), TEST(moves), TEST(transposed_weight),
        TEST(sums), TEST(batchnorm), TEST(softmax), TEST(broadcasting), TEST(fan_out), TEST(activations), TEST(rectifiers),
        TEST(zero_scale), TEST(coordinates), TEST(detached), TEST(only_what_is_needed), TEST(no_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
