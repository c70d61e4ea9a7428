/* test_module.c - whole modules against the interpreter: groups, bodies, schedules, plan, at every width. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "interp/interp.h"
#include "module_eval.h"
#include "kernel/group.h"
#include "passes/passes.h"

typedef struct { uint64_t s; } Rng;
static uint32_t rng_next(Rng *r) { r->s = r->s * 6364136223846793005u + 1442695040888963407u; return (uint32_t)(r->s >> 33); }
static int rng_below(Rng *r, int n) { return (int)(rng_next(r) % (uint32_t)n); }
static double rng_real(Rng *r) { return rng_next(r) / 1073741824.0 - 1; }

typedef struct { Program *p; Graph *g; Rng *rng; int params, states; } Net;

static TensorDecl *tensor(Net *n, int rank, const int64_t *dim, bool is_state) {
    Shape s = shape_of(false, rank, dim);
    int channel = rank == 1 ? 0 : -1;
    char *name = is_state ? arena_printf(n->p->arena, "state%d", n->states++) : arena_printf(n->p->arena, "t%d", n->params++);
    TensorDecl *old = program_tensor(n->p, name);
    return old ? old : program_add_tensor(n->p, name, s, channel, is_state);
}

static Node *activation(Net *n, Node *x) {
    ExprPool *e = n->p->exprs;
    Node *in[3] = {x, graph_tensor(n->g, tensor(n, 0, NULL, false), NULL), graph_tensor(n->g, tensor(n, 0, NULL, false), NULL)};
    const Expr *i0 = expr_input(e, 0), *a = expr_input(e, 1), *b = expr_input(e, 2);
    const Expr *ab = expr_make(e, EXPR_MUL, a, b, NULL);
    const Expr *q = expr_make(e, EXPR_ADD, expr_const(e, 1), expr_make(e, EXPR_MUL, ab, expr_make(e, EXPR_MUL, i0, i0, NULL), NULL), NULL);
    const Expr *salu = expr_make(e, EXPR_DIV, expr_make(e, EXPR_MUL, a, i0, NULL), expr_make(e, EXPR_SQRT, q, NULL, NULL), NULL);
    int kind = rng_below(n->rng, 4);
    if (kind == 1)
        salu = expr_make(e, EXPR_MUL, expr_make(e, EXPR_MUL, i0, expr_const(e, 0.5), NULL), expr_make(e, EXPR_ADD, expr_const(e, 1), salu, NULL), NULL);
    if (kind == 2)
        salu = expr_make(e, EXPR_TANH, expr_make(e, EXPR_MUL, a, i0, NULL), NULL, NULL);
    if (kind == 3)
        salu = expr_make(e, EXPR_SELECT, expr_make(e, EXPR_LT, expr_const(e, 0), i0, NULL), i0, expr_make(e, EXPR_MUL, b, i0, NULL));
    return graph_map(n->g, salu, in, 3, NULL);
}

static Node *bias(Net *n, Node *x) {
    Node *t = graph_tensor(n->g, tensor(n, 1, &x->shape.dim[1], false), NULL);
    return graph_binary(n->g, EXPR_ADD, x, t, NULL);
}

static Node *conv(Net *n, Node *x, int64_t out, int64_t k, int64_t stride, int64_t groups) {
    Window w = {.spatial = x->shape.rank - 2, .groups = groups};
    int64_t dims[4] = {out, x->shape.dim[1] / groups, k, k};
    for (int i = 0; i < w.spatial; i++) {
        w.kernel[i] = k;
        w.stride[i] = stride;
        w.dilation[i] = 1;
        w.pad_lo[i] = w.pad_hi[i] = (k - 1) / 2;
    }
    return graph_conv(n->g, x, graph_tensor(n->g, tensor(n, 2 + w.spatial, dims, false), NULL), &w, NULL);
}

static Node *block(Net *n, Node *x, int64_t out, int64_t stride) {
    int64_t k = rng_below(n->rng, 2) ? 3 : 1;
    Node *h = activation(n, conv(n, x, out, k, stride, 1));
    h = conv(n, h, out, 3, 1, rng_below(n->rng, 3) == 0 && out % 2 == 0 ? 2 : 1);
    h = rng_below(n->rng, 2) ? bias(n, h) : h;
    h = activation(n, h);
    Node *s = x;
    if (stride != 1 || x->shape.dim[1] != out)
        s = activation(n, conv(n, x, out, 1, stride, 1));
    return activation(n, graph_binary(n->g, EXPR_ADD, h, s, NULL));
}

static Node *pool(Net *n, Node *x, OpId op) {
    Window w = {.spatial = 2, .groups = 1};
    for (int i = 0; i < 2; i++)
        w.kernel[i] = 2, w.stride[i] = 2, w.dilation[i] = 1;
    Shape s = x->shape;
    assert_true(window_result(&w, &x->shape.dim[2], &s.dim[2]));
    return graph_pool(n->g, op, &x, &w, s, NULL);
}

static Node *mean_spatial(Net *n, Node *x) {
    Node *s = graph_reduce(n->g, OP_SUM, x, 0xc, NULL);
    ExprPool *e = n->p->exprs;
    s = graph_map(n->g, expr_make(e, EXPR_MUL, expr_input(e, 0), expr_const(e, 1.0 / (double)(x->shape.dim[2] * x->shape.dim[3])), NULL), &s, 1, NULL);
    int64_t dim[2] = {x->shape.dim[0], x->shape.dim[1]};
    return graph_reshape(n->g, s, shape_of(true, 2, dim), 1, NULL);
}

/* Batch statistics as batchnorm's training form has them, with a state that follows the mean. */
static Node *normalize(Net *n, Node *x) {
    Graph *g = n->g;
    Node *count = graph_scalar(g, SCALAR_BATCH, NULL);
    Node *area = graph_fill(g, shape_of(false, 0, NULL), -1, (double)(x->shape.dim[2] * x->shape.dim[3]), NULL);
    Node *total = graph_binary(g, EXPR_MUL, count, area, NULL);
    Node *mean = graph_binary(g, EXPR_DIV, graph_reduce(g, OP_SUM, x, 0xd, NULL), total, NULL);
    Node *d = graph_binary(g, EXPR_SUB, x, mean, NULL);
    Node *square = graph_binary(g, EXPR_MUL, d, d, NULL);
    Node *var = graph_binary(g, EXPR_DIV, graph_reduce(g, OP_SUM, square, 0xd, NULL), total, NULL);
    Node *eps = graph_fill(g, shape_of(false, 0, NULL), -1, 1e-3, NULL);
    Node *scale = graph_unary(g, EXPR_RSQRT, graph_binary(g, EXPR_ADD, var, eps, NULL), NULL);
    TensorDecl *state = tensor(n, 1, &x->shape.dim[1], true);
    Node *flat = graph_reshape(g, mean, state->shape, 0, NULL);
    Node *next = graph_binary(g, EXPR_ADD, graph_tensor(g, state, NULL), flat, NULL);
    graph_effect(g, EFFECT_STATE, state, next);
    return graph_binary(g, EXPR_MUL, d, scale, NULL);
}

