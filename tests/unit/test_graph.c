/* test_graph.c - expressions, shapes, builders, alignment, order, printing and verification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/graph.h"

typedef struct { Arena *arena; Program *p; ExprPool *e; Graph *g; } Fixture;

static int setup(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    f->arena = arena_new(0);
    f->p = program_new(f->arena, "net");
    f->p->batch = 4;
    f->e = f->p->exprs;
    f->g = graph_new(f->p, "infer");
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

static const Expr *op2(Fixture *f, ExprOp op, const Expr *x, const Expr *y) {
    return expr_make(f->e, op, x, y, NULL);
}

static const Expr *op1(Fixture *f, ExprOp op, const Expr *x) {
    return expr_make(f->e, op, x, NULL, NULL);
}

static const char *text_of(Fixture *f, const Expr *e) {
    Writer *w = writer_new(f->arena);
    expr_print(w, e);
    return w->data;
}

/* ---- expressions ---- */

static void test_interning(void **state) {
    Fixture *f = *state;
    const Expr *x = expr_input(f->e, 0);
    assert_ptr_equal(x, expr_input(f->e, 0));
    assert_ptr_not_equal(x, expr_coord(f->e, 0));
    assert_ptr_equal(op2(f, EXPR_ADD, x, expr_const(f->e, 2)), op2(f, EXPR_ADD, x, expr_const(f->e, 2)));
    assert_ptr_not_equal(op2(f, EXPR_ADD, x, expr_const(f->e, 2)), op2(f, EXPR_ADD, expr_const(f->e, 2), x));
    assert_ptr_not_equal(expr_const(f->e, 0.0), expr_const(f->e, -0.0));
    assert_ptr_equal(expr_const(f->e, NAN), expr_const(f->e, NAN));
    const Expr *first = op1(f, EXPR_SIN, expr_const(f->e, 0));
    for (int i = 0; i < 5000; i++)
        op1(f, EXPR_SIN, expr_const(f->e, i));
    assert_ptr_equal(first, op1(f, EXPR_SIN, expr_const(f->e, 0)));
    const Expr *e = op2(f, EXPR_MUL, expr_input(f->e, 70), op1(f, EXPR_EXP, expr_coord(f->e, 2)));
    assert_int_equal(expr_input_limit(e), 71);
    assert_int_equal(e->coord_limit, 3);
    assert_true(expr_uses_input(e, 70));
    assert_false(expr_uses_input(e, 69) || expr_uses_input(e, 0) || expr_uses_input(e, 71));
    assert_int_equal(expr_size(e), 2);
}

static void test_substitute(void **state) {
    Fixture *f = *state;
    const Expr *x = expr_input(f->e, 0), *y = expr_input(f->e, 1);
    const Expr *e = op2(f, EXPR_DIV, op2(f, EXPR_MUL, x, y), op1(f, EXPR_SQRT, x));
    const Expr *with[2] = { op2(f, EXPR_ADD, y, expr_const(f->e, 1)), NULL };
    assert_string_equal(text_of(f, expr_substitute(f->e, e, with, 2)), "((i1 + 1) * i1) / sqrt(i1 + 1)");
    const Expr *swap[2] = { y, x };
    assert_string_equal(text_of(f, expr_substitute(f->e, e, swap, 2)), "(i1 * i0) / sqrt(i1)");
    assert_ptr_equal(expr_substitute(f->e, e, NULL, 0), e);
}

static void test_fold(void **state) {
    Fixture *f = *state;
    const Expr *x = expr_input(f->e, 0), *y = expr_input(f->e, 1), *c = expr_coord(f->e, 1);
    const Expr *e = expr_make(f->e, EXPR_SELECT, op2(f, EXPR_LT, x, y), op2(f, EXPR_POW, x, expr_const(f->e, 3)), c);
    assert_true(expr_fold(e, (double[]){ 2, 3 }, (double[]){ 0, 7 }) == 8);
    assert_true(expr_fold(e, (double[]){ 3, 2 }, (double[]){ 0, 7 }) == 7);
    assert_true(expr_fold(op1(f, EXPR_SOFTPLUS, x), (double[]){ 1000 }, NULL) == 1000);
    assert_true(isnan(expr_fold(op1(f, EXPR_SQRT, x), (double[]){ -1 }, NULL)));
}

