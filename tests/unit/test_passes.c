/* test_passes.c - fold, cse, dce and the table of passes: what they remove, and that values stay. */
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

enum { CAPACITY = 2 };

typedef struct { Arena *arena; Program *p; Graph *g; ExprPool *e; } Fixture;

static int setup(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    f->arena = arena_new(0);
    f->p = program_new(f->arena, "net");
    f->p->batch = CAPACITY;
    f->g = f->p->infer = graph_new(f->p, "infer");
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

static Node *input(Fixture *f, Shape s) { return graph_input(f->g, "x", TYPE_F32, s, 1, NULL); }
static Node *add(Fixture *f, Node *x, Node *y) { return graph_binary(f->g, EXPR_ADD, x, y, NULL); }
static Node *mul(Fixture *f, Node *x, Node *y) { return graph_binary(f->g, EXPR_MUL, x, y, NULL); }
static Node *fill(Fixture *f, double v) { return graph_fill(f->g, (Shape){ 0 }, -1, v, NULL); }

static const char *print(Fixture *f) {
    Writer *w = writer_new(f->arena);
    graph_print(w, f->g);
    return w->data;
}

/* Output 0 for inputs 0.1, 0.2, .. */
static double *evaluate(Fixture *f, int64_t *count) {
    Interp *it = interp_new(f->p, true, 0);
    for (int i = 0; i < f->g->input_count; i++) {
        int64_t size = shape_count(&f->g->inputs[i].node->shape);
        double *v = NEW_ARRAY(f->arena, double, size);
        for (int64_t e = 0; e < size; e++)
            v[e] = 0.1 * (double)(e + 1 + i);
        assert_true(interp_set_input_double(it, i, v, size));
    }
    if (!interp_run(it, f->g, CAPACITY))
        fail_msg("interpreter: %s", interp_error(it));
    const double *y = interp_output(it, 0, count);
    double *copy = NEW_ARRAY(f->arena, double, *count + 1);
    memcpy(copy, y, (size_t)*count * sizeof *y);
    interp_destroy(it);
    return copy;
}

/* Folds and merges: the output stays, and `left` nodes are there. */
static void check(Fixture *f, Node *y, int left) {
    graph_output(f->g, "y", y);
    graph_verify(f->g, "building");
    int64_t count, again;
    double *before = evaluate(f, &count);
    graph_fold(f->g);
    graph_verify(f->g, "fold");
    graph_cse(f->g);
    graph_verify(f->g, "cse");
    double *after = evaluate(f, &again);
    assert_int_equal(count, again);
    for (int64_t i = 0; i < count; i++)
        assert_float_equal(before[i], after[i], 1e-12 * fmax(1, fabs(before[i])));
    if (graph_count(f->g) != left)
        fail_msg("%d nodes wanted:\n%s", left, print(f));
}

static void constants_fold(void **state) {
    Fixture *f = *state;
    Node *c = mul(f, fill(f, 0.01), fill(f, 1));                       /* 0.01 * 1 */
    Node *wide = graph_fill(f->g, FIXED(3, 1, 2, 3), -1, 2, NULL);
    Node *sum = graph_reduce(f->g, OP_SUM, wide, 6, NULL);             /* 12 */
    Node *moved = graph_transpose(f->g, graph_reshape(f->g, wide, FIXED(2, 2, 3), -1, NULL), (int[]){ 1, 0 }, NULL);
    Node *k = graph_reshape(f->g, graph_reduce(f->g, OP_MAXIMUM, moved, 3, NULL), (Shape){ 0 }, -1, NULL);
    Node *x = input(f, BATCHED(3, 2, 3));
    check(f, mul(f, add(f, mul(f, x, c), sum), k), 4);                 /* x and three maps of it */
}

static void neutral_maps_go(void **state) {
    Fixture *f = *state;
    Node *x = input(f, BATCHED(2, 3));
    Node *y = add(f, mul(f, x, fill(f, 1)), fill(f, 0));
    y = graph_reshape(f->g, graph_reshape(f->g, y, BATCHED(3, 3, 1), 1, NULL), BATCHED(2, 3), 1, NULL);
    y = graph_transpose(f->g, y, (int[]){ 0, 1 }, NULL);
    y = graph_reduce(f->g, OP_SUM, y, 0, NULL);
    check(f, graph_unary(f->g, EXPR_TANH, y, NULL), 2);
}

static void broadcasts_are_absorbed(void **state) {
    Fixture *f = *state;
    Node *x = input(f, BATCHED(2, 3));
    Node *rows = graph_reduce(f->g, OP_SUM, x, 2, NULL);
    Node *wide = graph_map_shape(f->g, expr_input(f->e, 0), &rows, 1, x->shape, 1, NULL);
    check(f, mul(f, x, wide), 3);
}

static void repeated_inputs_merge(void **state) {
    Fixture *f = *state;
    Node *x = input(f, BATCHED(2, 3));
    const Expr *e = expr_make(f->e, EXPR_SUB, expr_input(f->e, 0), expr_input(f->e, 1), NULL);
    Node *zero = graph_map(f->g, e, (Node *[]){ x, x }, 2, NULL);
    check(f, zero, 2);                                                 /* x stays as an interface; the rest is a fill */
    assert_int_equal(f->g->outputs[0].node->op, OP_FILL);
}

static void batch_sums_stay(void **state) {
    Fixture *f = *state;
    Node *ones = graph_fill(f->g, BATCHED(2, 3), 1, 1, NULL);
    Node *n = graph_reduce(f->g, OP_SUM, ones, 1, NULL);               /* the run-time batch: no constant */
    check(f, mul(f, input(f, BATCHED(2, 3)), n), 4);
}

static void equal_nodes_merge(void **state) {
    Fixture *f = *state;
    Window win = { .spatial = 0, .groups = 1 };
    Shape w = FIXED(2, 4, 3);
    TensorDecl *t = program_add_tensor(f->p, "w", w, -1, false);
    Node *x = input(f, BATCHED(2, 3));
    pass_tables(f->p);
    Node *a = graph_conv(f->g, x, graph_tensor(f->g, t, NULL), &win, NULL);
    Node *b = graph_conv(f->g, x, graph_tensor(f->g, t, NULL), &win, NULL);
    Node *r = graph_random(f->g, BATCHED(2, 4), 1, 7, NULL), *s = graph_random(f->g, BATCHED(2, 4), 1, 7, NULL);
    Node *other = graph_random(f->g, BATCHED(2, 4), 1, 8, NULL);
    Node *ab = add(f, a, b), *ba = add(f, b, a);
    check(f, add(f, mul(f, ab, ba), add(f, mul(f, r, s), other)), 10);
}


static void dead_nodes_go(void **state) {
    Fixture *f = *state;
    Node *x = input(f, BATCHED(2, 3)), *unused = input(f, BATCHED(2, 3));
    Node *dead = x;
    for (int i = 0; i < 5; i++)
        dead = mul(f, dead, unused);
    TensorDecl *t = program_add_tensor(f->p, "m", FIXED(2, 1, 3), -1, true);
    graph_effect(f->g, EFFECT_STATE, t, graph_reduce(f->g, OP_SUM, x, 1, NULL));
    graph_output(f->g, "y", add(f, x, x));
    graph_dce(f->g);
    graph_verify(f->g, "dce");
    assert_int_equal(graph_count(f->g), 4);
    assert_int_equal(f->g->input_count, 2);
}

static void expressions_get_simpler(void **state) {
    Fixture *f = *state;
    Node *x = input(f, BATCHED(2, 3));
    const Expr *e = expr_make(f->e, EXPR_DETACH, expr_make(f->e, EXPR_POW, expr_input(f->e, 0), expr_const(f->e, 2), NULL), NULL, NULL);
    check(f, graph_map(f->g, e, &x, 1, NULL), 2);
    Writer *w = writer_new(f->arena);
    expr_print(w, f->g->outputs[0].node->attr.expr);
    assert_non_null(strstr(w->data, "i0 * i0"));
}

/* ---- the table ---- */

static const char *run_passes(Fixture *f, PassOptions o) {
    char *text = NULL;
    size_t length = 0;
    o.out = open_memstream(&text, &length);
    passes_run(f->p, &o);
    fclose(o.out);
    const char *copy = arena_strndup(f->arena, text, length);
    free(text);
    return copy;
}

static Node *something_to_fold(Fixture *f) {
    Node *x = input(f, BATCHED(2, 3));
    Node *y = add(f, mul(f, x, fill(f, 1)), mul(f, x, fill(f, 1)));
    graph_output(f->g, "y", y);
    return y;
}

static void limits_bisect(void **state) {
    Fixture *f = *state;
    something_to_fold(f);
    int before = graph_count(f->g);
    run_passes(f, (PassOptions){ .level = 0, .limit = -1, .verify = true });
    assert_int_equal(graph_count(f->g), before);
    run_passes(f, (PassOptions){ .level = 1, .limit = 6, .verify = true });
    assert_int_equal(graph_count(f->g), before);
    run_passes(f, (PassOptions){ .level = 1, .limit = 7, .verify = true });
    assert_int_equal(graph_count(f->g), 2);
}

static void dumps_and_times(void **state) {
    Fixture *f = *state;
    something_to_fold(f);
    const char *const names[] = { "fold" };
    const char *text = run_passes(f, (PassOptions){ .level = 1, .limit = -1, .verify = true, .dump = names, .dump_count = 1 });
    assert_non_null(strstr(text, "# infer after fold\n"));
    assert_null(strstr(text, "after cse"));
    assert_non_null(strstr(run_passes(f, (PassOptions){ .level = 1, .limit = -1, .time = true }), "nodes"));
    assert_true(passes_known("fold") && passes_known("all") && !passes_known("fuse everything"));
}

/* ---- narrow ---- */

static int64_t largest_axis(const Graph *g, OpId op, int axis) {
    int64_t most = 0;
    for (const Node *n = g->first; n; n = n->next)
        if (n->op == op && n->shape.dim[axis] > most)
            most = n->shape.dim[axis];
    return most;
}

static Node *over_tokens(Fixture *f, Node *x, int64_t outs) {
    Window win = { .spatial = 1, .kernel = { 1 }, .stride = { 1 }, .dilation = { 1 }, .groups = 1, .channel_last = true };
    Node *w = graph_input(f->g, "w", TYPE_F32, FIXED(3, outs, x->shape.dim[2], 1), -1, NULL);
    return graph_conv(f->g, x, w, &win, NULL);
}

static Node *tokens(Fixture *f, int64_t count, int64_t channels) {
    return graph_input(f->g, "x", TYPE_F32, BATCHED(3, count, channels), 2, NULL);
}

/* Output y has the same bits after the pass. */
static void check_same(Fixture *f, Node *y, void (*pass)(Graph *), const char *name) {
    graph_output(f->g, "y", y);
    int64_t count, again;
    double *before = evaluate(f, &count);
    pass(f->g);
    graph_verify(f->g, name);
    double *after = evaluate(f, &again);
    assert_int_equal(count, again);
    assert_memory_equal(before, after, (size_t)count * sizeof *before);
}

static void check_narrow(Fixture *f, Node *y) { check_same(f, y, graph_narrow, "narrow"); }

/* A block of a vision transformer of which one token is read. */
static void narrow_to_one_token(void **state) {
    Fixture *f = *state;
    Node *x = tokens(f, 5, 4), *part[3];
    Node *qkv = over_tokens(f, graph_unary(f->g, EXPR_TANH, x, NULL), 12);
    for (int i = 0; i < 3; i++)
        part[i] = graph_slice(f->g, qkv, 2, 4 * i, 4, NULL);
    Node *y = graph_attention(f->g, part[0], part[1], part[2], &(Attention){ .heads = 2, .scale = 0.7 }, NULL);
    Node *h = add(f, x, over_tokens(f, y, 4));
    Node *mean = graph_reduce(f->g, OP_SUM, h, 1u << 2, NULL);
    h = add(f, h, over_tokens(f, graph_unary(f->g, EXPR_SIN, add(f, h, mean), NULL), 4));
    check_narrow(f, graph_slice(f->g, graph_slice(f->g, h, 1, 1, 3, NULL), 1, 1, 1, NULL));
    assert_int_equal(largest_axis(f->g, OP_ATTENTION, 1), 1);
    assert_int_equal(largest_axis(f->g, OP_SUM, 1), 1);
    int whole = 0;                        /* keys and values are computed for all tokens, from all of x */
    for (const Node *n = f->g->first; n; n = n->next)
        whole += (n->op == OP_CONV || n->op == OP_MAP) && n->shape.dim[1] == 5;
    assert_int_equal(whole, 2);
}

/* What mixes places along the axis, what is read as a whole or cut in two ways is computed as it was. */
static void narrow_leaves(void **state) {
    Fixture *f = *state;
    Window wide = { .spatial = 1, .kernel = { 3 }, .stride = { 1 }, .dilation = { 1 }, .pad_lo = { 1 }, .pad_hi = { 1 }, .groups = 1,
                    .channel_last = true };
    Node *x = tokens(f, 5, 4), *w = graph_input(f->g, "w", TYPE_F32, FIXED(3, 4, 4, 3), -1, NULL);
    Node *mixed = graph_conv(f->g, x, w, &wide, NULL), *twice = graph_unary(f->g, EXPR_TANH, x, NULL);
    Node *causal = graph_attention(f->g, x, x, x, &(Attention){ .heads = 1, .scale = 1, .causal = true }, NULL);
    Node *sum = graph_reduce(f->g, OP_SUM, x, 1u << 1, NULL), *output = graph_unary(f->g, EXPR_COS, x, NULL);
    Node *place = graph_map_shape(f->g, expr_coord(f->e, 1), NULL, 0, x->shape, 2, NULL);
    Node *all[] = { mixed, causal, output, place }, *y = sum;
    for (int i = 0; i < COUNT(all); i++)
        y = add(f, y, graph_slice(f->g, all[i], 1, 1, 1, NULL));
    y = add(f, y, add(f, graph_slice(f->g, twice, 1, 0, 1, NULL), graph_slice(f->g, twice, 1, 3, 1, NULL)));
    graph_output(f->g, "first", output);
    check_narrow(f, y);
    for (int i = 0; i < 3; i++)
        assert_int_equal(all[i]->shape.dim[1], 5);
    assert_int_equal(largest_axis(f->g, OP_CONV, 1), 5);
    assert_int_equal(largest_axis(f->g, OP_ATTENTION, 1), 5);
    assert_int_equal(largest_axis(f->g, OP_MAP, 1), 5);
}

/* Pixels of pictures, moved and turned. */
static void narrow_pictures(void **state) {
    Fixture *f = *state;
    Window point = { .spatial = 2, .kernel = { 1, 1 }, .stride = { 1, 1 }, .dilation = { 1, 1 }, .groups = 1 };
    Node *x = input(f, BATCHED(4, 3, 4, 5)), *w = input(f, FIXED(4, 2, 3, 1, 1));
    Node *t = graph_transpose(f->g, graph_conv(f->g, x, w, &point, NULL), (int[]){ 0, 3, 2, 1 }, NULL);
    check_narrow(f, graph_slice(f->g, graph_unary(f->g, EXPR_TANH, t, NULL), 1, 2, 2, NULL));
    assert_int_equal(largest_axis(f->g, OP_CONV, 3), 2);
    assert_int_equal(largest_axis(f->g, OP_CONV, 2), 4);
    assert_int_equal(largest_axis(f->g, OP_MAP, 1), 2);
}

/* ---- subsample ---- */

static int strided(const Graph *g, OpId op) {
    int count = 0;
    for (const Node *n = g->first; n; n = n->next)
        count += n->op == op && n->attr.window.stride[0] * n->attr.window.stride[1] > 1;
    return count;
}

/* Outputs: all results of convolution and weight gradient, in a row. */
static void check_subsample(Fixture *f, Node *y, Node *dw, int copies, int left) {
    Node *sum = graph_reduce(f->g, OP_SUM, dw, 15, NULL);
    check_same(f, add(f, y, sum), graph_subsample, "subsample");
    assert_int_equal(strided(f->g, OP_MAXPOOL), copies);
    assert_int_equal(strided(f->g, OP_CONV) + strided(f->g, OP_CONV_WEIGHT), left);
}

/* Stride 2 x 3 over 5 x 8 pixels: both read one copy; another stride and the gradient of the input stay. */
static void pixels_are_copied_once(void **state) {
    Fixture *f = *state;
    Window few = { .spatial = 2, .kernel = { 1, 1 }, .stride = { 2, 3 }, .dilation = { 1, 1 }, .groups = 1 }, other = few;
    other.stride[0] = 3;
    Node *x = graph_unary(f->g, EXPR_SIN, input(f, BATCHED(4, 3, 5, 8)), NULL), *w = input(f, FIXED(4, 2, 3, 1, 1));
    Node *y = graph_conv(f->g, x, w, &few, NULL), *coarse = graph_conv(f->g, x, w, &other, NULL);
    Node *dx = graph_conv_input(f->g, y, w, &few, x->shape, NULL);
    Node *all = add(f, graph_reduce(f->g, OP_SUM, dx, 14, NULL), graph_reduce(f->g, OP_SUM, coarse, 14, NULL));
    check_subsample(f, add(f, y, all), graph_conv_weight(f->g, x, y, &few, w->shape, NULL), 1, 1);
    assert_int_equal(strided(f->g, OP_CONV_INPUT), 1);
}

/* Windows of several pixels, and what no weight gradient reads. */
static void other_windows_stay(void **state) {
    Fixture *f = *state;
    Window few = { .spatial = 2, .kernel = { 1, 1 }, .stride = { 2, 2 }, .dilation = { 1, 1 }, .groups = 1 }, wide = few;
    wide.kernel[1] = 2;
    Node *x = input(f, BATCHED(4, 3, 4, 4)), *w = input(f, FIXED(4, 2, 3, 1, 2)), *v = input(f, FIXED(4, 2, 3, 1, 1));
    Node *y = graph_conv(f->g, x, w, &wide, NULL);
    check_subsample(f, add(f, y, graph_conv(f->g, x, v, &few, NULL)), graph_conv_weight(f->g, x, y, &wide, w->shape, NULL), 0, 3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(constants_fold), TEST(neutral_maps_go), TEST(broadcasts_are_absorbed), TEST(repeated_inputs_merge),
        TEST(batch_sums_stay), TEST(equal_nodes_merge), TEST(dead_nodes_go), TEST(expressions_get_simpler),
        TEST(limits_bisect), TEST(dumps_and_times), TEST(narrow_to_one_token), TEST(narrow_leaves), TEST(narrow_pictures),
        TEST(pixels_are_copied_once), TEST(other_windows_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
