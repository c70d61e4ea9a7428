/* test_interp.c - every operator of the interpreter against hand-computed values or independent loops,
 * in float and in double, at full batch and below it; random numbers, effects, errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "interp/interp.h"

enum { CAPACITY = 3 };

typedef struct { Arena *arena; Program *p; Graph *g; ExprPool *e; } Fixture;

static int setup(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    f->arena = arena_new(0);
    f->p = program_new(f->arena, "net");
    f->p->batch = CAPACITY;
    f->g = graph_new(f->p, "infer");
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
#define BATCHED(rank, ...) shape_of(true, rank, DIMS(__VA_ARGS__))
#define FIXED(rank, ...) shape_of(false, rank, DIMS(__VA_ARGS__))
#define NUMBERS(...) (double[]){ __VA_ARGS__ }

/* Values in [-1, 1] that float holds exactly, different for each `salt`. */
static double *numbers(Fixture *f, int64_t count, uint32_t salt) {
    double *v = NEW_ARRAY(f->arena, double, count + 1);
    for (int64_t i = 0; i < count; i++) {
        salt = salt * 1664525u + 1013904223u;
        v[i] = (double)(int32_t)(salt >> 16) / 32768 - 1;
    }
    return v;
}

static Node *input(Fixture *f, Shape s) {
    return graph_input(f->g, "x", TYPE_F32, s, -1, NULL);
}

static int64_t run_count(const Node *n, int64_t batch) {
    int64_t count = shape_count(&n->shape);
    return n->shape.batched ? count / n->shape.dim[0] * batch : count;
}

/* Runs the graph for n images in both arithmetics; output 0 must have `count` elements near `wanted`. */
static void expect(Fixture *f, int64_t n, double **in, const double *wanted, int64_t count, double tolerance) {
    assert_null(graph_check(f->g, f->arena));
    for (int twice = 0; twice < 2; twice++) {
        Interp *it = interp_new(f->p, twice, 0);
        for (int i = 0; i < f->g->input_count; i++)
            assert_true(interp_set_input_double(it, i, in[i], run_count(f->g->inputs[i].node, n)));
        if (!interp_run(it, f->g, n))
            fail_msg("%s", interp_error(it));
        int64_t got_count;
        const double *got = interp_output(it, 0, &got_count);
        assert_int_equal(got_count, count);
        double near = twice ? 1e-13 : tolerance;
        for (int64_t i = 0; i < count; i++) {
            bool same = got[i] == wanted[i] || (isnan(got[i]) && isnan(wanted[i]));
            if (!same && !(fabs(got[i] - wanted[i]) <= near * fmax(1, fabs(wanted[i]))))
                fail_msg("%s, n = %d: element %d is %.17g, not %.17g", twice ? "double" : "float", (int)n, (int)i, got[i], wanted[i]);
        }
        interp_destroy(it);
    }
}

/* ---- maps ---- */

typedef struct { ExprOp op; double x, y, z, wanted; } Row;

/* Every operator of expr.def; wanted values from tables or by hand. */
static const Row rows[] = {
    { EXPR_ADD, 1.5, 2.25, 0, 3.75 }, { EXPR_SUB, 1.5, 2.25, 0, -0.75 }, { EXPR_MUL, 1.5, -2, 0, -3 },
    { EXPR_DIV, 3, -2, 0, -1.5 }, { EXPR_DIV, 1, 0, 0, INFINITY }, { EXPR_POW, 2, 10, 0, 1024 },
    { EXPR_POW, -2, 3, 0, -8 }, { EXPR_POW, -2, 0.5, 0, NAN }, { EXPR_NEG, 2, 0, 0, -2 }, { EXPR_SQRT, 2.25, 0, 0, 1.5 },
    { EXPR_SQRT, -1, 0, 0, NAN }, { EXPR_RSQRT, 16, 0, 0, 0.25 }, { EXPR_EXP, 1, 0, 0, 2.718281828459045 },
    { EXPR_LOG, 10, 0, 0, 2.302585092994046 }, { EXPR_TANH, 0.5, 0, 0, 0.46211715726000975 },
    { EXPR_SIGMOID, 2, 0, 0, 0.8807970779778823 }, { EXPR_SIGMOID, -200, 0, 0, 1.3838965267367376e-87 },
    { EXPR_ERF, 0.5, 0, 0, 0.5204998778130465 }, { EXPR_SIN, 1, 0, 0, 0.8414709848078965 },
    { EXPR_COS, 1, 0, 0, 0.5403023058681398 }, { EXPR_SOFTPLUS, 0, 0, 0, 0.6931471805599453 },
    { EXPR_SOFTPLUS, 300, 0, 0, 300 }, { EXPR_SOFTPLUS, -2, 0, 0, 0.1269280110429726 },
    { EXPR_SOFTPLUS, NAN, 0, 0, NAN }, { EXPR_ABS, -3, 0, 0, 3 }, { EXPR_MIN, 1, 2, 0, 1 }, { EXPR_MIN, 2, 1, 0, 1 },
    { EXPR_MAX, 1, 2, 0, 2 }, { EXPR_MAX, 2, 1, 0, 2 }, { EXPR_LT, 1, 2, 0, 1 }, { EXPR_LT, 2, 2, 0, 0 },
    { EXPR_LT, NAN, 2, 0, 0 }, { EXPR_LE, 2, 2, 0, 1 }, { EXPR_LE, 3, 2, 0, 0 }, { EXPR_EQ, 2, 2, 0, 1 },
    { EXPR_EQ, 2, 3, 0, 0 }, { EXPR_EQ, NAN, NAN, 0, 0 }, { EXPR_AND, 2, 0, 0, 0 }, { EXPR_AND, 2, -1, 0, 1 },
    { EXPR_OR, 0, 0, 0, 0 }, { EXPR_OR, 0, -1, 0, 1 }, { EXPR_NOT, 0, 0, 0, 1 }, { EXPR_NOT, 3, 0, 0, 0 },
    { EXPR_SELECT, 1, 5, 7, 5 }, { EXPR_SELECT, 0, 5, 7, 7 }, { EXPR_DETACH, 3, 0, 0, 3 },
};