static Node *cross_entropy(Net *n, Node *logits, Node *labels) {
    Graph *g = n->g;
    ExprPool *e = n->p->exprs;
    Node *top = graph_reduce(g, OP_MAXIMUM, logits, 2, NULL);
    Node *d = graph_binary(g, EXPR_SUB, logits, top, NULL);
    Node *z = graph_reduce(g, OP_SUM, graph_unary(g, EXPR_EXP, d, NULL), 2, NULL);
    Node *logp = graph_binary(g, EXPR_SUB, d, graph_unary(g, EXPR_LOG, z, NULL), NULL);
    int64_t dim[2] = {labels->shape.dim[0], 1};
    Node *in[2] = {logp, graph_reshape(g, labels, shape_of(true, 2, dim), 1, NULL)};
    const Expr *hit = expr_make(e, EXPR_EQ, expr_coord(e, 1), expr_input(e, 1), NULL);
    const Expr *term = expr_make(e, EXPR_SELECT, hit, expr_make(e, EXPR_NEG, expr_input(e, 0), NULL, NULL), expr_const(e, 0));
    Node *sum = graph_reduce(g, OP_SUM, graph_map(g, term, in, 2, NULL), 3, NULL);
    sum = graph_reshape(g, sum, shape_of(false, 0, NULL), -1, NULL);
    return graph_binary(g, EXPR_DIV, sum, graph_scalar(g, SCALAR_BATCH, NULL), NULL);
}

