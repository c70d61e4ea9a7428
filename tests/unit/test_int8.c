/* test_int8.c - bounds hold and are tight; convolutions of bytes are the interpreter's sums to the last bit at every target;
 * which layers pass_quantize chooses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "interp/interp.h"
#include "module_eval.h"
#include "passes/bounds.h"
#include "passes/passes.h"

static uint32_t random_bits(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}
static float random_real(uint64_t *state) { return (float)(random_bits(state) / 1073741824.0 - 1); }

static Program *new_program(Arena *a, int64_t batch) {
    Program *p = program_new(a, "net");
    p->batch = batch;
    p->infer = graph_new(p, "infer");
    return p;
}

static Node *parameter(Program *p, const char *name, int rank, const int64_t *dim, ConstraintKind kind) {
    TensorDecl *t = program_add_tensor(p, name, shape_of(false, rank, dim), -1, false);
    t->constraint.kind = kind;
    return graph_tensor(p->infer, t, NULL);
}

/* ---- formulas over input 0, x, and parameters 1, a, and 2, b ---- */

static const Expr *op(ExprPool *p, ExprOp o, const Expr *x, const Expr *y) { return expr_make(p, o, x, y, NULL); }
static const Expr *x_of(ExprPool *p) { return expr_input(p, 0); }

/* a x / sqrt(1 + a b x^2) */
static const Expr *salu(ExprPool *p) {
    const Expr *x = x_of(p), *a = expr_input(p, 1), *b = expr_input(p, 2);
    const Expr *square = op(p, EXPR_MUL, op(p, EXPR_MUL, a, b), op(p, EXPR_MUL, x, x));
    return op(p, EXPR_DIV, op(p, EXPR_MUL, a, x), op(p, EXPR_SQRT, op(p, EXPR_ADD, expr_const(p, 1), square), NULL));
}

/* x / 2 (1 + salu(x)) */
static const Expr *swalu(ExprPool *p) {
    return op(p, EXPR_MUL, op(p, EXPR_MUL, expr_const(p, 0.5), x_of(p)), op(p, EXPR_ADD, expr_const(p, 1), salu(p)));
}

static const Expr *twice_tanh(ExprPool *p) { return op(p, EXPR_SUB, op(p, EXPR_TANH, x_of(p), NULL), op(p, EXPR_TANH, op(p, EXPR_NEG, x_of(p), NULL), NULL)); }
static const Expr *relu6(ExprPool *p) { return op(p, EXPR_MIN, expr_const(p, 6), op(p, EXPR_MAX, expr_const(p, 0), x_of(p))); }
static const Expr *relu(ExprPool *p) { return op(p, EXPR_MAX, expr_const(p, 0), x_of(p)); }
static const Expr *silu(ExprPool *p) { return op(p, EXPR_MUL, x_of(p), op(p, EXPR_SIGMOID, x_of(p), NULL)); }
static const Expr *soft(ExprPool *p) { return op(p, EXPR_DIV, x_of(p), op(p, EXPR_ADD, expr_const(p, 1), op(p, EXPR_ABS, x_of(p), NULL))); }
static const Expr *bell(ExprPool *p) { return op(p, EXPR_EXP, op(p, EXPR_NEG, op(p, EXPR_MUL, x_of(p), x_of(p)), NULL), NULL); }

typedef struct { Program *p; Node *x, *a, *b, *y; Bounds bounds; } Bounded;