static void test_operators(void **state) {
    bool tested[EXPR_OP_COUNT] = { [EXPR_CONST] = true, [EXPR_INPUT] = true, [EXPR_COORD] = true };
    for (int i = 0; i < COUNT(rows); i++) {
        Fixture *f = *state;
        const Row *r = &rows[i];
        tested[r->op] = true;
        f->g = graph_new(f->p, "row");
        const Expr *arg[3] = { NULL, NULL, NULL };
        Node *in[3];
        for (int k = 0; k < 3; k++) {
            in[k] = input(f, FIXED(1, 1));
            if (k < expr_info[r->op].args)
                arg[k] = expr_input(f->e, k);
        }
        graph_output(f->g, "y", graph_map(f->g, expr_make(f->e, r->op, arg[0], arg[1], arg[2]), in, 3, NULL));
        expect(f, 1, (double *[]){ NUMBERS(r->x), NUMBERS(r->y), NUMBERS(r->z) }, &r->wanted, 1, 1e-6);
    }
    for (int op = 0; op < EXPR_OP_COUNT; op++)
        if (!tested[op])
            fail_msg("no row tests %s", expr_info[op].text);
}

/* (x[n, c, p] + bias[c]) * batch + 100 c1 + c2, over more elements than a block holds */
static void test_broadcast(void **state) {
    Fixture *f = *state;
    enum { C = 5, P = 70 };
    Node *x = input(f, BATCHED(3, CAPACITY, C, P));
    Node *bias = input(f, FIXED(3, 1, C, 1));
    Node *in[3] = { x, bias, graph_scalar(f->g, SCALAR_BATCH, NULL) };
    const Expr *sum = expr_make(f->e, EXPR_ADD, expr_input(f->e, 0), expr_input(f->e, 1), NULL);
    const Expr *e = expr_make(f->e, EXPR_MUL, sum, expr_input(f->e, 2), NULL);
    const Expr *axis1 = expr_make(f->e, EXPR_MUL, expr_const(f->e, 100), expr_coord(f->e, 1), NULL);
    e = expr_make(f->e, EXPR_ADD, e, expr_make(f->e, EXPR_ADD, axis1, expr_coord(f->e, 2), NULL), NULL);
    graph_output(f->g, "y", graph_map(f->g, e, in, 3, NULL));
    double *vx = numbers(f, CAPACITY * C * P, 1), *vb = numbers(f, C, 2), *wanted = numbers(f, CAPACITY * C * P, 3);
    for (int n = 1; n <= CAPACITY; n++) {
        for (int i = 0; i < n * C * P; i++)
            wanted[i] = (vx[i] + vb[i / P % C]) * n + 100 * (i / P % C) + i % P;
        expect(f, n, (double *[]){ vx, vb }, wanted, n * C * P, 1e-6);
    }
}

/* one-hot of int32 labels: [N, 1] against the coordinate of [N, 4] */
static void test_one_hot(void **state) {
    Fixture *f = *state;
    Node *label = graph_input(f->g, "label", TYPE_I32, BATCHED(2, CAPACITY, 1), -1, NULL);
    const Expr *e = expr_make(f->e, EXPR_EQ, expr_input(f->e, 0), expr_coord(f->e, 1), NULL);
    graph_output(f->g, "y", graph_map_shape(f->g, e, &label, 1, BATCHED(2, CAPACITY, 4), 1, NULL));
    Interp *it = interp_new(f->p, false, 0);
    assert_true(interp_set_input(it, 0, (int32_t[]){ 2, 0 }, TYPE_I32, 2) && interp_run(it, f->g, 2));
    int64_t count;
    const double *y = interp_output(it, 0, &count);
    assert_int_equal(count, 8);
    for (int i = 0; i < 8; i++)
        assert_true(y[i] == (i == 2 || i == 4));
    assert_true(interp_set_input(it, 0, (uint8_t[]){ 3 }, TYPE_U8, 1) && interp_run(it, f->g, 1));
    assert_true(interp_output(it, 0, &count)[3] == 1 && count == 4);
    interp_destroy(it);
}

/* ---- reductions and moves ---- */

