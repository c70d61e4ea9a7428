/* test_tokens.c - tokens: linear layers with channels last, attention and its gradients, parts of tensors, reshaped and
 * transposed blocks, reductions over channels. Drawn shapes at every width, run by the evaluator, against the interpreter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "interp/interp.h"
#include "module_eval.h"
#include "passes/passes.h"

typedef struct { uint64_t s; } Rng;
static uint32_t rng_next(Rng *r) { r->s = r->s * 6364136223846793005u + 1442695040888963407u; return (uint32_t)(r->s >> 33); }
static int64_t rng_below(Rng *r, int64_t n) { return (int64_t)(rng_next(r) % (uint32_t)n); }
static float rng_real(Rng *r) { return (float)(rng_next(r) / 1073741824.0 - 1); }
#define PICK(r, list) ((list)[rng_below(r, COUNT(list))])

typedef struct { Program *p; Graph *g; Rng *r; int inputs, params, outputs; } Net;

/* ---- pieces ---- */

static const int64_t channel_counts[] = {1, 2, 3, 4, 8, 12, 16, 17, 20, 32, 48, 64};

/* An input, or a copy of it that the compiler lays out as it likes. */
static Node *operand(Net *n, int rank, const int64_t *behind, int channel) {
    int64_t dim[MAX_RANK] = {n->p->batch};
    for (int i = 1; i < rank; i++)
        dim[i] = behind[i - 1];
    Node *x = graph_input(n->g, arena_printf(n->p->arena, "x%d", n->inputs++), TYPE_F32, shape_of(true, rank, dim), channel, NULL);
    if (rng_below(n->r, 3) == 0)
        return x;
    const Expr *e = expr_make(n->g->exprs, EXPR_MUL, expr_input(n->g->exprs, 0), expr_const(n->g->exprs, 0.75), NULL);
    return graph_map(n->g, e, &x, 1, NULL);
}

static Node *tokens(Net *n, int64_t count, int64_t channels) {
    return operand(n, 3, (int64_t[]){count, channels}, 2);
}

static Node *parameter(Net *n, int rank, const int64_t *dim) {
    TensorDecl *t = program_add_tensor(n->p, arena_printf(n->p->arena, "p%d", n->params++), shape_of(false, rank, dim), rank == 1 ? 0 : -1, false);
    return graph_tensor(n->g, t, NULL);
}

static Node *activation(Net *n, Node *x) {
    ExprPool *e = n->g->exprs;
    const Expr *i = expr_input(e, 0), *cube = expr_make(e, EXPR_MUL, i, expr_make(e, EXPR_MUL, i, i, NULL), NULL);
    const Expr *f = rng_below(n->r, 2) ? expr_make(e, EXPR_TANH, i, NULL, NULL) : expr_make(e, EXPR_ADD, expr_const(e, 0.5), cube, NULL);
    return graph_map(n->g, f, &x, 1, NULL);
}

static void output(Net *n, Node *x) { graph_output(n->g, arena_printf(n->p->arena, "y%d", n->outputs++), x); }

/* x, and its sums over channels: lanes beyond the channels of a block must be zero. */
static void output_lanes(Net *n, Node *x) {
    output(n, x);
    if (x->channel >= 1)
        output(n, graph_reduce(n->g, OP_SUM, x, 1u << x->channel, NULL));
}

static Window token_window(void) {
    return (Window){.spatial = 1, .channel_last = true, .kernel = {1}, .stride = {1}, .dilation = {1}, .groups = 1};
}

static Node *linear(Net *n, Node *x, int64_t out) {
    Window w = token_window();
    if (rng_below(n->r, 4) == 0) {             /* any other window does as well */
        w.kernel[0] = 1 + rng_below(n->r, 3);
        w.stride[0] = 1 + rng_below(n->r, 2);
        w.pad_lo[0] = w.pad_hi[0] = w.kernel[0] - 1;
    }
    return graph_conv(n->g, x, parameter(n, 3, (int64_t[]){out, x->shape.dim[2], w.kernel[0]}), &w, NULL);
}