static Node *network(Net *n, Node *x, bool training) {
    static const int64_t widths[] = {3, 5, 8, 16, 17, 20, 32};
    Rng start = *n->rng;
    int64_t w = widths[rng_below(n->rng, COUNT(widths))];
    x = activation(n, conv(n, x, w, 3, 1, 1));
    if (training && rng_below(&start, 2))
        x = normalize(n, x);
    int blocks = 1 + rng_below(n->rng, 2);
    for (int i = 0; i < blocks; i++)
        x = block(n, x, rng_below(n->rng, 2) ? w : widths[rng_below(n->rng, COUNT(widths))], 1 + rng_below(n->rng, 2));
    int kind = rng_below(n->rng, 3);
    if (kind < 2)
        x = pool(n, x, kind ? OP_MAXPOOL : OP_AVGPOOL);
    if (rng_below(n->rng, 2)) {
        x = mean_spatial(n, x);
    } else {
        int64_t dim[2] = {x->shape.dim[0], x->shape.dim[1] * x->shape.dim[2] * x->shape.dim[3]};
        x = graph_reshape(n->g, x, shape_of(true, 2, dim), 1, NULL);
    }
    return bias(n, conv(n, x, 10, 1, 1, 1));
}

static Program *make_program(Arena *a, uint64_t seed, int64_t batch) {
    Program *p = program_new(a, "net");
    p->batch = batch;
    p->recipe = (Recipe){.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 1e-3, .clip_norm = 1, .epochs = 1};
    int64_t dim[4] = {batch, 3, 9, 8};
    for (int training = 0; training < 2; training++) {
        Rng rng = {seed};
        Net n = {.p = p, .rng = &rng, .g = graph_new(p, training ? "step" : "infer")};
        *(training ? &p->step : &p->infer) = n.g;
        Node *x = graph_input(n.g, "image", TYPE_F32, shape_of(true, 4, dim), 1, NULL);
        Node *labels = training ? graph_input(n.g, "labels", TYPE_I32, shape_of(true, 1, dim), -1, NULL) : NULL;
        Node *logits = network(&n, x, training);
        if (training)
            graph_output(n.g, "loss", cross_entropy(&n, logits, labels));
        graph_output(n.g, "logits", logits);
    }
    return p;
}

/* ---- the comparison ---- */

static double worst(const float *got, const double *want, int64_t count) {
    double scale = 0, error = 0;
    for (int64_t i = 0; i < count; i++)
        scale += want[i] * want[i];
    for (int64_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - want[i]);
        error = isnan(d) ? INFINITY : fmax(error, d);
    }
    return error / (sqrt(scale) + 1e-6);
}

static void fill_values(Arena *a, Program *p, Interp *it, ModuleEval *e, Rng *rng) {
    for (int i = 0; i < p->tensor_count; i++) {
        TensorDecl *t = p->tensors[i];
        int64_t count = shape_count(&t->shape), fan = t->shape.rank > 1 ? count / t->shape.dim[0] : 1;
        double *v = NEW_ARRAY(a, double, count);
        float *to = e->space[t->is_state ? SPACE_STATES : SPACE_PARAMS] + t->offset;
        for (int64_t k = 0; k < count; k++) {
            v[k] = t->shape.rank == 0 ? 1 + 0.5 * rng_real(rng) : rng_real(rng) * sqrt(3.0 / (double)fan);
            to[k] = (float)v[k];
            v[k] = to[k];
        }
        assert_true(interp_set_tensor(it, t, v));
    }
}

static void check(const char *what, uint64_t seed, int width, double error, double limit) {
    if (!(error <= limit))
        fail_msg("seed %llu width %d: %s is off by %g of its norm", (unsigned long long)seed, width, what, error);
}

static void compare_outputs(Interp *it, ModuleEval *e, int outputs, uint64_t seed) {
    for (int i = 0; i < outputs; i++) {
        int64_t count;
        const double *want = interp_output(it, i, &count);
        check("an output", seed, e->module->target->width, worst(e->space[SPACE_OUTPUT + i], want, count), 1e-4);
    }
}