static void test_reductions(void **state) {
    Fixture *f = *state;
    const int64_t dim[4] = { CAPACITY, 2, 3, 4 };
    double *x = numbers(f, CAPACITY * 24, 7);
    for (unsigned axes = 0; axes < 16; axes++)
        for (int op = OP_SUM; op <= OP_MAXIMUM; op++)
            for (int n = 1; n <= CAPACITY; n += 2) {
                f->g = graph_new(f->p, "reduce");
                Node *r = graph_reduce(f->g, op, input(f, shape_of(true, 4, dim)), axes, NULL);
                graph_output(f->g, "y", r);
                int64_t count = run_count(r, n), at[4];
                double wanted[CAPACITY * 24];
                for (int64_t i = 0; i < count; i++)
                    wanted[i] = op == OP_SUM ? 0 : -INFINITY;
                for (int64_t i = 0; i < n * 24; i++) {
                    int64_t place = 0;
                    for (int a = 3, left = (int)i; a >= 0; left /= (int)dim[a], a--)
                        at[a] = left % dim[a];
                    for (int a = 0; a < 4; a++)
                        place = axes >> a & 1 ? place : place * (a == 0 ? n : dim[a]) + at[a];
                    wanted[place] = op == OP_SUM ? wanted[place] + x[i] : fmax(wanted[place], x[i]);
                }
                expect(f, n, &x, wanted, count, 1e-6);
            }
}

static void test_maximum_of_nan(void **state) {
    Fixture *f = *state;
    graph_output(f->g, "y", graph_reduce(f->g, OP_MAXIMUM, input(f, FIXED(2, 2, 3)), 2, NULL));
    expect(f, 1, (double *[]){ NUMBERS(1, NAN, 2, -INFINITY, -5, -7) }, NUMBERS(NAN, -5), 2, 0);
}

static void test_moves(void **state) {
    Fixture *f = *state;
    Node *x = input(f, BATCHED(3, CAPACITY, 2, 3));
    Node *t = graph_transpose(f->g, x, (int[]){ 0, 2, 1 }, NULL);
    graph_output(f->g, "y", graph_reshape(f->g, t, BATCHED(2, CAPACITY, 6), -1, NULL));
    expect(f, 2, (double *[]){ NUMBERS(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12) },
           NUMBERS(1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12), 12, 0);
    f->g = graph_new(f->p, "fixed");
    x = input(f, FIXED(3, 2, 2, 2));
    graph_output(f->g, "y", graph_transpose(f->g, x, (int[]){ 2, 0, 1 }, NULL));
    expect(f, 1, (double *[]){ NUMBERS(0, 1, 2, 3, 4, 5, 6, 7) }, NUMBERS(0, 2, 4, 6, 1, 3, 5, 7), 8, 0);
}

static void test_parts(void **state) {
    Fixture *f = *state;
    Node *x = input(f, BATCHED(3, CAPACITY, 3, 2)), *y = input(f, BATCHED(3, CAPACITY, 1, 2));
    Node *last = graph_slice(f->g, x, 1, 1, 2, NULL);
    graph_output(f->g, "y", graph_concat(f->g, (Node *[]){ y, last, y }, 3, 1, NULL));
    double *in[] = { NUMBERS(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), NUMBERS(20, 21, 30, 31) };
    expect(f, 2, in, NUMBERS(20, 21, 3, 4, 5, 6, 20, 21, 30, 31, 9, 10, 11, 12, 30, 31), 16, 0);
    f->g = graph_new(f->p, "last axis");
    x = input(f, BATCHED(2, CAPACITY, 3));
    graph_output(f->g, "y", graph_pad(f->g, graph_slice(f->g, x, 1, 2, 1, NULL), 1, 1, 3, NULL));
    expect(f, 2, (double *[]){ NUMBERS(1, 2, 3, 4, 5, 6) }, NUMBERS(0, 3, 0, 0, 6, 0), 6, 0);
    f->g = graph_new(f->p, "first axis");
    x = input(f, FIXED(2, 2, 2));
    graph_output(f->g, "y", graph_concat(f->g, (Node *[]){ graph_slice(f->g, x, 0, 1, 1, NULL), x }, 2, 0, NULL));
    expect(f, 1, (double *[]){ NUMBERS(1, 2, 3, 4) }, NUMBERS(3, 4, 1, 2, 3, 4), 6, 0);
}

/* ---- attention ---- */

/* One head of width 1 with scores q k = log of whole numbers: 1 : 2 and 1 : 4 for the first key, 1 : 3 and 1 : 9 for
 * the second one. */