/* ---- nets, drawn ---- */

static void net_linear(Net *n) {
    static const int64_t counts[] = {1, 2, 7, 14, 17, 33, 65};
    int64_t t = PICK(n->r, counts), c = PICK(n->r, channel_counts), o = PICK(n->r, channel_counts);
    Node *x = tokens(n, t, c);
    Node *y = linear(n, x, o);
    y = graph_binary(n->g, EXPR_ADD, y, parameter(n, 1, &o), NULL);
    y = activation(n, y);
    if (shape_equal(&x->shape, &y->shape))
        y = graph_binary(n->g, EXPR_ADD, y, x, NULL);
    output(n, y);
    output(n, graph_reduce(n->g, OP_SUM, y, 3, NULL));
    output(n, activation(n, linear(n, y, PICK(n->r, channel_counts))));
}

static void net_linear_gradients(Net *n) {
    static const int64_t counts[] = {1, 3, 13, 65};
    int64_t t = PICK(n->r, counts), c = PICK(n->r, channel_counts), o = PICK(n->r, channel_counts);
    Window w = token_window();
    Node *x = tokens(n, t, c), *dy = tokens(n, t, o);
    Node *weight = parameter(n, 3, (int64_t[]){o, c, 1});
    output(n, graph_conv_weight(n->g, x, dy, &w, weight->shape, NULL));
    output(n, activation(n, graph_conv_input(n->g, dy, weight, &w, x->shape, NULL)));
}

static Attention draw_attention(Net *n, int64_t *channels) {
    static const int64_t widths[] = {1, 3, 4, 5, 8, 12, 16, 20, 32, 64};
    static const int heads[] = {1, 2, 3, 5};
    Attention a = {.heads = PICK(n->r, heads), .scale = 0.5 + (double)rng_below(n->r, 3), .causal = rng_below(n->r, 2)};
    *channels = a.heads * PICK(n->r, widths);
    return a;
}

static void net_attention(Net *n) {
    static const int64_t counts[] = {1, 2, 5, 14, 16, 17, 33, 65, 70};
    int64_t c, s = PICK(n->r, counts), t = rng_below(n->r, 2) ? s : PICK(n->r, counts);
    Attention a = draw_attention(n, &c);
    if (a.causal && t < s)
        t = s;
    Node *q = tokens(n, s, c), *k = tokens(n, t, c), *v = rng_below(n->r, 4) ? tokens(n, t, c) : k;
    if (s == t && rng_below(n->r, 2)) {        /* all three are channels of one value */
        Node *all = tokens(n, t, 3 * c + 2), **part[3] = {&q, &k, &v};
        int64_t gap = rng_below(n->r, 3);
        for (int i = 0; i < 3; i++)
            *part[i] = graph_slice(n->g, all, 2, i * c + gap, c, NULL);
    }
    Node *y = graph_attention(n->g, q, k, v, &a, NULL);
    output_lanes(n, y);
    output(n, activation(n, y));
}

static void net_attention_gradients(Net *n) {
    static const int64_t counts[] = {1, 3, 16, 17, 33, 65, 70};
    int64_t c, s = PICK(n->r, counts), t = PICK(n->r, counts);
    Attention a = draw_attention(n, &c);
    if (a.causal && t < s)
        t = s;
    Node *in[4] = {tokens(n, s, c), tokens(n, t, c), tokens(n, t, c), tokens(n, s, c)};
    if (rng_below(n->r, 2)) {
        Node *both = tokens(n, t, 2 * c);
        in[1] = graph_slice(n->g, both, 2, 0, c, NULL);
        in[2] = graph_slice(n->g, both, 2, c, c, NULL);
    }
    unsigned which = 1 + (unsigned)rng_below(n->r, 7);
    for (int i = 0; i < 3; i++)
        if (which >> i & 1)
            output_lanes(n, graph_attention_gradient(n->g, OP_ATTENTION_Q + i, in, &a, NULL));
}