static void test_expr_print(void **state) {
    Fixture *f = *state;
    const Expr *x = expr_input(f->e, 0), *half = expr_const(f->e, 0.1);
    assert_string_equal(text_of(f, x), "i0");
    assert_string_equal(text_of(f, op1(f, EXPR_NEG, op2(f, EXPR_MUL, x, half))), "-(i0 * 0.1)");
    const Expr *choice = expr_make(f->e, EXPR_SELECT, op2(f, EXPR_LE, x, half), op1(f, EXPR_NOT, x), op2(f, EXPR_MIN, x, half));
    assert_string_equal(text_of(f, choice), "(not i0) if (i0 <= 0.1) else min(i0, 0.1)");
    assert_string_equal(text_of(f, expr_const(f->e, 1.0 / 3)), "0.3333333333333333");
    assert_string_equal(text_of(f, expr_const(f->e, -INFINITY)), "-inf");
}

/* Depth and sharing are no limit: a chain that doubles its tree a hundred thousand times. */
static void test_deep_expression(void **state) {
    Fixture *f = *state;
    const Expr *e = expr_input(f->e, 0);
    for (int i = 0; i < 100000; i++)
        e = op2(f, EXPR_MUL, op2(f, EXPR_ADD, e, e), expr_const(f->e, 0.5));
    assert_int_equal(expr_size(e), 200000);
    assert_true(expr_fold(e, (double[]){ 3 }, NULL) == 3);
    const Expr *with[1] = { expr_input(f->e, 1) };
    assert_int_equal(expr_input_limit(expr_substitute(f->e, e, with, 1)), 2);
    assert_true(strlen(text_of(f, e)) < 10000000);
    const Expr *tower = expr_input(f->e, 0);
    for (int i = 0; i < 5; i++)
        tower = op2(f, EXPR_MUL, op1(f, EXPR_EXP, tower), op1(f, EXPR_SIN, tower));
    assert_non_null(strstr(text_of(f, tower), "t0 = exp(i0) * sin(i0); t1 = exp(t0) * sin(t0); "));
}

/* ---- shapes and windows ---- */

static void test_shapes(void **state) {
    Fixture *f = *state;
    Shape s = BATCHED(4, 8, 64, 32, 32), scalar = { 0 }, r;
    assert_string_equal(shape_text(f->arena, TYPE_F32, &s), "f32[8, 64, 32, 32]");
    assert_string_equal(shape_text(f->arena, TYPE_I32, &scalar), "i32[]");
    assert_true(shape_count(&s) == 8 * 64 * 32 * 32 && shape_count(&scalar) == 1);
    Shape huge = FIXED(2, INT64_C(1) << 40, INT64_C(1) << 40);
    assert_true(shape_count(&huge) == INT64_MAX);
    assert_true(shape_join(&s, &scalar, &r) && shape_equal(&r, &s));
    Shape channel = FIXED(4, 1, 64, 1, 1), other = FIXED(4, 8, 64, 32, 32), wide = BATCHED(4, 8, 1, 32, 1);
    assert_true(shape_join(&channel, &s, &r) && shape_equal(&r, &s));
    assert_true(shape_join(&wide, &channel, &r) && r.batched && r.dim[0] == 8 && r.dim[1] == 64 && r.dim[3] == 1);
    assert_false(shape_join(&s, &other, &r));
    Shape one = BATCHED(2, 1, 5), eight = FIXED(2, 8, 5), three = FIXED(2, 3, 5), rank3 = FIXED(3, 1, 3, 5);
    assert_false(shape_join(&one, &eight, &r));
    assert_false(shape_join(&three, &eight, &r));
    assert_false(shape_join(&three, &rank3, &r));
}

static bool covers_by_trying(const Window *w, int64_t in, int64_t out) {
    for (int64_t o = 0; o < out; o++) {
        bool some = false;
        for (int64_t k = 0; k < w->kernel[0]; k++) {
            int64_t i = o * w->stride[0] - w->pad_lo[0] + k * w->dilation[0];
            some |= i >= 0 && i < in;
        }
        if (!some)
            return false;
    }
    return true;
}