static void test_attention_by_hand(void **state) {
    Fixture *f = *state;
    const double l2 = 0.6931471805599453, l3 = 1.0986122886681098;
    Node *in[4];
    for (int i = 0; i < 4; i++) {
        in[i] = input(f, BATCHED(3, CAPACITY, 2, 1));
        in[i]->channel = 2;
    }
    const Attention a = { .heads = 1, .scale = 0.5 }, causal = { .heads = 1, .scale = 0.5, .causal = true };
    double *values[] = { NUMBERS(2, 4), NUMBERS(l2, l3), NUMBERS(10, 20), NUMBERS(1, -1) };
    graph_output(f->g, "y", graph_attention(f->g, in[0], in[1], in[2], &a, NULL));
    expect(f, 1, values, NUMBERS(16, 220.0 / 13), 2, 1e-6);      /* (2 10 + 3 20) / 5, (4 10 + 9 20) / 13 */
    f->g->outputs[0].node = graph_attention(f->g, in[0], in[1], in[2], &causal, NULL);
    expect(f, 1, values, NUMBERS(10, 220.0 / 13), 2, 1e-6);
    /* dv = sum over queries of p dy: 2/5 - 4/13, 3/5 - 9/13 */
    f->g->outputs[0].node = graph_attention_gradient(f->g, OP_ATTENTION_V, in, &a, NULL);
    expect(f, 1, values, NUMBERS(6.0 / 65, -6.0 / 65), 2, 1e-6);
    /* ds = p (dp - mean dp): of query 0 (2/5)(10 - 16) = -12/5 and 12/5; of query 1 (4/13)(-10 + 220/13) and minus it */
    const double d1 = 4.0 / 13 * (90.0 / 13);
    f->g->outputs[0].node = graph_attention_gradient(f->g, OP_ATTENTION_Q, in, &a, NULL);
    expect(f, 1, values, NUMBERS(0.5 * 2.4 * (l3 - l2), 0.5 * d1 * (l2 - l3)), 2, 1e-6);
    f->g->outputs[0].node = graph_attention_gradient(f->g, OP_ATTENTION_K, in, &a, NULL);
    expect(f, 1, values, NUMBERS(0.5 * (-2.4 * 2 + d1 * 4), 0.5 * (2.4 * 2 - d1 * 4)), 2, 1e-6);
}

/* Heads, images and scores of any size against the definition. */
static void test_attention(void **state) {
    Fixture *f = *state;
    enum { S = 3, T = 5, D = 6, HEADS = 2, W = D / HEADS };
    double *q = numbers(f, CAPACITY * S * D, 1), *k = numbers(f, CAPACITY * T * D, 2), *v = numbers(f, CAPACITY * T * D, 3);
    double *wanted = NEW_ARRAY(f->arena, double, CAPACITY * S * D), p[T];
    q[0] = 200;                                          /* exp(800 q k) alone has no value in double */
    for (int causal = 0; causal < 2; causal++) {
        for (int i = 0; i < CAPACITY * S * HEADS; i++) {
            int image = i / (S * HEADS), s = i / HEADS % S, h = i % HEADS, seen = causal ? s + T - S + 1 : T;
            double most = -INFINITY, sum = 0;
            for (int t = 0; t < seen; t++) {
                p[t] = 0;
                for (int c = 0; c < W; c++)
                    p[t] += 4 * q[(image * S + s) * D + h * W + c] * k[(image * T + t) * D + h * W + c];
                most = fmax(most, p[t]);
            }
            for (int t = 0; t < seen; t++)
                sum += p[t] = exp(p[t] - most);
            for (int c = 0; c < W; c++) {
                double y = 0;
                for (int t = 0; t < seen; t++)
                    y += p[t] / sum * v[(image * T + t) * D + h * W + c];
                wanted[(image * S + s) * D + h * W + c] = y;
            }
        }
        f->g = graph_new(f->p, "attention");
        Node *in[3] = { input(f, BATCHED(3, CAPACITY, S, D)), input(f, BATCHED(3, CAPACITY, T, D)), input(f, BATCHED(3, CAPACITY, T, D)) };
        for (int i = 0; i < 3; i++)
            in[i]->channel = 2;
        graph_output(f->g, "y", graph_attention(f->g, in[0], in[1], in[2], &(Attention){ HEADS, 4, causal }, NULL));
        for (int n = 1; n <= CAPACITY; n++)
            expect(f, n, (double *[]){ q, k, v }, wanted, n * S * D, 1e-6);
    }
}

/* ---- convolutions ---- */

typedef struct { Window win; int64_t channels, out_channels, in[3]; } ConvCase;

static const ConvCase conv_cases[] = {
    { { .spatial = 0, .groups = 1 }, 5, 4, { 0 } },
    { { .spatial = 0, .groups = 2 }, 6, 4, { 0 } },
    { { .spatial = 1, .kernel = { 3 }, .stride = { 2 }, .dilation = { 2 }, .pad_lo = { 1 }, .pad_hi = { 3 }, .groups = 1 },
      3, 2, { 9 } },
    { { .spatial = 2, .kernel = { 3, 3 }, .stride = { 1, 1 }, .dilation = { 1, 1 }, .pad_lo = { 1, 1 }, .pad_hi = { 1, 1 }, .groups = 1 },
      3, 5, { 6, 7 } },
    { { .spatial = 2, .kernel = { 3, 2 }, .stride = { 2, 1 }, .dilation = { 1, 3 }, .pad_lo = { 0, 2 }, .pad_hi = { 2, 1 }, .groups = 3 },
      6, 9, { 7, 5 } },
    { { .spatial = 2, .kernel = { 1, 1 }, .stride = { 2, 2 }, .dilation = { 1, 1 }, .groups = 1 }, 4, 3, { 5, 5 } },
    { { .spatial = 2, .kernel = { 3, 3 }, .stride = { 1, 1 }, .dilation = { 1, 1 }, .pad_lo = { 4, 0 }, .pad_hi = { 4, 0 }, .groups = 4 },
      4, 4, { 2, 3 } },
    { { .spatial = 3, .kernel = { 2, 3, 2 }, .stride = { 1, 2, 3 }, .dilation = { 2, 1, 1 }, .pad_lo = { 1, 0, 2 }, .pad_hi = { 0, 1, 1 }, .groups = 2 },
      4, 6, { 4, 5, 6 } },
};