static Node *drawn_operand(Net *n, int *rank, int64_t *dim) {
    *rank = 2 + (int)rng_below(n->r, 3);
    int channel = 1 + (int)rng_below(n->r, *rank - 1);
    for (int i = 1; i < *rank; i++)
        dim[i - 1] = i == channel ? PICK(n->r, channel_counts) : 1 + rng_below(n->r, 9);
    return operand(n, *rank, dim, rng_below(n->r, 6) ? channel : -1);
}

static void net_parts(Net *n) {
    int rank;
    int64_t dim[MAX_RANK];
    Node *x = drawn_operand(n, &rank, dim);
    int axis = 1 + (int)rng_below(n->r, rank - 1);
    int64_t size = dim[axis - 1], from = rng_below(n->r, size), length = 1 + rng_below(n->r, size - from);
    Node *cut = graph_slice(n->g, x, axis, from, length, NULL);
    output_lanes(n, cut);
    int64_t before = PICK(n->r, channel_counts) - 1, after = PICK(n->r, channel_counts) - 1;
    Node *padded = graph_pad(n->g, x, axis, before, before + size + after, NULL);
    output_lanes(n, padded);
    output(n, activation(n, padded));
    Node *in[3] = {x, rng_below(n->r, 2) ? cut : activation(n, cut), x};
    Node *joined = graph_concat(n->g, in, 1 + (int)rng_below(n->r, 3), axis, NULL);
    output_lanes(n, joined);
    output(n, activation(n, joined));
}

/* Blocks seen in other shapes: aliases where memory is the same, copies elsewhere. */
static void net_views(Net *n) {
    int rank, perm[MAX_RANK] = {0};
    int64_t dim[MAX_RANK];
    Node *x = drawn_operand(n, &rank, dim), *y = x;
    for (int i = 1; i < rank; i++) {
        int at = 1 + (int)rng_below(n->r, i);
        perm[i] = perm[at];
        perm[at] = i;
    }
    y = graph_transpose(n->g, x, perm, NULL);
    output(n, y);
    y = activation(n, y);
    output(n, y);
    if (rank == 4) {                           /* [N, C, y, x] to [N, C, y x] and [N, y, x, C] to [N, y x, C] */
        int keep = rng_below(n->r, 2) ? 1 : 3;
        int64_t d[3] = {n->p->batch, keep == 1 ? dim[0] : dim[0] * dim[1], keep == 1 ? dim[1] * dim[2] : dim[2]};
        Node *flat = graph_reshape(n->g, x, shape_of(true, 3, d), keep == 1 ? 1 : 2, NULL);
        output(n, activation(n, flat));
        output(n, activation(n, graph_transpose(n->g, flat, (int[]){0, 2, 1}, NULL)));
    }
    int64_t all[2] = {n->p->batch, shape_count(&x->shape) / n->p->batch};
    output(n, activation(n, graph_reshape(n->g, x, shape_of(true, 2, all), 1, NULL)));
}

static void net_reductions(Net *n) {
    int rank;
    int64_t dim[MAX_RANK];
    Node *x = drawn_operand(n, &rank, dim);
    unsigned axes = (unsigned)rng_below(n->r, 1 << rank);
    output(n, graph_reduce(n->g, axes & 1 ? OP_SUM : PICK(n->r, ((OpId[]){OP_SUM, OP_MAXIMUM})), x, axes, NULL));
}