/* y = formula(x, a, b), of an input that is bounded by tanh, or by nothing. */
static Bounded make_bounded(Arena *arena, const Expr *(*formula)(ExprPool *), bool bounded, ConstraintKind positive) {
    Bounded r = { .p = new_program(arena, 1) };
    Graph *g = r.p->infer;
    r.x = graph_input(g, "x", TYPE_F32, shape_of(true, 2, (const int64_t[]){ 1, 64 }), 1, NULL);
    r.a = parameter(r.p, "a", 0, NULL, positive);
    r.b = parameter(r.p, "b", 0, NULL, positive);
    Node *in = bounded ? graph_unary(g, EXPR_TANH, r.x, NULL) : r.x;
    r.y = graph_map(g, formula(r.p->exprs), (Node *[]){ in, r.a, r.b }, 3, NULL);
    int id = r.y->id;
    r.bounds = graph_bounds(arena, g)[id];
    graph_output(g, "y", r.y);
    if (r.bounds.above) {
        graph_output(g, "below", r.bounds.below);
        graph_output(g, "above", r.bounds.above);
    }
    pass_tables(r.p);
    return r;
}

/* Values of inputs of every size lie within the bounds, which are -low and high for a = 2, b = 0.5, to `slack`. */
static void check_bounds(const Expr *(*formula)(ExprPool *), bool bounded, double low, double high, double slack) {
    Arena *arena = arena_new(0);
    Bounded r = make_bounded(arena, formula, bounded, CONSTRAINT_GREATER);
    assert_non_null(r.bounds.above);
    Interp *it = interp_new(r.p, true, 0);
    interp_set_tensor(it, r.p->tensors[0], (const double[]){ 2 });
    interp_set_tensor(it, r.p->tensors[1], (const double[]){ 0.5 });
    uint64_t state = 7;
    double least = INFINITY, most = -INFINITY;
    for (int round = 0; round < 40; round++) {
        double x[64];
        for (int i = 0; i < 64; i++)
            x[i] = ldexp((double)random_real(&state), round - 10);
        assert_true(interp_set_input_double(it, 0, x, 64) && interp_run(it, r.p->infer, 1));
        int64_t count;
        const double *y = interp_output(it, 0, &count);
        for (int i = 0; i < 64; i++) {
            least = fmin(least, y[i]);
            most = fmax(most, y[i]);
        }
        assert_true(least >= -interp_output(it, 1, &count)[0] - 1e-12 && most <= interp_output(it, 2, &count)[0] + 1e-12);
    }
    int64_t count;
    assert_true(fabs(interp_output(it, 1, &count)[0] - low) <= slack && fabs(interp_output(it, 2, &count)[0] - high) <= slack);
    interp_destroy(it);
    arena_destroy(arena);
}

static void test_bounds(void **state) {
    (void)state;
    check_bounds(salu, false, 2, 2, 1e-9);                     /* sqrt(a / b) */
    check_bounds(twice_tanh, false, 2, 2, 1e-9);
    check_bounds(relu6, false, 0, 6, 0);
    check_bounds(bell, false, 0, 1, 1e-9);
    double t = tanh(1e9), s = 2 * t / sqrt(1 + t * t);
    check_bounds(salu, true, s, s, 1e-9);                      /* of a bounded input: where it ends */
    check_bounds(swalu, true, 0.15, t / 2 * (1 + s), 0.08);    /* in pieces: its own smallest value, not -(1 + s) / 2 */
    check_bounds(silu, true, 0.269, 0.731, 0.03);
    check_bounds(soft, true, 0.5, 0.5, 0.03);
    check_bounds(relu, true, 0, 1, 1e-9);
}

static bool is_bounded(const Expr *(*formula)(ExprPool *), ConstraintKind positive) {
    Arena *arena = arena_new(0);
    bool bounded = make_bounded(arena, formula, false, positive).bounds.above;
    arena_destroy(arena);
    return bounded;
}

static void test_unbounded(void **state) {
    (void)state;
    assert_true(is_bounded(salu, CONSTRAINT_GREATER));
    assert_false(is_bounded(salu, CONSTRAINT_NONE));           /* b may be 0, or below */
    assert_false(is_bounded(swalu, CONSTRAINT_GREATER));
    assert_false(is_bounded(relu, CONSTRAINT_GREATER));
    assert_false(is_bounded(silu, CONSTRAINT_GREATER));
}