/* Against stepping a window along its padded image; covering may be refused needlessly, never granted wrongly. */
static void test_windows(void **state) {
    (void)state;
    for (int code = 0; code < 6 * 4 * 3 * 3 * 4 * 4; code++) {
        int c = code;
        int64_t in = 1 + c % 6, out = 0, count = 0;
        Window w = { .spatial = 1, .groups = 1 };
        w.kernel[0] = 1 + (c /= 6) % 4;
        w.stride[0] = 1 + (c /= 4) % 3;
        w.dilation[0] = 1 + (c /= 3) % 3;
        w.pad_lo[0] = (c /= 3) % 4;
        w.pad_hi[0] = (c /= 4) % 4;
        int64_t extent = (w.kernel[0] - 1) * w.dilation[0] + 1;
        for (int64_t at = -w.pad_lo[0]; at + extent <= in + w.pad_hi[0]; at += w.stride[0])
            count++;
        assert_int_equal(window_result(&w, &in, &out), count > 0);
        if (!count)
            continue;
        assert_int_equal(out, count);
        if (window_covers(&w, &in))
            assert_true(covers_by_trying(&w, in, out));
        else
            assert_true(w.pad_lo[0] >= extent || w.pad_hi[0] >= extent || in < w.dilation[0]);
    }
    Window bad = { .spatial = 1, .kernel = { 3 }, .stride = { 0 }, .dilation = { 1 } };
    assert_false(window_result(&bad, DIMS(8), DIMS(0)));
    bad.spatial = 4;
    assert_false(window_result(&bad, DIMS(8, 8, 8, 8), DIMS(0, 0, 0, 0)));
}

/* ---- builders ---- */

static Window square(int64_t kernel, int64_t stride, int64_t pad) {
    return (Window){ .spatial = 2, .kernel = { kernel, kernel }, .stride = { stride, stride }, .dilation = { 1, 1 },
                     .pad_lo = { pad, pad }, .pad_hi = { pad, pad }, .groups = 1 };
}

static Node *image(Fixture *f) {
    return graph_input(f->g, "image", TYPE_F32, BATCHED(4, 4, 6, 8, 8), 1, NULL);
}

static Node *tensor(Fixture *f, const char *name, Shape s) {
    return graph_tensor(f->g, program_add_tensor(f->p, name, s, -1, false), NULL);
}

static void assert_shape(const Node *n, Shape s) {
    assert_true(shape_equal(&n->shape, &s));
}

static void test_builders(void **state) {
    Fixture *f = *state;
    Node *x = image(f), *w = tensor(f, "w", FIXED(4, 9, 2, 3, 3));
    Window win = square(3, 2, 1);
    win.groups = 3;
    Node *y = graph_conv(f->g, x, w, &win, NULL);
    assert_shape(y, BATCHED(4, 4, 9, 4, 4));
    assert_int_equal(y->channel, 1);
    assert_shape(graph_conv_input(f->g, y, w, &win, x->shape, NULL), x->shape);
    assert_shape(graph_conv_weight(f->g, x, y, &win, w->shape, NULL), w->shape);
    Window pool = square(2, 2, 0);
    Node *m = graph_pool(f->g, OP_MAXPOOL, &y, &pool, BATCHED(4, 4, 9, 2, 2), NULL);
    graph_pool(f->g, OP_MAXPOOL_INPUT, (Node *[]){ y, m, m }, &pool, y->shape, NULL);
    graph_pool(f->g, OP_AVGPOOL_INPUT, &m, &pool, y->shape, NULL);
    Node *s = graph_reduce(f->g, OP_SUM, m, 0xd, NULL);
    assert_shape(s, FIXED(4, 1, 9, 1, 1));
    Node *mean = graph_reduce(f->g, OP_SUM, m, 0xc, NULL);
    assert_shape(mean, BATCHED(4, 4, 9, 1, 1));
    Node *flat = graph_reshape(f->g, mean, BATCHED(2, 4, 9), 1, NULL);
    Node *turned = graph_transpose(f->g, m, (int[]){ 0, 2, 3, 1 }, NULL);
    assert_shape(turned, BATCHED(4, 4, 2, 2, 9));
    assert_int_equal(turned->channel, 3);
    Window line = { .spatial = 0, .groups = 1 };
    Node *logits = graph_conv(f->g, flat, tensor(f, "fc", FIXED(2, 10, 9)), &line, flat);
    assert_shape(logits, BATCHED(2, 4, 10));
    Node *loss = graph_reduce(f->g, OP_SUM, graph_unary(f->g, EXPR_EXP, logits, NULL), 3, NULL);
    assert_shape(graph_binary(f->g, EXPR_DIV, loss, graph_scalar(f->g, SCALAR_BATCH, NULL), NULL), FIXED(2, 1, 1));
    graph_random(f->g, x->shape, 1, 5, NULL);
    graph_fill(f->g, x->shape, 1, 0.5, NULL);
    graph_slab(f->g, TABLE_GRADS, 16, 100, NULL);
    graph_output(f->g, "logits", logits);
    assert_null(graph_check(f->g, f->arena));
}