static void compare_tensors(Arena *a, Program *p, Interp *it, ModuleEval *e, uint64_t seed) {
    for (int i = 0; i < p->tensor_count; i++) {
        TensorDecl *t = p->tensors[i];
        int64_t count = shape_count(&t->shape);
        double *want = NEW_ARRAY(a, double, count);
        int space = t->is_state ? SPACE_STATES : SPACE_GRADS;
        assert_true(t->is_state ? interp_get_tensor(it, t, want) : interp_get_gradient(it, t, want));
        check(t->name, seed, e->module->target->width, worst(e->space[space] + t->offset, want, count), 2e-3);
    }
}

static void compare_update(Program *p, Interp *it, ModuleEval *e, uint64_t seed) {
    Arena *a = arena_new(0);
    interp_set_lr(it, 0.1);
    e->run.lr = 0.1f;
    assert_true(interp_run(it, p->update, 1));
    module_eval_run(e, ENTRY_UPDATE, 1);
    for (int i = 0; i < p->tensor_count; i++) {
        TensorDecl *t = p->tensors[i];
        int64_t count = shape_count(&t->shape);
        double *want = NEW_ARRAY(a, double, count);
        assert_true(interp_get_tensor(it, t, want));
        check("an updated tensor", seed, e->module->target->width, worst(e->space[t->is_state ? SPACE_STATES : SPACE_PARAMS] + t->offset, want, count), 1e-4);
    }
    arena_destroy(a);
}

static void run_both(Arena *a, Program *p, const Module *m, uint64_t seed, int64_t n) {
    Rng rng = {seed * 77 + (uint64_t)n};
    Interp *it = interp_new(p, true, 0);
    ModuleEval *e = module_eval_new(a, m);
    fill_values(a, p, it, e, &rng);
    int64_t pixels = n * 3 * 9 * 8;
    for (int64_t i = 0; i < pixels; i++)
        e->space[SPACE_INPUT][i] = (float)rng_real(&rng);
    int32_t *labels = (int32_t *)e->space[SPACE_INPUT + 1];
    for (int64_t i = 0; i < n; i++)
        labels[i] = rng_below(&rng, 10);
    assert_true(interp_set_input(it, 0, e->space[SPACE_INPUT], TYPE_F32, pixels));
    assert_true(interp_run(it, p->infer, n));
    module_eval_run(e, ENTRY_PREPARE, 1);
    module_eval_run(e, ENTRY_INFER, n);
    compare_outputs(it, e, 1, seed);
    assert_true(interp_set_input(it, 1, labels, TYPE_I32, n));
    assert_true(interp_run(it, p->step, n));
    module_eval_run(e, ENTRY_STEP, n);
    compare_outputs(it, e, 2, seed);
    compare_tensors(a, p, it, e, seed);
    compare_update(p, it, e, seed);
    interp_destroy(it);
}

static void test_networks(void **state) {
    (void)state;
    static const char *const targets[] = {"portable", "fma128", "avx2", "avx512"};
    for (uint64_t seed = 1; seed <= 24; seed++) {
        Arena *a = arena_new(0);
        Program *p = make_program(a, seed, 3);
        passes_run(p, &(PassOptions){.level = (int)(seed % 4 != 0), .limit = -1, .verify = true});
        LowerOptions o = {.target = target_find(targets[seed % 4]), .math = seed % 2 ? MATH_STRICT : MATH_FAST, .blas = seed % 5 == 0};
        Module *m = module_lower(a, p, &o);
        run_both(a, p, m, seed, seed % 3 + 1);
        arena_destroy(a);
    }
}

/* ---- places ---- */

static void check_rows(const PlanRow *a, const PlanRow *b) {
    bool meet = a->first <= b->last && b->first <= a->last;
    bool overlap = a->place.offset < b->place.offset + b->bytes && b->place.offset < a->place.offset + a->bytes;
    if (a->entry != b->entry || a->place.space != b->place.space || !overlap)
        return;
    if (a->place.space == SPACE_PREPARED || (meet && (a->place.offset != b->place.offset || a->bytes != b->bytes)))
        fail_msg("%s and %s overlap", a->what, b->what);
    if (meet && !(a->last == b->first && a->first < b->first) && !(b->last == a->first && b->first < a->first))
        fail_msg("%s and %s live in one place", a->what, b->what);
}