/* ---- convolutions ---- */

typedef struct {
    int64_t batch, n, channels, out;
    int spatial;
    int64_t in[3], kernel[3], stride[3], dilation[3], lo[3], hi[3];
    bool last;                                                 /* the channels are the last axis */
} Case;

/* bytes of the caller's x -> conv.int8 -> x / sqrt(1 + x^2) as a second output */
static Program *make_conv(Arena *arena, const Case *c) {
    Program *p = new_program(arena, c->batch);
    Graph *g = p->infer;
    ExprPool *e = p->exprs;
    int64_t dim[MAX_RANK] = { c->batch, c->channels }, w_dim[MAX_RANK] = { c->out, c->channels };
    Window win = { .spatial = c->spatial, .groups = 1, .channel_last = c->last };
    int channel = window_channel(&win);
    dim[channel] = c->channels;
    for (int i = 0; i < c->spatial; i++) {
        dim[(c->last ? 1 : 2) + i] = c->in[i];
        win.kernel[i] = w_dim[2 + i] = c->kernel[i];
        win.stride[i] = c->stride[i];
        win.dilation[i] = c->dilation[i];
        win.pad_lo[i] = c->lo[i];
        win.pad_hi[i] = c->hi[i];
    }
    Node *x = graph_input(g, "x", TYPE_F32, shape_of(true, 2 + c->spatial, dim), channel, NULL);
    Node *w = parameter(p, "w", 2 + c->spatial, w_dim, CONSTRAINT_NONE), *z = parameter(p, "zero", 0, NULL, CONSTRAINT_NONE);
    Node *step = parameter(p, "step", 0, NULL, CONSTRAINT_NONE);
    Node *zero = graph_map_integer(g, expr_input(e, 0), &z, 1, (Shape){ 0 }, -1, TYPE_I32, NULL);
    const Expr *clamped = op(e, EXPR_MIN, op(e, EXPR_MAX, x_of(e), expr_const(e, 0)), expr_const(e, 255));
    Node *bytes = graph_map_integer(g, clamped, &x, 1, x->shape, channel, TYPE_U8, NULL);
    Node *y = graph_conv_int8(g, bytes, w, zero, step, &win, NULL);
    graph_output(g, "y", y);
    graph_output(g, "positive", graph_map(g, relu(e), &y, 1, NULL));
    pass_tables(p);
    return p;
}

static void check_conv(const Case *c, const char *target, uint64_t seed) {
    Arena *arena = arena_new(0);
    Program *p = make_conv(arena, c);
    Module *m = module_lower(arena, p, &(LowerOptions){ .target = target_find(target), .math = MATH_STRICT });
    ModuleEval *e = module_eval_new(arena, m);
    Interp *it = interp_new(p, false, 0);
    int64_t weights = shape_count(&p->tensors[0]->shape), inputs = shape_count(&p->infer->inputs[0].node->shape) / c->batch * c->n;
    double *w = NEW_ARRAY(arena, double, weights);
    for (int64_t i = 0; i < weights; i++) {
        bool silent = i * c->out / weights == 1;               /* one output channel's weights are all 0 */
        float v = silent ? 0 : random_real(&seed);
        e->space[SPACE_PARAMS][p->tensors[0]->offset + i] = v;
        w[i] = (double)v;
    }
    const double zero = 131, step = 0.0625;
    e->space[SPACE_PARAMS][p->tensors[1]->offset] = (float)zero;
    e->space[SPACE_PARAMS][p->tensors[2]->offset] = (float)step;
    assert_true(interp_set_tensor(it, p->tensors[0], w) && interp_set_tensor(it, p->tensors[1], &zero) && interp_set_tensor(it, p->tensors[2], &step));
    for (int64_t i = 0; i < inputs; i++)                       /* bytes, halves between two of them, values beyond them */
        e->space[SPACE_INPUT][i] = (float)(int32_t)(random_bits(&seed) % 540) * 0.5f - 5;
    assert_true(interp_set_input(it, 0, e->space[SPACE_INPUT], TYPE_F32, inputs) && interp_run(it, p->infer, c->n));
    module_eval_run(e, ENTRY_PREPARE, c->n);
    module_eval_run(e, ENTRY_INFER, c->n);
    for (int o = 0; o < 2; o++) {
        int64_t count;
        const double *want = interp_output(it, o, &count);
        for (int64_t i = 0; i < count; i++)
            if ((double)e->space[SPACE_OUTPUT + o][i] != want[i])
                fail_msg("%s: %lld channels of %lld: output %d, element %lld is %.9g, not %.9g", target, (long long)c->channels,
                         (long long)c->in[0], o, (long long)i, (double)e->space[SPACE_OUTPUT + o][i], want[i]);
    }
    interp_destroy(it);
    arena_destroy(arena);
}