static void test_align(void **state) {
    Fixture *f = *state;
    Node *x = image(f), *bias = tensor(f, "bias", FIXED(1, 6)), *row = tensor(f, "row", FIXED(1, 8));
    Node *plane = tensor(f, "plane", FIXED(2, 8, 8)), *scalar = graph_scalar(f->g, SCALAR_STEP, NULL);
    assert_ptr_equal(graph_align(f->g, scalar, &x->shape, 1, NULL), scalar);
    assert_ptr_equal(graph_align(f->g, x, &x->shape, 1, NULL), x);
    Node *b = graph_align(f->g, bias, &x->shape, 1, NULL);
    assert_shape(b, FIXED(4, 1, 6, 1, 1));
    assert_int_equal(b->channel, 1);
    assert_null(graph_align(f->g, row, &x->shape, 1, NULL));
    assert_shape(graph_align(f->g, row, &x->shape, -1, NULL), FIXED(4, 1, 1, 1, 8));
    assert_shape(graph_align(f->g, plane, &x->shape, 1, NULL), FIXED(4, 1, 1, 8, 8));
    assert_null(graph_align(f->g, x, &plane->shape, -1, NULL));
    Node *vector = graph_input(f->g, "v", TYPE_F32, BATCHED(1, 4), -1, NULL);
    assert_null(graph_align(f->g, vector, &x->shape, 1, NULL));
    Node *sum = graph_binary(f->g, EXPR_ADD, bias, x, NULL);
    assert_shape(sum, x->shape);
    assert_int_equal(sum->channel, 1);
    assert_shape(graph_binary(f->g, EXPR_SUB, x, plane, NULL), x->shape);
    assert_shape(graph_binary(f->g, EXPR_SUB, scalar, scalar, NULL), (Shape){ 0 });
    assert_null(graph_check(f->g, f->arena));
}

static void test_changing(void **state) {
    Fixture *f = *state;
    Node *x = image(f), *a = graph_unary(f->g, EXPR_EXP, x, NULL), *b = graph_unary(f->g, EXPR_SIN, a, NULL);
    Node *c = graph_unary(f->g, EXPR_COS, x, NULL);
    graph_output(f->g, "y", b);
    graph_replace(f->g, a, c);
    assert_ptr_equal(b->in[0], c);
    assert_non_null(graph_check(f->g, f->arena));
    graph_remove(f->g, a);
    graph_sort(f->g);
    assert_null(graph_check(f->g, f->arena));
    assert_int_equal(graph_count(f->g), 3);
    assert_true(f->g->first == x && x->next == c && c->next == b && f->g->last == b && b->id == 2);
    Node *twice = graph_unary(f->g, EXPR_NEG, b, NULL);
    graph_replace(f->g, b, twice);
    assert_true(f->g->outputs[0].node == twice && twice->in[0] == b);
    graph_replace(f->g, twice, c);
    assert_ptr_equal(f->g->outputs[0].node, c);
    graph_remove(f->g, twice);
    Node *d = graph_unary(f->g, EXPR_ABS, x, NULL);
    graph_move_before(f->g, d, c);
    assert_ptr_equal(c->prev, d);
    graph_move_before(f->g, b, x);
    graph_remove(f->g, b);
    assert_true(f->g->first == x && f->g->last == c);
    assert_null(graph_check(f->g, f->arena));
}

/* A chain of many nodes, appended in the wrong order, is put right without recursion. */
static void test_sort_deep(void **state) {
    Fixture *f = *state;
    Node *x = graph_input(f->g, "x", TYPE_F32, BATCHED(2, 4, 3), 1, NULL), *last = x;
    for (int i = 0; i < 50000; i++)
        last = graph_unary(f->g, EXPR_NEG, last, NULL);
    graph_output(f->g, "y", last);
    for (Node *n = x->next, *next; n; n = next) {
        next = n->next;
        graph_move_before(f->g, n, f->g->first);
    }
    assert_ptr_equal(f->g->first, last);
    graph_sort(f->g);
    assert_null(graph_check(f->g, f->arena));
    assert_int_equal(f->g->last->id, 50000);
}