static int check_plan(const Module *m) {
    int shared = 0;
    for (int i = 0; i < m->plan_count; i++)
        for (int k = 0; k < i; k++) {
            const PlanRow *a = &m->plan[i], *b = &m->plan[k];
            check_rows(a, b);
            shared += a->entry == b->entry && a->place.space == b->place.space && a->place.offset == b->place.offset &&
                      (a->last == b->first || b->last == a->first);
        }
    return shared;
}

/* Everything that inference, a step and an update leave behind, as one array. */
static float *run_module(Arena *a, const Module *m, uint64_t seed, int64_t n, int64_t *count) {
    Rng rng = {seed * 77 + (uint64_t)n};
    Program *p = m->program;
    Interp *it = interp_new(p, true, 0);
    ModuleEval *e = module_eval_new(a, m);
    fill_values(a, p, it, e, &rng);
    interp_destroy(it);
    for (int64_t i = 0; i < n * 3 * 9 * 8; i++)
        e->space[SPACE_INPUT][i] = (float)rng_real(&rng);
    for (int64_t i = 0; i < n; i++)
        ((int32_t *)e->space[SPACE_INPUT + 1])[i] = rng_below(&rng, 10);
    static const int kept[] = {SPACE_PARAMS, SPACE_STATES, SPACE_GRADS, SPACE_SLOTS};
    float *all = NEW_ARRAY(a, float, 1 << 20);
    *count = 0;
    module_eval_run(e, ENTRY_PREPARE, 1);
    module_eval_run(e, ENTRY_INFER, n);
    for (int64_t i = 0; i < n * 10; i++)
        all[(*count)++] = e->space[SPACE_OUTPUT][i];
    module_eval_run(e, ENTRY_STEP, n);
    all[(*count)++] = e->space[SPACE_OUTPUT][0];
    e->run.lr = 0.1f;
    module_eval_run(e, ENTRY_UPDATE, 1);
    for (int k = 0; k < COUNT(kept); k++)
        for (int64_t i = 0; i < e->bytes[kept[k]] / 4; i++)
            all[(*count)++] = e->space[kept[k]][i];
    assert_true(*count <= 1 << 20);
    return all;
}

/* Sharing places never changes a bit, and two values that live at once share one only where it is taken over. */
static void test_places(void **state) {
    (void)state;
    static const char *const targets[] = {"portable", "fma128", "avx2", "avx512"};
    int taken = 0;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        Arena *a = arena_new(0);
        float *result[2];
        int64_t count[2], block[2];
        for (int apart = 0; apart < 2; apart++) {
            Program *p = make_program(a, seed, 3);
            passes_run(p, &(PassOptions){.level = 1, .limit = -1, .verify = true});
            LowerOptions o = {.target = target_find(targets[seed % 4]), .math = MATH_FAST, .apart = apart};
            Module *m = module_lower(a, p, &o);
            int shared = check_plan(m);
            taken += shared;
            assert_true(!apart || !shared);
            block[apart] = m->block_bytes;
            result[apart] = run_module(a, m, seed, seed % 3 + 1, &count[apart]);
        }
        assert_true(block[0] < block[1]);
        assert_int_equal(count[0], count[1]);
        assert_memory_equal(result[0], result[1], (size_t)count[0] * sizeof(float));
        arena_destroy(a);
    }
    assert_true(taken > 100);
}

/* ---- a batch in pieces ---- */

/* Images [from, from + n) of the same random ones, with the same weights, through the entry's calls once: their logits. */
static const float *some_images(Arena *a, const Module *m, uint64_t seed, int64_t from, int64_t n) {
    Rng rng = {seed * 77};
    enum { PIXELS = 3 * 9 * 8, MOST = 16 };
    Interp *it = interp_new(m->program, true, 0);
    ModuleEval *e = module_eval_new(a, m);
    fill_values(a, m->program, it, e, &rng);
    for (int64_t i = 0; i < MOST * PIXELS; i++) {
        float value = (float)rng_real(&rng);
        if (i >= from * PIXELS && i < (from + n) * PIXELS)
            e->space[SPACE_INPUT][i - from * PIXELS] = value;
    }
    module_eval_run(e, ENTRY_PREPARE, 1);
    module_eval_run(e, ENTRY_INFER, n);
    interp_destroy(it);
    return e->space[SPACE_OUTPUT];
}