/* The products of a convolution, each found by its own position: y += w x, dx += w dy, dw += x dy. */
static void scatter(const ConvCase *c, int64_t n, const int64_t *out, const double *x, const double *w,
                    const double *dy, double *y, double *dx, double *dw) {
    const Window *v = &c->win;
    int64_t in[3] = { 1, 1, 1 }, o[3] = { 1, 1, 1 }, k[3] = { 1, 1, 1 };
    for (int a = 0; a < v->spatial; a++)
        in[a] = c->in[a], o[a] = out[a], k[a] = v->kernel[a];
    int64_t ins = in[0] * in[1] * in[2], outs = o[0] * o[1] * o[2], taps = k[0] * k[1] * k[2];
    int64_t per = c->channels / v->groups;
    for (int64_t image = 0; image < n; image++)
        for (int64_t oc = 0; oc < c->out_channels; oc++)
            for (int64_t j = 0; j < per * taps * outs; j++) {
                int64_t p = j % outs, t = j / outs % taps, ic = j / outs / taps, at = 0;
                int64_t pp[3] = { p / o[2] / o[1], p / o[2] % o[1], p % o[2] };
                int64_t tt[3] = { t / k[2] / k[1], t / k[2] % k[1], t % k[2] };
                bool inside = true;
                for (int a = 0; a < 3; a++) {
                    int64_t i = a < v->spatial ? pp[a] * v->stride[a] + tt[a] * v->dilation[a] - v->pad_lo[a] : 0;
                    inside = inside && i >= 0 && i < in[a];
                    at = at * in[a] + i;
                }
                if (!inside)
                    continue;
                int64_t group = oc * v->groups / c->out_channels;
                int64_t xi = (image * c->channels + group * per + ic) * ins + at;
                int64_t wi = (oc * per + ic) * taps + t, yi = (image * c->out_channels + oc) * outs + p;
                y[yi] += w[wi] * x[xi];
                dx[xi] += w[wi] * dy[yi];
                dw[wi] += x[xi] * dy[yi];
            }
}

static void test_convolutions(void **state) {
    Fixture *f = *state;
    for (int i = 0; i < COUNT(conv_cases); i++) {
        const ConvCase *c = &conv_cases[i];
        int rank = c->win.spatial + 2;
        int64_t out[3] = { 0 };
        assert_true(window_result(&c->win, c->in, out));
        Shape x = { .rank = rank, .batched = true, .dim = { CAPACITY, c->channels } }, y = x, w = x;
        y.dim[1] = c->out_channels;
        w = (Shape){ .rank = rank, .dim = { c->out_channels, c->channels / c->win.groups } };
        for (int a = 0; a < c->win.spatial; a++) {
            x.dim[2 + a] = c->in[a];
            y.dim[2 + a] = out[a];
            w.dim[2 + a] = c->win.kernel[a];
        }
        int64_t xs = shape_count(&x), ys = shape_count(&y), ws = shape_count(&w);
        double *vx = numbers(f, xs, 11), *vw = numbers(f, ws, 12), *vdy = numbers(f, ys, 13);
        for (int n = 1; n <= CAPACITY; n++) {
            double *ry = NEW_ARRAY(f->arena, double, ys), *rdx = NEW_ARRAY(f->arena, double, xs);
            double *rdw = NEW_ARRAY(f->arena, double, ws);
            Node *a, *b;
            scatter(c, n, out, vx, vw, vdy, ry, rdx, rdw);
            f->g = graph_new(f->p, "conv");
            a = input(f, x);
            b = input(f, w);
            graph_output(f->g, "y", graph_conv(f->g, a, b, &c->win, NULL));
            expect(f, n, (double *[]){ vx, vw }, ry, ys / CAPACITY * n, 1e-6);
            f->g = graph_new(f->p, "conv.input");
            a = input(f, y);
            b = input(f, w);
            graph_output(f->g, "dx", graph_conv_input(f->g, a, b, &c->win, x, NULL));
            expect(f, n, (double *[]){ vdy, vw }, rdx, xs / CAPACITY * n, 1e-6);
            f->g = graph_new(f->p, "conv.weight");
            a = input(f, x);
            b = input(f, y);
            graph_output(f->g, "dw", graph_conv_weight(f->g, a, b, &c->win, w, NULL));
            expect(f, n, (double *[]){ vx, vdy }, rdw, ws, 1e-6);
        }
    }
}