static void test_program(void **state) {
    Fixture *f = *state;
    TensorDecl *a = program_add_tensor(f->p, "a", FIXED(1, 3), 0, false);
    assert_ptr_equal(program_tensor(f->p, "a"), a);
    assert_null(program_tensor(f->p, "b"));
    TensorDecl *b = program_add_tensor(f->p, "b", FIXED(1, 3), 0, true);
    program_add_tensor(f->p, "a", FIXED(1, 4), 0, false);
    assert_ptr_equal(program_tensor(f->p, "b"), b);
    assert_ptr_equal(program_tensor(f->p, "a"), a);
    assert_true(a->index == 0 && b->index == 1 && a->offset == -1 && a->raw_offset == -1 && a->group.lr_scale == 1);
}

/* ---- printing ---- */

static void test_print(void **state) {
    Fixture *f = *state;
    SourceFile *file = source_from_text(f->arena, "n.snet", "a\nb\nc", 5);
    Node like = { .span = { file, 4, 1 }, .tap = "layer1.conv1" };
    Node *x = image(f), *w = tensor(f, "w", FIXED(4, 9, 6, 3, 3));
    Window win = square(3, 2, 1);
    win.pad_hi[1] = 0;
    Node *y = graph_conv(f->g, x, w, &win, &like);
    Node *z = graph_binary(f->g, EXPR_MUL, y, graph_fill(f->g, (Shape){ 0 }, -1, 0.25, NULL), &like);
    Node *t = graph_transpose(f->g, graph_reduce(f->g, OP_SUM, z, 0xd, NULL), (int[]){ 1, 0, 2, 3 }, NULL);
    graph_output(f->g, "y", z);
    graph_effect(f->g, EFFECT_GRADIENT, w->attr.tensor, w);
    graph_effect_slab(f->g, TABLE_SLOTS, 32, graph_slab(f->g, TABLE_RAW, 16, 8, NULL));
    (void)t;
    Writer *out = writer_new(f->arena);
    graph_print(out, f->g);
    assert_string_equal(out->data,
        "graph infer of net, N = 4\n"
        "  %0 = input image : f32[N, 6, 8, 8]\n"
        "  %1 = tensor w : f32[9, 6, 3, 3]\n"
        "  %2 = conv %0, %1 {2d, kernel 3x3, stride 2x2, pad 1:1x1:0} : f32[N, 9, 4, 4]  ; layer1.conv1 line 3\n"
        "  %3 = fill 0.25 : f32[]\n"
        "  %4 = map %2, %3 { i0 * i1 } : f32[N, 9, 4, 4]  ; layer1.conv1 line 3\n"
        "  %5 = sum %4 {axes 0, 2, 3} : f32[1, 9, 1, 1]\n"
        "  %6 = transpose %5 {perm 1, 0, 2, 3} : f32[9, 1, 1, 1]\n"
        "  %7 = slab raw+16 : f32[8]\n"
        "  output y = %4\n"
        "  gradient w = %1\n"
        "  slab slots+32 = %7\n");
    Writer *dot = writer_new(f->arena);
    graph_dot(dot, f->g);
    assert_non_null(strstr(dot->data, "n0 -> n2;"));
    assert_non_null(strstr(dot->data, "map\\ni0 * i1\\nlayer1.conv1\\nf32[4, 9, 4, 4]"));
}

static void test_print_tokens(void **state) {
    Fixture *f = *state;
    Node *x = graph_input(f->g, "tokens", TYPE_F32, BATCHED(3, 4, 5, 6), 2, NULL);
    Window point = { .spatial = 1, .kernel = { 1 }, .stride = { 1 }, .dilation = { 1 }, .groups = 1, .channel_last = true };
    Node *qkv = graph_conv(f->g, x, tensor(f, "w", FIXED(3, 18, 6, 1)), &point, NULL), *part[3];
    for (int i = 0; i < 3; i++)
        part[i] = graph_slice(f->g, qkv, 2, 6 * i, 6, NULL);
    Node *y = graph_attention(f->g, part[0], part[1], part[2], &(Attention){ .heads = 2, .scale = 0.5, .causal = true }, NULL);
    Node *both = graph_concat(f->g, (Node *[]){ x, y }, 2, 1, NULL);
    graph_output(f->g, "y", graph_pad(f->g, both, 1, 1, 12, NULL));
    assert_null(graph_check(f->g, f->arena));
    Writer *out = writer_new(f->arena);
    graph_print(out, f->g);
    assert_string_equal(out->data,
        "graph infer of net, N = 4\n"
        "  %0 = input tokens : f32[N, 5, 6]\n"
        "  %1 = tensor w : f32[18, 6, 1]\n"
        "  %2 = conv %0, %1 {1d, kernel 1, channels last} : f32[N, 5, 18]\n"
        "  %3 = slice %2 {axis 2, from 0} : f32[N, 5, 6]\n"
        "  %4 = slice %2 {axis 2, from 6} : f32[N, 5, 6]\n"
        "  %5 = slice %2 {axis 2, from 12} : f32[N, 5, 6]\n"
        "  %6 = attention %3, %4, %5 {heads 2, scale 0.5, causal} : f32[N, 5, 6]\n"
        "  %7 = concat %0, %6 {axis 1} : f32[N, 10, 6]\n"
        "  %8 = pad %7 {axis 1, from 1} : f32[N, 12, 6]\n"
        "  output y = %8\n");
}