/* A module that takes 3 images at a time has memory for 3, and the logits of one that takes all. */
static void test_pieces(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        Arena *a = arena_new(0);
        Module *m[2];
        for (int i = 0; i < 2; i++) {
            Program *p = make_program(a, seed, 8);
            p->step = NULL;
            passes_run(p, &(PassOptions){.level = 1, .limit = -1, .verify = true});
            m[i] = module_lower(a, p, &(LowerOptions){.target = target_find(seed % 2 ? "avx512" : "fma128"), .math = MATH_STRICT, .piece = i ? 3 : 0});
        }
        assert_int_equal(m[0]->piece, 8);
        assert_int_equal(m[1]->piece, 3);
        assert_true(m[1]->block_bytes < m[0]->block_bytes);
        const float *whole = some_images(a, m[0], seed, 0, 8);
        for (int64_t at = 0; at < 8; at += 3) {
            int64_t n = at + 3 <= 8 ? 3 : 8 - at;
            assert_memory_equal(some_images(a, m[1], seed, at, n), whole + at * 10, (size_t)n * 10 * sizeof *whole);
        }
        arena_destroy(a);
    }
}

/* The piece that is chosen by price for 64 images of `size` x `size` and `channels`, through three convolutions. */
static int64_t chosen_piece(int64_t channels, int64_t size, bool centred) {
    Arena *a = arena_new(0);
    Program *p = program_new(a, "net");
    p->batch = 64;
    p->infer = graph_new(p, "infer");
    Rng rng = {1};
    Net n = {.p = p, .rng = &rng, .g = p->infer};
    int64_t dim[4] = {64, channels, size, size};
    Node *x = graph_input(n.g, "image", TYPE_F32, shape_of(true, 4, dim), 1, NULL);
    for (int i = 0; i < 3; i++)
        x = activation(&n, conv(&n, x, channels, 3, 1, 1));
    if (centred)
        x = graph_binary(n.g, EXPR_SUB, x, graph_reduce(n.g, OP_SUM, x, 1, NULL), NULL);
    graph_output(n.g, "result", x);
    passes_run(p, &(PassOptions){.level = 1, .limit = -1, .verify = true});
    int64_t piece = module_lower(a, p, &(LowerOptions){.target = target_find("avx512"), .math = MATH_FAST, .piece = PIECE_AUTO})->piece;
    arena_destroy(a);
    return piece;
}

static void test_piece_price(void **state) {
    (void)state;
    assert_in_range(chosen_piece(32, 64, false), 1, 16);     /* values of 0.5 MiB an image, weights of 37 KiB */
    assert_int_equal(chosen_piece(512, 4, false), 64);       /* values of 32 KiB an image, weights of 9 MiB */
    assert_int_equal(chosen_piece(32, 64, true), 64);        /* every image depends on all others */
}

/* ---- values computed again ---- */

static int count_again(const Graph *g, Again kind) {
    int count = 0;
    for (const Node *n = g->first; n; n = n->next)
        count += n->again == kind;
    return count;
}

/* However much is computed again, every bit stays. */
static void test_recompute(void **state) {
    (void)state;
    static const char *const targets[] = {"portable", "fma128", "avx2", "avx512"};
    int inside = 0, late = 0, smaller = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        Arena *a = arena_new(0);
        float *kept = NULL;
        int64_t kept_count = 0, kept_bytes = 0;
        for (int effort = 0; effort < recompute_efforts(); effort++) {
            Program *p = make_program(a, seed, 3);
            p->recompute = effort;
            passes_run(p, &(PassOptions){.level = 1, .limit = -1, .verify = true});
            inside += count_again(p->step, AGAIN_INSIDE);
            late += count_again(p->step, AGAIN_LATE);
            assert_true(effort || !count_again(p->step, AGAIN_INSIDE));       /* all of it stays in a cache */
            LowerOptions o = {.target = target_find(targets[seed % 4]), .math = seed % 2 ? MATH_STRICT : MATH_FAST, .blas = seed % 5 == 0};
            Module *m = module_lower(a, p, &o);
            check_plan(m);
            int64_t count;
            float *result = run_module(a, m, seed, seed % 3 + 1, &count);
            if (effort == 0) {
                kept = result;
                kept_count = count;
                kept_bytes = m->block_bytes;
            }
            smaller += m->block_bytes < kept_bytes;
            assert_int_equal(count, kept_count);
            assert_memory_equal(result, kept, (size_t)count * sizeof(float));
        }
        arena_destroy(a);
    }
    assert_true(inside > 100 && late > 100 && smaller > 50);
}