/* Over the channels, learned scale and shift behind it; also softmax. */
static void net_layernorm(Net *n) {
    static const int64_t counts[] = {1, 5, 16, 65};
    int64_t t = PICK(n->r, counts), c = PICK(n->r, channel_counts);
    Node *x = tokens(n, t, c), *scale = parameter(n, 1, &c);
    Graph *g = n->g;
    Node *size = graph_fill(g, shape_of(false, 0, NULL), -1, (double)c, NULL), *eps = graph_fill(g, shape_of(false, 0, NULL), -1, 1e-2, NULL);
    Node *mean = graph_binary(g, EXPR_DIV, graph_reduce(g, OP_SUM, x, 4, NULL), size, NULL);
    Node *d = graph_binary(g, EXPR_SUB, x, mean, NULL);
    Node *var = graph_binary(g, EXPR_DIV, graph_reduce(g, OP_SUM, graph_binary(g, EXPR_MUL, d, d, NULL), 4, NULL), size, NULL);
    Node *y = graph_binary(g, EXPR_MUL, d, graph_unary(g, EXPR_RSQRT, graph_binary(g, EXPR_ADD, var, eps, NULL), NULL), NULL);
    y = graph_binary(g, EXPR_MUL, y, scale, NULL);
    output(n, y);
    Node *p = graph_unary(g, EXPR_EXP, graph_binary(g, EXPR_SUB, y, graph_reduce(g, OP_MAXIMUM, y, 4, NULL), NULL), NULL);
    output(n, graph_binary(g, EXPR_DIV, p, graph_reduce(g, OP_SUM, p, 4, NULL), NULL));
}

/* Positions, a class token, one token taken out of many. */
static void net_class_token(Net *n) {
    static const int64_t counts[] = {1, 4, 16, 64};
    int64_t t = PICK(n->r, counts), c = PICK(n->r, channel_counts), batch = n->p->batch;
    Node *x = tokens(n, t, c), *one = parameter(n, 3, (int64_t[]){1, 1, c}), *positions = parameter(n, 3, (int64_t[]){1, t + 1, c});
    const Expr *same = expr_input(n->g->exprs, 0);
    Node *start = graph_map_shape(n->g, same, &one, 1, shape_of(true, 3, (int64_t[]){batch, 1, c}), 2, NULL);
    Node *all = graph_concat(n->g, (Node *[]){start, x}, 2, 1, NULL);
    all = activation(n, graph_binary(n->g, EXPR_ADD, all, positions, NULL));
    output(n, graph_reduce(n->g, OP_SUM, all, 1, NULL));
    Node *head = graph_reshape(n->g, graph_slice(n->g, all, 1, 0, 1, NULL), shape_of(true, 2, (int64_t[]){batch, c}), 1, NULL);
    Window w = {.spatial = 0, .groups = 1};
    output(n, graph_conv(n->g, head, parameter(n, 2, (int64_t[]){10, c}), &w, NULL));
}

/* ---- running ---- */

static const char *const targets[] = {"portable", "fma128", "avx2", "avx512"};

static void fill_random(float *to, int64_t count, Rng *r) {
    for (int64_t i = 0; i < count; i++)
        to[i] = rng_real(r);
}