/* ---- verification: each breaks one thing in a sound graph ---- */

typedef struct { Node *x, *w, *conv, *map, *sum, *reshape, *turn, *tokens, *attention, *slice, *concat, *pad; } Parts;

static Parts sound_graph(Fixture *f) {
    Parts p;
    p.x = image(f);
    p.w = tensor(f, "w", FIXED(4, 9, 6, 3, 3));
    Window win = square(3, 1, 1);
    p.conv = graph_conv(f->g, p.x, p.w, &win, NULL);
    p.map = graph_unary(f->g, EXPR_TANH, p.conv, NULL);
    p.sum = graph_reduce(f->g, OP_SUM, p.map, 0xc, NULL);
    p.reshape = graph_reshape(f->g, p.sum, BATCHED(2, 4, 9), 1, NULL);
    p.turn = graph_transpose(f->g, p.map, (int[]){ 0, 2, 1, 3 }, NULL);
    graph_output(f->g, "y", p.reshape);
    Window point = { .spatial = 1, .kernel = { 1 }, .stride = { 1 }, .dilation = { 1 }, .groups = 1, .channel_last = true };
    Node *x = graph_input(f->g, "tokens", TYPE_F32, BATCHED(3, 4, 5, 6), 2, NULL);
    p.tokens = graph_conv(f->g, x, tensor(f, "q", FIXED(3, 6, 6, 1)), &point, NULL);
    p.attention = graph_attention(f->g, p.tokens, x, x, &(Attention){ .heads = 2, .scale = 1, .causal = true }, NULL);
    p.slice = graph_slice(f->g, p.attention, 1, 3, 2, NULL);
    p.concat = graph_concat(f->g, (Node *[]){ x, p.slice }, 2, 1, NULL);
    p.pad = graph_pad(f->g, p.slice, 2, 2, 8, NULL);
    return p;
}

#define BREAK(number, statement) case number: statement; break