/* ---- step and update in one ---- */

/* Optimizers, groups and constraints by seed; a weight that two layers share, one that is frozen. */
static void vary_recipe(Program *p, uint64_t seed) {
    p->recipe = (Recipe){.lr = 0.1, .momentum = seed % 3 ? 0.9 : 0, .nesterov = seed % 3 == 2, .weight_decay = seed % 2 * 1e-3, .epochs = 1};
    for (int i = 0; i < p->tensor_count; i++) {
        TensorDecl *t = p->tensors[i];
        t->group = (ParamGroup){.lr_scale = i % 5 ? 1 : 0.5, .weight_decay = p->recipe.weight_decay, .frozen = seed % 4 == 3 && i == 2};
        if (!t->is_state && i % 3 == 0 && seed % 2)
            t->constraint = (Constraint){.kind = CONSTRAINT_BETWEEN, .lo = -6, .hi = 6};
    }
}

static bool writes_parameters(const Call *c) {
    for (int i = 0; i < c->arg_count; i++)
        if (c->kernel->buffers[i].written && (c->args[i].space == SPACE_PARAMS || c->args[i].space == SPACE_RAW || c->args[i].space == SPACE_SLOTS))
            return true;
    return false;
}

static bool names_loss(const Call *c) {
    for (int i = 0; i < c->arg_count; i++)
        if (c->args[i].space == SPACE_OUTPUT)
            return true;
    return false;
}

/* Nothing changes before the loss is there; convolutions update their weights themselves. */
static int check_order(const Module *m) {
    const Entry *e = &m->entry[ENTRY_TRAIN];
    bool known = false;
    int fused = 0;
    for (int i = 0; i < e->count; i++) {
        assert_true(known || !writes_parameters(&e->calls[i]));
        known = known || names_loss(&e->calls[i]);
        const Node *anchor = e->calls[i].group->anchor;
        fused += writes_parameters(&e->calls[i]) && anchor && anchor->op == OP_CONV_WEIGHT;
    }
    return fused;
}

static ModuleEval *trained(Arena *a, const Module *m, uint64_t seed, int64_t n, bool together) {
    Rng rng = {seed * 77 + (uint64_t)n};
    ModuleEval *e = module_eval_new(a, m);
    Interp *it = interp_new(m->program, true, 0);
    fill_values(a, m->program, it, e, &rng);
    interp_destroy(it);
    for (int t = 0; t < m->program->tensor_count; t++) {           /* padding is zero and stays so */
        const TensorDecl *d = m->program->tensors[t];
        for (int64_t i = 0; d->raw_offset >= 0 && i < shape_count(&d->shape); i++)
            e->space[SPACE_RAW][d->raw_offset + i] = (float)rng_real(&rng);
    }
    for (int64_t i = 0; i < n * 3 * 9 * 8; i++)
        e->space[SPACE_INPUT][i] = (float)rng_real(&rng);
    for (int64_t i = 0; i < n; i++)
        ((int32_t *)e->space[SPACE_INPUT + 1])[i] = rng_below(&rng, 10);
    e->run.lr = 0.1f;
    for (int step = 0; step < 2; step++) {
        module_eval_run(e, together ? ENTRY_TRAIN : ENTRY_STEP, n);
        module_eval_run(e, together ? ENTRY_FINISH : ENTRY_UPDATE, n);
    }
    return e;
}