static void check_everywhere(Case c) {
    static const char *const targets[] = { "portable", "fma128", "avx2", "avx512", "avx512vnni" };
    for (int i = 0; i < COUNT(targets); i++)
        check_conv(&c, targets[i], 5);
}

#define SQUARE(size, k, s, d, p) .spatial = 2, .in = { size, size }, .kernel = { k, k }, .stride = { s, s }, \
                                 .dilation = { d, d }, .lo = { p, p }, .hi = { p, p }

static void test_convolutions(void **state) {
    (void)state;
    check_everywhere((Case){ .batch = 2, .n = 2, .channels = 20, .out = 33, SQUARE(9, 3, 1, 1, 1) });
    check_everywhere((Case){ .batch = 3, .n = 2, .channels = 17, .out = 35, SQUARE(7, 1, 1, 1, 0) });
    check_everywhere((Case){ .batch = 1, .n = 1, .channels = 32, .out = 48, SQUARE(8, 3, 2, 1, 1) });
    check_everywhere((Case){ .batch = 1, .n = 1, .channels = 64, .out = 64, SQUARE(14, 1, 1, 1, 0) });
    check_everywhere((Case){ .batch = 1, .n = 1, .channels = 16, .out = 33, SQUARE(10, 1, 2, 1, 0) });
    check_everywhere((Case){ .batch = 9, .n = 8, .channels = 4, .out = 16, SQUARE(4, 3, 1, 1, 1) });
    check_everywhere((Case){ .batch = 1, .n = 1, .channels = 5, .out = 100, SQUARE(5, 5, 1, 1, 2) });
    check_everywhere((Case){ .batch = 2, .n = 2, .channels = 8, .out = 1, SQUARE(9, 3, 1, 1, 1) });
    check_everywhere((Case){ .batch = 1, .n = 1, .channels = 8, .out = 8, SQUARE(2, 7, 1, 1, 3) });       /* most taps outside */
    check_everywhere((Case){ .batch = 1, .n = 1, .channels = 8, .out = 8, SQUARE(3, 3, 1, 3, 3) });
}

static void test_other_dimensions(void **state) {
    (void)state;
    check_everywhere((Case){ .batch = 2, .n = 2, .channels = 12, .out = 6, .spatial = 1, .in = { 33 }, .kernel = { 3 }, .stride = { 2 },
                             .dilation = { 1 }, .lo = { 2 } });
    check_everywhere((Case){ .batch = 1, .n = 1, .channels = 7, .out = 6, .spatial = 3, .in = { 4, 5, 6 }, .kernel = { 3, 2, 3 },
                             .stride = { 1, 2, 1 }, .dilation = { 1, 1, 1 }, .lo = { 1, 0, 1 }, .hi = { 1, 1, 1 } });
    check_everywhere((Case){ .batch = 1, .n = 1, .channels = 8, .out = 6, .spatial = 2, .in = { 6, 9 }, .kernel = { 2, 3 }, .stride = { 1, 1 },
                             .dilation = { 1, 1 }, .lo = { 4, 5 }, .hi = { 4, 6 } });                        /* rows and columns with no tap */
    check_everywhere((Case){ .batch = 1, .n = 1, .channels = 33, .out = 10 });
    check_everywhere((Case){ .batch = 16, .n = 13, .channels = 64, .out = 128 });
    check_everywhere((Case){ .batch = 40, .n = 37, .channels = 7, .out = 20 });
}