/* Breaks the graph in the given way; false when there is none left. */
static bool break_graph(Fixture *f, Parts p, int way) {
    Node *gone = NULL;
    switch (way) {
    BREAK(0, p.conv->shape.dim[2] = 7);
    BREAK(1, p.conv->arity = 1);
    BREAK(2, p.conv->attr.window.groups = 4);
    BREAK(3, p.conv->in[1] = p.x);
    BREAK(4, p.map->attr.expr = expr_input(f->e, 1));
    BREAK(5, p.map->attr.expr = expr_coord(f->e, 4));
    BREAK(6, p.map->attr.expr = NULL);
    BREAK(7, p.map->shape.batched = false);
    BREAK(8, p.map->channel = 4);
    BREAK(9, p.map->type = TYPE_I32);
    BREAK(10, p.sum->shape.dim[2] = 8);
    BREAK(11, p.sum->attr.axes = 0x1c);
    BREAK(12, p.reshape->shape.dim[1] = 10);
    BREAK(13, p.reshape->shape = BATCHED(2, 9, 4));
    BREAK(14, p.turn->attr.perm[1] = 0);
    BREAK(15, p.turn->attr.perm[1] = 7);
    BREAK(16, p.map->id = p.conv->id);
    BREAK(17, p.map->id = 1000);
    BREAK(18, p.map->tap = NULL);
    BREAK(19, graph_move_before(f->g, p.sum, p.map));
    BREAK(20, graph_remove(f->g, p.map));
    BREAK(21, p.map->prev = p.x);
    BREAK(22, f->g->last = p.map);
    BREAK(23, f->g->inputs[0].node = p.conv);
    BREAK(24, f->g->outputs[0].node = NEW(f->arena, Node));
    BREAK(25, graph_effect(f->g, EFFECT_STATE, p.w->attr.tensor, p.w));
    BREAK(26, graph_effect(f->g, EFFECT_GRADIENT, p.w->attr.tensor, p.x));
    BREAK(27, graph_effect_slab(f->g, TABLE_GRADS, 0, p.x));
    BREAK(28, f->p->table_size[TABLE_RAW] = 8; graph_slab(f->g, TABLE_RAW, 4, 8, NULL));
    BREAK(29, f->p->batch = 3);
    BREAK(30, p.map->shape.dim[3] = 0);
    BREAK(31, p.map->shape.rank = 7);
    BREAK(32, p.map->in[0] = gone);
    BREAK(33, f->p->tensors[0] = NEW(f->arena, TensorDecl));
    BREAK(34, p.conv->op = OP_COUNT);
    BREAK(35, p.conv->attr.window.spatial = 3);
    BREAK(36, p.conv->attr.window.dilation[0] = 0);
    BREAK(37, graph_effect(f->g, EFFECT_GRADIENT, p.w->attr.tensor, p.w);
              graph_effect(f->g, EFFECT_GRADIENT, p.w->attr.tensor, p.w));
    BREAK(38, p.tokens->channel = 1);
    BREAK(39, p.tokens->attr.window.channel_last = false);
    BREAK(40, p.conv->attr.window.channel_last = true);
    BREAK(41, p.attention->attr.attention.heads = 4);
    BREAK(42, p.attention->attr.attention.heads = 0);
    BREAK(43, p.attention->in[2] = p.slice);
    BREAK(44, p.attention->in[0] = p.concat);
    BREAK(45, p.attention->channel = 1);
    BREAK(46, p.attention->in[1] = p.attention->in[2] = p.slice);
    BREAK(47, p.slice->attr.part.from = 4);
    BREAK(48, p.slice->attr.part.axis = 0);
    BREAK(49, p.slice->attr.part.axis = 3);
    BREAK(50, p.slice->type = TYPE_I32);
    BREAK(51, p.concat->in[0] = p.slice);
    BREAK(52, p.concat->in[1] = p.pad);
    BREAK(53, p.concat->arity = 0);
    BREAK(54, p.pad->attr.part.from = 3);
    BREAK(55, p.pad->attr.part.from = -1);
    default: return false;
    }
    return true;
}

static void test_check_catches(void **state) {
    (void)state;
    for (int way = 0;; way++) {
        void *fresh;
        setup(&fresh);
        Fixture *f = fresh;
        Parts p = sound_graph(f);
        assert_null(graph_check(f->g, f->arena));
        bool some = break_graph(f, p, way);
        if (some && !graph_check(f->g, f->arena))
            fail_msg("breaking the graph in way %d was not noticed", way);
        teardown(&fresh);
        if (!some)
            break;
    }
}

/* graph_verify names the pass and aborts. */
static void test_verify_aborts(void **state) {
    Fixture *f = *state;
    Parts p = sound_graph(f);
    graph_verify(f->g, "elaboration");
    p.conv->shape.dim[2] = 7;
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], 2);
        graph_verify(f->g, "fuse");
        _exit(0);
    }
    close(ends[1]);
    char text[256] = { 0 };
    ssize_t length = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    waitpid(child, &status, 0);
    assert_true(length > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_string_equal(text, "salunc: internal error: graph infer is broken after fuse: %2 conv: "
                              "spatial sizes are not the window's result\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_interning, setup, teardown),
        cmocka_unit_test_setup_teardown(test_substitute, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fold, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expr_print, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deep_expression, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shapes, setup, teardown),
        cmocka_unit_test(test_windows),
        cmocka_unit_test_setup_teardown(test_builders, setup, teardown),
        cmocka_unit_test_setup_teardown(test_align, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sort_deep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_program, setup, teardown),
        cmocka_unit_test_setup_teardown(test_print, setup, teardown),
        cmocka_unit_test_setup_teardown(test_print_tokens, setup, teardown),
        cmocka_unit_test(test_check_catches),
        cmocka_unit_test_setup_teardown(test_verify_aborts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