/* The same bits as a step and then an update, strict and fast, for every optimizer. */
static void test_train(void **state) {
    (void)state;
    static const char *const targets[] = {"portable", "fma128", "avx2", "avx512"};
    static const int kept[] = {SPACE_PARAMS, SPACE_STATES, SPACE_RAW, SPACE_SLOTS};
    int fused = 0;
    for (uint64_t seed = 1; seed <= 16; seed++) {
        Arena *a = arena_new(0);
        Program *p = make_program(a, seed, 3);
        vary_recipe(p, seed);
        passes_run(p, &(PassOptions){.level = 1, .limit = -1, .verify = true});
        assert_non_null(p->train);
        LowerOptions o = {.target = target_find(targets[seed % 4]), .math = seed % 2 ? MATH_STRICT : MATH_FAST, .blas = seed % 5 == 0};
        Module *m = module_lower(a, p, &o);
        fused += check_order(m);
        ModuleEval *apart = trained(a, m, seed, seed % 3 + 1, false), *together = trained(a, m, seed, seed % 3 + 1, true);
        for (int k = 0; k < COUNT(kept); k++)
            if (memcmp(apart->space[kept[k]], together->space[kept[k]], (size_t)apart->bytes[kept[k]]))
                fail_msg("seed %llu: table %d has other bits", (unsigned long long)seed, kept[k]);
        assert_memory_equal(apart->space[SPACE_OUTPUT], together->space[SPACE_OUTPUT], sizeof(float));
        arena_destroy(a);
    }
    assert_true(fused > 50);
}

/* A norm of all gradients needs them all. */
static void test_train_clipped(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    Program *p = make_program(a, 1, 1);
    passes_run(p, &(PassOptions){.level = 1, .limit = -1, .verify = true});
    assert_null(p->train);
    assert_null(p->finish);
    arena_destroy(a);
}

/* ---- the hash ---- */

static uint64_t hash_after(void (*change)(Program *)) {
    Arena *a = arena_new(0);
    Program *p = make_program(a, 1, 2);
    p->pre = NEW(a, PreStep);
    *p->pre = (PreStep){.kind = PRE_NORMALIZE, .channels = 1, .mean = {0.1}, .std = {0.3}};
    p->recipe.augment = NEW(a, Augment);
    *p->recipe.augment = (Augment){AUG_PAD_CROP, 2};
    p->recipe.schedule = NEW(a, SchedPart);
    *p->recipe.schedule = (SchedPart){.kind = SCHED_COSINE};
    p->pre_count = p->recipe.augment_count = p->recipe.schedule_count = 1;
    change(p);
    passes_run(p, &(PassOptions){.level = 1, .limit = -1, .verify = true});
    LowerOptions o = {.target = target_find("portable"), .math = MATH_STRICT};
    uint64_t hash = module_lower(a, p, &o)->hash;
    arena_destroy(a);
    return hash;
}

static void nothing(Program *p) { (void)p; }
static void a_rate(Program *p) { p->recipe.lr = 3; }
static void a_mean(Program *p) { p->pre->std[0] = 0.4; }
static void a_crop(Program *p) { p->recipe.augment->value = 4; }
static void a_schedule(Program *p) { p->recipe.schedule->kind = SCHED_CONST; }
static void an_end(Program *p) { p->recipe.schedule->to = 0.01; }
static void an_init(Program *p) { p->tensors[0]->init = (Init){INIT_NORMAL, 0.5, 0}; }
static void a_name(Program *p) { p->tensors[0]->name = "other"; }

/* A checkpoint belongs to programs of one hash: it tells apart all that training depends on, but for options of the program. */
static void test_hash(void **state) {
    (void)state;
    static void (*const changes[])(Program *) = {a_mean, a_crop, a_schedule, an_end, an_init, a_name};
    uint64_t same = hash_after(nothing);
    assert_true(same == hash_after(a_rate));
    for (int i = 0; i < COUNT(changes); i++)
        if (hash_after(changes[i]) == same)
            fail_msg("change %d is not in the hash", i);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_networks), cmocka_unit_test(test_places), cmocka_unit_test(test_recompute),
                                       cmocka_unit_test(test_train), cmocka_unit_test(test_train_clipped), cmocka_unit_test(test_pieces),
                                       cmocka_unit_test(test_piece_price), cmocka_unit_test(test_hash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