#define TOKENS(count) .spatial = 1, .in = { count }, .kernel = { 1 }, .stride = { 1 }, .dilation = { 1 }, .last = true

static void test_tokens(void **state) {
    (void)state;
    check_everywhere((Case){ .batch = 1, .n = 1, .channels = 32, .out = 48, TOKENS(17) });
    check_everywhere((Case){ .batch = 3, .n = 2, .channels = 21, .out = 10, TOKENS(5) });
    check_everywhere((Case){ .batch = 1, .n = 1, .channels = 64, .out = 64, TOKENS(65) });
}

/* ---- what the pass chooses ---- */

/* conv, f, conv, conv: the middle one, whose input f gives, may become one of bytes. */
static Program *make_net(Arena *arena, const Expr *(*formula)(ExprPool *), int64_t groups) {
    Program *p = new_program(arena, 1);
    Graph *g = p->infer;
    Window win = { .spatial = 2, .groups = 1, .kernel = { 3, 3 }, .stride = { 1, 1 }, .dilation = { 1, 1 }, .pad_lo = { 1, 1 }, .pad_hi = { 1, 1 } };
    Node *x = graph_input(g, "x", TYPE_F32, shape_of(true, 4, (const int64_t[]){ 1, 8, 6, 6 }), 1, NULL);
    Node *a = parameter(p, "a", 0, NULL, CONSTRAINT_GREATER), *b = parameter(p, "b", 0, NULL, CONSTRAINT_GREATER);
    for (int i = 0; i < 3; i++) {
        win.groups = i == 1 ? groups : 1;
        Node *w = parameter(p, arena_printf(arena, "w%d", i), 4, (const int64_t[]){ 8, 8 / win.groups, 3, 3 }, CONSTRAINT_NONE);
        x = graph_conv(g, x, w, &win, NULL);
        if (i == 0)
            x = graph_map(g, formula(p->exprs), (Node *[]){ x, a, b }, 3, NULL);
    }
    graph_output(g, "y", x);
    p->int8 = true;
    passes_run(p, &(PassOptions){ .level = 1, .limit = -1, .verify = true });
    return p;
}

static void check_choice(const Expr *(*formula)(ExprPool *), int64_t groups, bool int8, bool by_range, const char *why) {
    Arena *arena = arena_new(0);
    Program *p = make_net(arena, formula, groups);
    int found = 0;
    for (const Node *n = p->infer->first; n; n = n->next)
        found += n->op == OP_CONV_INT8;
    assert_int_equal(found, int8);
    assert_int_equal(p->precision_count, 3);
    assert_non_null(strstr(p->precision[0].why, "first layer"));
    assert_non_null(strstr(p->precision[2].why, "last layer"));
    assert_true(p->precision[1].lower == int8 && p->precision[1].by_range == by_range);
    assert_non_null(strstr(p->precision[1].why, why));
    arena_destroy(arena);
}

static void test_choice(void **state) {
    (void)state;
    check_choice(salu, 1, true, true, "its input is bounded");
    check_choice(twice_tanh, 1, true, true, "a sum of 2 bounded values");
    check_choice(relu, 1, false, true, "nothing bounds its input");
    check_choice(salu, 2, false, false, "groups");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds), cmocka_unit_test(test_unbounded), cmocka_unit_test(test_convolutions),
        cmocka_unit_test(test_other_dimensions), cmocka_unit_test(test_tokens), cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