static void compare(const char *what, const float *got, const double *want, int64_t count) {
    double scale = 1e-3;
    for (int64_t i = 0; i < count; i++)
        scale = fmax(scale, fabs(want[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= 3e-5 * scale))
            fail_msg("%s: element %lld is %g, not %g", what, (long long)i, (double)got[i], want[i]);
}

static Program *make_program(Arena *a, void (*build)(Net *), uint64_t seed, int64_t batch) {
    Program *p = program_new(a, "tokens");
    Rng r = {seed};
    p->batch = batch;
    p->infer = graph_new(p, "infer");
    build(&(Net){.p = p, .g = p->infer, .r = &r});
    return p;
}

static ModuleEval *run_module(Arena *a, Program *p, const char *target, uint64_t seed, int64_t n) {
    passes_run(p, &(PassOptions){.level = 0, .limit = -1, .verify = true});
    Module *m = module_lower(a, p, &(LowerOptions){.target = target_find(target), .math = MATH_STRICT});
    ModuleEval *e = module_eval_new(a, m);
    Rng r = {seed};
    fill_random(e->space[SPACE_PARAMS], p->table_size[TABLE_PARAMS], &r);
    for (int i = 0; i < p->infer->input_count; i++)
        fill_random(e->space[SPACE_INPUT + i], shape_count(&p->infer->inputs[i].node->shape), &(Rng){seed + 100 + (uint64_t)i});
    module_eval_run(e, ENTRY_PREPARE, n);
    module_eval_run(e, ENTRY_INFER, n);
    return e;
}

static void check(void (*build)(Net *), const char *name, const char *target, uint64_t seed) {
    Arena *a = arena_new(0);
    Rng r = {seed * 7 + 1};
    int64_t batch = 1 + rng_below(&r, 3), n = 1 + rng_below(&r, batch);
    Program *p = make_program(a, build, seed, batch);
    ModuleEval *e = run_module(a, p, target, seed, n);
    Interp *it = interp_new(p, true, 0);
    for (int i = 0; i < p->tensor_count; i++) {
        int64_t count = shape_count(&p->tensors[i]->shape);
        double *v = NEW_ARRAY(a, double, count);
        for (int64_t k = 0; k < count; k++)
            v[k] = e->space[SPACE_PARAMS][p->tensors[i]->offset + k];
        assert_true(interp_set_tensor(it, p->tensors[i], v));
    }
    for (int i = 0; i < p->infer->input_count; i++)
        assert_true(interp_set_input(it, i, e->space[SPACE_INPUT + i], TYPE_F32, shape_count(&p->infer->inputs[i].node->shape) / batch * n));
    assert_true(interp_run(it, p->infer, n));
    for (int i = 0; i < p->infer->output_count; i++) {
        int64_t count;
        const double *want = interp_output(it, i, &count);
        compare(arena_printf(a, "%s, seed %d, %s, output %d", name, (int)seed, target, i), e->space[SPACE_OUTPUT + i], want, count);
    }
    interp_destroy(it);
    arena_destroy(a);
}

#define DRAWN_TEST(name, draws)                                                      \
    static void test_##name(void **state) {                                         \
        (void)state;                                                                 \
        for (uint64_t seed = 0; seed < (draws); seed++)                              \
            check(net_##name, #name, targets[seed % COUNT(targets)], seed / COUNT(targets) * 3 + 11); \
    }

DRAWN_TEST(linear, 120)
DRAWN_TEST(linear_gradients, 80)
DRAWN_TEST(parts, 200)
DRAWN_TEST(views, 200)
DRAWN_TEST(reductions, 200)
DRAWN_TEST(layernorm, 80)
DRAWN_TEST(class_token, 80)
DRAWN_TEST(attention, 160)
DRAWN_TEST(attention_gradients, 120)

/* What is computed of an image does not depend on those beside it. */
static void test_bits_of_an_image(void **state) {
    (void)state;
    static void (*const nets[])(Net *) = {net_linear, net_layernorm, net_attention, net_attention_gradients};
    for (int i = 0; i < COUNT(nets); i++)
        for (uint64_t seed = 1; seed < 6; seed++) {
            Arena *a = arena_new(0);
            ModuleEval *one = run_module(a, make_program(a, nets[i], seed, 3), "avx2", 5, 1);
            ModuleEval *all = run_module(a, make_program(a, nets[i], seed, 3), "avx2", 5, 3);
            const Shape *s = &one->module->program->infer->outputs[0].node->shape;
            assert_memory_equal(one->space[SPACE_OUTPUT], all->space[SPACE_OUTPUT], (size_t)(shape_count(s) / 3 * 4));
            arena_destroy(a);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear), cmocka_unit_test(test_linear_gradients), cmocka_unit_test(test_parts), cmocka_unit_test(test_views),
        cmocka_unit_test(test_reductions), cmocka_unit_test(test_layernorm), cmocka_unit_test(test_class_token),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_attention_gradients), cmocka_unit_test(test_bits_of_an_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