/* Channels last: the same numbers in another order. */
static void test_tokens(void **state) {
    Fixture *f = *state;
    Window win = { .spatial = 1, .kernel = { 1 }, .stride = { 1 }, .dilation = { 1 }, .groups = 1, .channel_last = true };
    Node *x = input(f, BATCHED(3, CAPACITY, 3, 2)), *w = input(f, FIXED(3, 2, 2, 1)), *dy = input(f, BATCHED(3, CAPACITY, 3, 2));
    x->channel = dy->channel = 2;
    double *in[] = { NUMBERS(1, 2, 3, 4, 5, 6), NUMBERS(1, 10, 100, 1000), NUMBERS(1, 0, 0, 1, 2, 0) };
    graph_output(f->g, "y", graph_conv(f->g, x, w, &win, NULL));
    expect(f, 1, in, NUMBERS(21, 2100, 43, 4300, 65, 6500), 6, 0);
    f->g->outputs[0].node = graph_conv_input(f->g, dy, w, &win, x->shape, NULL);
    expect(f, 1, in, NUMBERS(1, 10, 100, 1000, 2, 20), 6, 0);
    f->g->outputs[0].node = graph_conv_weight(f->g, x, dy, &win, w->shape, NULL);
    expect(f, 1, in, NUMBERS(11, 14, 3, 4), 4, 0);
}

/* ---- pools ---- */

static const Window pool_window = { .spatial = 2, .kernel = { 2, 3 }, .stride = { 2, 1 }, .dilation = { 1, 1 },
                                    .pad_lo = { 1, 0 }, .pad_hi = { 0, 2 } };

/* image 3x3 -> 2x3: windows over rows {pad, 0}, {1, 2} and columns c..c+2, beyond 2 padding */
static void test_pools(void **state) {
    Fixture *f = *state;
    Shape x = BATCHED(4, CAPACITY, 1, 3, 3), y = BATCHED(4, CAPACITY, 1, 2, 3);
    double *image = NUMBERS(-1, -4, -4, 5, 2, 5, 5, 0, 5), *grad = NUMBERS(1, 10, 100, 1000, 10000, 100000);
    double *largest = NUMBERS(-1, -4, -4, 5, 5, 5);
    Node *in = input(f, x);
    graph_output(f->g, "y", graph_pool(f->g, OP_MAXPOOL, &in, &pool_window, y, NULL));
    expect(f, 1, &image, largest, 6, 0);
    f->g = graph_new(f->p, "maxpool.input");
    Node *three[3];
    for (int i = 0; i < 3; i++)
        three[i] = input(f, i ? y : x);
    graph_output(f->g, "dx", graph_pool(f->g, OP_MAXPOOL_INPUT, three, &pool_window, x, NULL));
    expect(f, 1, (double *[]){ image, largest, grad }, NUMBERS(1, 10, 100, 1000, 0, 110000, 0, 0, 0), 9, 0);
    f->g = graph_new(f->p, "avgpool");
    in = input(f, x);
    graph_output(f->g, "y", graph_pool(f->g, OP_AVGPOOL, &in, &pool_window, y, NULL));
    expect(f, 1, &image, NUMBERS(-1.5, -8.0 / 6, -4.0 / 6, 22.0 / 6, 2, 10.0 / 6), 6, 1e-6);
    f->g = graph_new(f->p, "avgpool.input");
    in = input(f, y);
    graph_output(f->g, "dx", graph_pool(f->g, OP_AVGPOOL_INPUT, &in, &pool_window, x, NULL));
    expect(f, 1, &grad, NUMBERS(1.0 / 6, 11.0 / 6, 18.5, 1000.0 / 6, 11000.0 / 6, 18500, 1000.0 / 6, 11000.0 / 6, 18500), 9, 1e-6);
}

/* A NaN wins its windows and takes their gradient; the second image is its own. */
static void test_pool_of_nan(void **state) {
    Fixture *f = *state;
    Window w = { .spatial = 1, .kernel = { 2 }, .stride = { 2 }, .dilation = { 1 } };
    Shape x = BATCHED(3, CAPACITY, 1, 4), y = BATCHED(3, CAPACITY, 1, 2);
    double *line = NUMBERS(1, NAN, 3, 3, -1, -2, -INFINITY, -INFINITY);
    Node *in = input(f, x);
    graph_output(f->g, "y", graph_pool(f->g, OP_MAXPOOL, &in, &w, y, NULL));
    expect(f, 2, &line, NUMBERS(NAN, 3, -1, -INFINITY), 4, 0);
    f->g = graph_new(f->p, "maxpool.input");
    Node *three[3];
    for (int i = 0; i < 3; i++)
        three[i] = input(f, i ? y : x);
    graph_output(f->g, "dx", graph_pool(f->g, OP_MAXPOOL_INPUT, three, &w, x, NULL));
    expect(f, 2, (double *[]){ line, line, NUMBERS(1, 2, 3, 4) }, NUMBERS(0, 1, 2, 0, 3, 0, 4, 0), 8, 0);
}

/* ---- random numbers ---- */

static void test_philox(void **state) {
    (void)state;
    static const struct { uint32_t key[2], counter[4], result[4]; } known[] = {
        { { 0, 0 }, { 0, 0, 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff }, { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0xa4093822, 0x299f31d0 }, { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (int i = 0; i < COUNT(known); i++) {
        uint32_t got[4];
        interp_philox(known[i].key, known[i].counter, got);
        assert_memory_equal(got, known[i].result, sizeof got);
    }
}

static void test_random(void **state) {
    Fixture *f = *state;
    enum { PER_IMAGE = 333 };
    graph_output(f->g, "u", graph_random(f->g, BATCHED(2, CAPACITY, PER_IMAGE), 1, 9, NULL));
    Interp *it = interp_new(f->p, false, 0);
    interp_set_seed(it, 0x123456789abcdef0u);
    interp_set_step(it, 77);
    assert_true(interp_run(it, f->g, CAPACITY));
    int64_t count;
    const double *u = interp_output(it, 0, &count);
    assert_int_equal(count, CAPACITY * PER_IMAGE);
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t lane[4];
        interp_philox((uint32_t[]){ 0x9abcdef0, 0x12345678 }, (uint32_t[]){ i / 4, 0, 77, 9 }, lane);
        assert_true(u[i] == (lane[i % 4] >> 8) * 0x1p-24 && u[i] >= 0 && u[i] < 1);
        sum += u[i];
    }
    assert_true(fabs(sum / (double)count - 0.5) < 0.05);
    double first = u[0], second = u[PER_IMAGE];
    assert_true(interp_run(it, f->g, 2));
    u = interp_output(it, 0, &count);
    assert_true(count == 2 * PER_IMAGE && u[0] == first && u[PER_IMAGE] == second);
    interp_set_step(it, 78);
    assert_true(interp_run(it, f->g, 1) && interp_output(it, 0, &count)[0] != first);
    interp_destroy(it);
}

/* ---- tables and effects ---- */

static TensorDecl *decl(Fixture *f, const char *name, int64_t count, int64_t offset, bool is_state) {
    TensorDecl *t = program_add_tensor(f->p, name, FIXED(1, count), 0, is_state);
    t->offset = offset;
    return t;
}

/* state m becomes m + p and p's gradient 2 m; both see the values from before the run */
static void test_state_and_gradient(void **state) {
    Fixture *f = *state;
    TensorDecl *p = decl(f, "p", 3, 16, false), *m = decl(f, "m", 3, 32, true);
    f->p->table_size[TABLE_PARAMS] = f->p->table_size[TABLE_GRADS] = 32;
    f->p->table_size[TABLE_STATES] = 48;
    Node *np = graph_tensor(f->g, p, NULL), *nm = graph_tensor(f->g, m, NULL);
    Node *sum = graph_binary(f->g, EXPR_ADD, nm, np, NULL);
    graph_effect(f->g, EFFECT_STATE, m, sum);
    graph_effect(f->g, EFFECT_GRADIENT, p, graph_binary(f->g, EXPR_ADD, nm, nm, NULL));
    graph_output(f->g, "m", graph_tensor(f->g, m, NULL));
    assert_null(graph_check(f->g, f->arena));
    for (int twice = 0; twice < 2; twice++) {
        Interp *it = interp_new(f->p, twice, 0);
        double got[3];
        assert_true(interp_set_tensor(it, p, NUMBERS(1, 2, 3)) && interp_set_tensor(it, m, NUMBERS(10, 20, 30)));
        assert_true(interp_run(it, f->g, 1) && interp_output(it, 0, NULL)[1] == 20);
        assert_true(interp_get_tensor(it, m, got) && got[0] == 11 && got[1] == 22 && got[2] == 33);
        assert_true(interp_get_gradient(it, p, got) && got[0] == 20 && got[1] == 40 && got[2] == 60);
        assert_true(interp_run(it, f->g, 1) && interp_get_tensor(it, m, got) && got[2] == 36);
        assert_true(interp_get_tensor(it, p, got) && got[2] == 3);
        assert_false(interp_get_gradient(it, m, got));
        interp_destroy(it);
    }
}

/* momentum: slots = 0.5 slots + grads, params -= lr slots */
static void test_slabs(void **state) {
    Fixture *f = *state;
    f->p->table_size[TABLE_PARAMS] = f->p->table_size[TABLE_GRADS] = f->p->table_size[TABLE_SLOTS] = 8;
    Node *param = graph_slab(f->g, TABLE_PARAMS, 2, 3, NULL), *grad = graph_slab(f->g, TABLE_GRADS, 2, 3, NULL);
    Node *slot = graph_slab(f->g, TABLE_SLOTS, 2, 3, NULL), *half = graph_fill(f->g, (Shape){ 0 }, -1, 0.5, NULL);
    Node *speed = graph_binary(f->g, EXPR_ADD, graph_binary(f->g, EXPR_MUL, slot, half, NULL), grad, NULL);
    Node *move = graph_binary(f->g, EXPR_MUL, speed, graph_scalar(f->g, SCALAR_LR, NULL), NULL);
    graph_effect_slab(f->g, TABLE_SLOTS, 2, speed);
    graph_effect_slab(f->g, TABLE_PARAMS, 2, graph_binary(f->g, EXPR_SUB, param, move, NULL));
    assert_null(graph_check(f->g, f->arena));
    Interp *it = interp_new(f->p, true, 0);
    double got[8];
    interp_set_lr(it, 0.25);
    assert_true(interp_set_table(it, TABLE_PARAMS, 0, NUMBERS(9, 9, 1, 2, 3, 9, 9, 9), 8));
    assert_true(interp_set_table(it, TABLE_GRADS, 2, NUMBERS(4, 8, 12), 3));
    assert_true(interp_run(it, f->g, 1) && interp_run(it, f->g, 1));
    assert_true(interp_get_table(it, TABLE_SLOTS, 0, got, 8));
    assert_true(got[1] == 0 && got[2] == 6 && got[3] == 12 && got[4] == 18 && got[5] == 0);
    assert_true(interp_get_table(it, TABLE_PARAMS, 0, got, 8));
    assert_true(got[1] == 9 && got[2] == 1 - 2.5 && got[3] == 2 - 5 && got[4] == 3 - 7.5 && got[5] == 9);
    interp_destroy(it);
}

static void test_keep(void **state) {
    Fixture *f = *state;
    Node *x = input(f, FIXED(1, 2)), *y = graph_unary(f->g, EXPR_NEG, x, NULL), *unused = graph_unary(f->g, EXPR_ABS, y, NULL);
    graph_output(f->g, "z", graph_unary(f->g, EXPR_EXP, y, NULL));
    Interp *it = interp_new(f->p, true, 0);
    interp_keep(it, true);
    assert_true(interp_set_input_double(it, 0, NUMBERS(1, 2), 2) && interp_run(it, f->g, 1));
    assert_true(interp_value(it, y, 1) == -2 && interp_value(it, unused, 1) == 2);
    interp_destroy(it);
}

/* ---- errors ---- */

static void assert_fails(Interp *it, bool done, const char *why) {
    assert_false(done);
    if (!interp_error(it) || !strstr(interp_error(it), why))
        fail_msg("the error is '%s', not '%s'", interp_error(it), why);
}

static void test_errors(void **state) {
    Fixture *f = *state;
    TensorDecl *t = decl(f, "w", 3, -1, false);
    Node *x = input(f, BATCHED(2, CAPACITY, 3));
    graph_output(f->g, "y", graph_binary(f->g, EXPR_ADD, x, graph_tensor(f->g, t, NULL), NULL));
    Interp *it = interp_new(f->p, false, 0);
    assert_null(interp_error(it));
    assert_fails(it, interp_run(it, f->g, 0), "n is 0, not from 1 to the batch of 3");
    assert_fails(it, interp_run(it, f->g, 4), "n is 4");
    assert_fails(it, interp_run(it, f->g, 2), "input 0 was not set");
    assert_true(interp_set_input_double(it, 0, NUMBERS(1, 2, 3), 3));
    assert_fails(it, interp_run(it, f->g, 2), "input 0 has 3 elements, not 6");
    assert_fails(it, interp_run(it, f->g, 1), "its place is not in table params");
    assert_fails(it, interp_set_tensor(it, t, NUMBERS(1, 2, 3)), "not in table params of 0");
    assert_fails(it, interp_set_input_double(it, -1, NUMBERS(1), 1), "no input -1");
    assert_fails(it, interp_set_input_double(it, 1 << 20, NUMBERS(1), 1), "no input 1048576");
    assert_null(interp_output(it, 0, NULL));
    interp_destroy(it);
}

static void test_memory_is_bounded(void **state) {
    Fixture *f = *state;
    Shape huge = FIXED(3, 1 << 20, 1 << 20, 1 << 10);
    Node *big = graph_fill(f->g, huge, -1, 1, NULL);
    graph_output(f->g, "y", graph_reduce(f->g, OP_SUM, big, 7, NULL));
    Interp *it = interp_new(f->p, false, 0);
    assert_fails(it, interp_run(it, f->g, 1), "%0 fill : the interpreter would need more than 8192 MiB");
    interp_destroy(it);
    f->p->table_size[TABLE_SLOTS] = INT64_C(1) << 61;
    it = interp_new(f->p, true, 1 << 20);
    assert_fails(it, interp_run(it, f->g, 1), "table slots: the interpreter would need more than 1 MiB");
    interp_destroy(it);
    f->p->table_size[TABLE_SLOTS] = 0;
    Graph *g = graph_new(f->p, "chain");
    Node *x = graph_fill(g, FIXED(1, 1 << 16), -1, 1, NULL);
    for (int i = 0; i < 100; i++)
        x = graph_unary(g, EXPR_NEG, x, NULL);
    graph_output(g, "y", graph_reduce(g, OP_SUM, x, 1, NULL));
    it = interp_new(f->p, false, 1 << 20);
    assert_true(interp_run(it, g, 1) && interp_run(it, g, 1) && interp_output(it, 0, NULL)[0] == 1 << 16);
    interp_keep(it, true);
    assert_fails(it, interp_run(it, g, 1), "more than 1 MiB");
    interp_keep(it, false);
    assert_true(interp_run(it, g, 1));
    interp_destroy(it);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_operators), TEST(test_broadcast), TEST(test_one_hot), TEST(test_reductions),
        TEST(test_maximum_of_nan), TEST(test_moves), TEST(test_parts),
        TEST(test_attention_by_hand), TEST(test_attention), TEST(test_tokens), TEST(test_convolutions), TEST(test_pools),
        TEST(test_pool_of_nan), TEST(test_philox), TEST(test_random), TEST(test_state_and_gradient),
        TEST(test_slabs), TEST(test_keep), TEST(test_errors), TEST(test_memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
