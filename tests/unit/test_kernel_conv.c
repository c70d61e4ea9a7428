/* test_kernel_conv.c - convolutions, their gradients and pools: kernels at every width, run by the evaluator,
 * against the interpreter. Also: the bits of one image do not depend on n, the capacity or its neighbours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "interp/interp.h"
#include "kernel/kir_eval.h"
#include "kernel/module.h"
#include "passes/passes.h"

typedef struct {
    OpId op;
    int64_t batch, n, channels, out, groups;   /* channels of the image, of the result of CONV */
    int spatial;
    int64_t in[3], kernel[3], stride[3], dilation[3], lo[3], hi[3];
    bool plain;                                /* the data operand is the caller's array itself */
    int body;                                  /* 0: nothing behind; 1: a long chain of operations and a sum by channel */
} Case;

typedef struct { uint64_t s; } Rng;
static uint32_t rng_next(Rng *r) { r->s = r->s * 6364136223846793005u + 1442695040888963407u; return (uint32_t)(r->s >> 33); }
static int64_t rng_below(Rng *r, int64_t n) { return (int64_t)(rng_next(r) % (uint32_t)n); }
static float rng_real(Rng *r) { return (float)(rng_next(r) / 1073741824.0 - 1); }

/* ---- one program ---- */

static Window window_of(const Case *c) {
    Window w = { .spatial = c->spatial, .groups = c->groups };
    for (int i = 0; i < c->spatial; i++) {
        w.kernel[i] = c->kernel[i];
        w.stride[i] = c->stride[i];
        w.dilation[i] = c->dilation[i];
        w.pad_lo[i] = c->lo[i];
        w.pad_hi[i] = c->hi[i];
    }
    return w;
}

static Shape image_shape(const Case *c, int64_t channels, const int64_t *size) {
    int64_t dim[MAX_RANK] = { c->batch, channels };
    for (int i = 0; i < c->spatial; i++)
        dim[2 + i] = size[i];
    return shape_of(true, 2 + c->spatial, dim);
}

/* The caller's array, or a copy of it that the compiler lays out as it likes. */
static Node *operand(Graph *g, const Case *c, const char *name, Shape s) {
    Node *x = graph_input(g, name, TYPE_F32, s, 1, NULL);
    if (c->plain)
        return x;
    const Expr *e = expr_make(g->exprs, EXPR_MUL, expr_input(g->exprs, 0), expr_const(g->exprs, 0.75), NULL);
    return graph_map(g, e, &x, 1, NULL);
}

static Node *weights(Graph *g, const Case *c) {
    int64_t dim[MAX_RANK] = { c->out, c->channels / c->groups };
    for (int i = 0; i < c->spatial; i++)
        dim[2 + i] = c->kernel[i];
    TensorDecl *t = program_add_tensor(g->program, "w", shape_of(false, 2 + c->spatial, dim), -1, false);
    return graph_tensor(g, t, NULL);
}

static Node *build_op(Graph *g, const Case *c) {
    Window w = window_of(c);
    int64_t out[3] = { 0 };
    if (c->spatial)
        assert_true(window_result(&w, c->in, out));
    bool pool = c->op == OP_MAXPOOL || c->op == OP_AVGPOOL || c->op == OP_MAXPOOL_INPUT || c->op == OP_AVGPOOL_INPUT;
    Shape large = image_shape(c, c->channels, c->in), small = image_shape(c, pool ? c->channels : c->out, out);
    switch (c->op) {
    case OP_CONV: return graph_conv(g, operand(g, c, "x", large), weights(g, c), &w, NULL);
    case OP_CONV_INPUT: return graph_conv_input(g, operand(g, c, "dy", small), weights(g, c), &w, large, NULL);
    case OP_CONV_WEIGHT: {
        Node *x = operand(g, c, "x", large), *dy = operand(g, c, "dy", small);
        Node *w_node = weights(g, c);
        return graph_conv_weight(g, x, dy, &w, w_node->shape, NULL);
    }
    case OP_MAXPOOL_INPUT: {
        Node *x = operand(g, c, "x", large), *dy = operand(g, c, "dy", small);
        Node *y = graph_pool(g, OP_MAXPOOL, &x, &w, small, NULL);
        return graph_pool(g, c->op, (Node *[]){ x, y, dy }, &w, large, NULL);
    }
    case OP_AVGPOOL_INPUT: {
        Node *dy = operand(g, c, "dy", small);
        return graph_pool(g, c->op, &dy, &w, large, NULL);
    }
    default: {
        Node *x = operand(g, c, "x", large);
        return graph_pool(g, c->op, &x, &w, small, NULL);
    }
    }
}

static Program *make_program(Arena *a, const Case *c) {
    Program *p = program_new(a, "conv");
    p->batch = c->batch;
    Graph *g = p->infer = graph_new(p, "infer");
    Node *y = build_op(g, c);
    if (c->body && y->shape.batched) {
        ExprPool *e = p->exprs;
        const Expr *x = expr_input(e, 0), *q = expr_make(e, EXPR_ADD, expr_const(e, 1), expr_make(e, EXPR_MUL, x, x, NULL), NULL);
        const Expr *f = expr_make(e, EXPR_ADD, expr_const(e, 0.5), expr_make(e, EXPR_DIV, x, expr_make(e, EXPR_SQRT, q, NULL, NULL), NULL), NULL);
        y = graph_map(g, f, &y, 1, NULL);
        graph_output(g, "y", y);
        graph_output(g, "sum", graph_reduce(g, OP_SUM, y, ((1u << y->shape.rank) - 1) & ~2u, NULL));
    } else {
        graph_output(g, "y", y);
    }
    return p;
}

/* ---- running ---- */

typedef struct {
    float *space[SPACE_COUNT];
    int64_t bytes[SPACE_COUNT];
} Memory;

static void give(Arena *a, Memory *m, int space, int64_t bytes, float fill) {
    m->bytes[space] = bytes;
    m->space[space] = NEW_ARRAY(a, float, bytes / 4 + 16);
    for (int64_t i = 0; i < bytes / 4; i++)
        m->space[space][i] = fill;
}

static void run_entry(const Module *m, Memory *mem, EntryId entry, int64_t n) {
    Arena *a = arena_new(0);
    Writer *why = writer_new(a);
    EvalRun run = { .n = n };
    for (int i = 0; i < m->entry[entry].count; i++) {
        const Call *c = &m->entry[entry].calls[i];
        EvalBuffer args[64];
        for (int k = 0; k < c->arg_count; k++)
            args[k] = (EvalBuffer){ (char *)mem->space[c->args[k].space] + c->args[k].offset,
                                    (mem->bytes[c->args[k].space] - c->args[k].offset) / 4 };
        int64_t tasks = c->unit ? c->tasks * ((n + c->unit - 1) / c->unit) : c->tasks;
        for (int64_t t = 0; t < tasks; t++)
            if (!kernel_eval(c->kernel, args, &run, t, why)) {
                kernel_print(why, c->kernel);
                fail_msg("%s", why->data);
            }
    }
    arena_destroy(a);
}

static void fill_random(float *to, int64_t count, Rng *rng) {
    for (int64_t i = 0; i < count; i++)
        to[i] = rng_real(rng);
}

/* The program's memory with inputs and weights of `seed`; image i is the same at any capacity. */
static Memory prepare_memory(Arena *a, const Module *m, uint64_t seed) {
    Memory mem = { 0 };
    Program *p = m->program;
    const Graph *g = p->infer;
    Rng rng = { seed };
    give(a, &mem, SPACE_PARAMS, p->table_size[TABLE_PARAMS] * 4, 0);
    for (int i = 0; i < p->tensor_count; i++)
        fill_random(mem.space[SPACE_PARAMS] + p->tensors[i]->offset, shape_count(&p->tensors[i]->shape), &rng);
    give(a, &mem, SPACE_PREPARED, m->prepared_bytes, NAN);
    give(a, &mem, SPACE_BLOCK, m->block_bytes, NAN);
    for (int i = 0; i < g->input_count; i++) {
        int64_t count = shape_count(&g->inputs[i].node->shape);
        give(a, &mem, SPACE_INPUT + i, count * 4, 0);
        fill_random(mem.space[SPACE_INPUT + i], count, &(Rng){ seed + 100 + (uint64_t)i });
    }
    for (int i = 0; i < g->output_count; i++)
        give(a, &mem, SPACE_OUTPUT + i, shape_count(&g->outputs[i].node->shape) * 4, NAN);
    return mem;
}

static Module *lower_case(Arena *a, const Case *c, const char *target, MathMode math) {
    Program *p = make_program(a, c);
    passes_run(p, &(PassOptions){ .level = 0, .limit = -1, .verify = true });
    LowerOptions o = { .target = target_find(target), .math = math };
    return module_lower(a, p, &o);
}

static const char *case_text(Arena *a, const Case *c, const char *target) {
    Writer *w = writer_new(a);
    writer_printf(w, "%s %s batch %d n %d channels %d -> %d groups %d%s body %d:", op_info[c->op].text, target, (int)c->batch, (int)c->n,
                  (int)c->channels, (int)c->out, (int)c->groups, c->plain ? " plain" : "", c->body);
    for (int i = 0; i < c->spatial; i++)
        writer_printf(w, " in %d k %d s %d d %d pad %d,%d;", (int)c->in[i], (int)c->kernel[i], (int)c->stride[i],
                      (int)c->dilation[i], (int)c->lo[i], (int)c->hi[i]);
    return w->data;
}

static void compare(const char *what, const float *got, const double *want, int64_t count) {
    double scale = 1e-3;
    for (int64_t i = 0; i < count; i++)
        scale = fmax(scale, fabs(want[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= 2e-5 * scale))
            fail_msg("%s: element %lld is %g, not %g", what, (long long)i, (double)got[i], want[i]);
}

static void check_case(const Case *c, const char *target, uint64_t seed) {
    Arena *a = arena_new(0);
    const char *what = case_text(a, c, target);
    Module *m = lower_case(a, c, target, MATH_STRICT);
    Memory mem = prepare_memory(a, m, seed);
    Program *p = m->program;
    Interp *it = interp_new(p, true, 0);
    for (int i = 0; i < p->tensor_count; i++) {
        int64_t count = shape_count(&p->tensors[i]->shape);
        double *v = NEW_ARRAY(a, double, count);
        for (int64_t k = 0; k < count; k++)
            v[k] = mem.space[SPACE_PARAMS][p->tensors[i]->offset + k];
        assert_true(interp_set_tensor(it, p->tensors[i], v));
    }
    for (int i = 0; i < p->infer->input_count; i++) {
        int64_t capacity = shape_count(&p->infer->inputs[i].node->shape);
        assert_true(interp_set_input(it, i, mem.space[SPACE_INPUT + i], TYPE_F32, capacity / c->batch * c->n));
    }
    assert_true(interp_run(it, p->infer, c->n));
    run_entry(m, &mem, ENTRY_PREPARE, c->n);
    run_entry(m, &mem, ENTRY_INFER, c->n);
    for (int i = 0; i < p->infer->output_count; i++) {
        int64_t count;
        const double *want = interp_output(it, i, &count);
        compare(what, mem.space[SPACE_OUTPUT + i], want, count);
    }
    interp_destroy(it);
    arena_destroy(a);
}

static const char *const targets[] = { "portable", "fma128", "avx2", "avx512" };

static void check_all(const Case *c) {
    for (int i = 0; i < COUNT(targets); i++)
        check_case(c, targets[i], 5);
}

/* ---- chosen shapes ---- */

#define SQUARE(size, k, s, d, p) .spatial = 2, .in = { size, size }, .kernel = { k, k }, .stride = { s, s }, \
                                 .dilation = { d, d }, .lo = { p, p }, .hi = { p, p }

static void each_op(Case c) {
    static const OpId ops[] = { OP_CONV, OP_CONV_INPUT, OP_CONV_WEIGHT };
    for (int i = 0; i < COUNT(ops); i++)
        for (c.body = 0; c.body < 2; c.body++) {
            c.op = ops[i];
            check_all(&c);
        }
}

static void test_common(void **state) {
    (void)state;
    each_op((Case){ .batch = 2, .n = 2, .channels = 20, .out = 32, .groups = 1, SQUARE(9, 3, 1, 1, 1) });
    each_op((Case){ .batch = 3, .n = 2, .channels = 17, .out = 35, .groups = 1, SQUARE(7, 1, 1, 1, 0) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 32, .out = 48, .groups = 1, SQUARE(8, 3, 2, 1, 1) });
    each_op((Case){ .batch = 9, .n = 9, .channels = 16, .out = 16, .groups = 1, SQUARE(4, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 16, .out = 33, .groups = 1, SQUARE(10, 1, 2, 1, 0) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 3, .out = 100, .groups = 1, SQUARE(5, 3, 1, 1, 1) });
}

static void test_stem(void **state) {
    (void)state;
    each_op((Case){ .batch = 2, .n = 1, .channels = 3, .out = 64, .groups = 1, .plain = true, SQUARE(32, 7, 2, 1, 3) });
    each_op((Case){ .batch = 2, .n = 2, .channels = 1, .out = 8, .groups = 1, .plain = true, SQUARE(12, 5, 1, 1, 2) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 100, .out = 17, .groups = 1, .plain = true, SQUARE(6, 3, 1, 1, 1) });
    each_op((Case){ .batch = 2, .n = 2, .channels = 8, .out = 1, .groups = 1, SQUARE(9, 3, 1, 1, 1) });
}

static void test_groups(void **state) {
    (void)state;
    each_op((Case){ .batch = 2, .n = 2, .channels = 6, .out = 9, .groups = 3, SQUARE(6, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 128, .out = 128, .groups = 32, SQUARE(5, 3, 1, 1, 1) });
    each_op((Case){ .batch = 2, .n = 1, .channels = 19, .out = 19, .groups = 19, SQUARE(7, 3, 2, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 5, .out = 20, .groups = 5, .plain = true, SQUARE(6, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 64, .out = 32, .groups = 2, SQUARE(6, 1, 1, 1, 0) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 96, .out = 192, .groups = 3, SQUARE(4, 3, 1, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 96, .out = 96, .groups = 2, .plain = true, SQUARE(3, 3, 1, 1, 1) });
}

static void test_unusual_windows(void **state) {
    (void)state;
    each_op((Case){ .batch = 2, .n = 2, .channels = 8, .out = 12, .groups = 1, SQUARE(3, 7, 1, 1, 3) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 4, .out = 8, .groups = 1, SQUARE(20, 3, 1, 4, 4) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 4, .out = 8, .groups = 1, SQUARE(23, 5, 5, 1, 1) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 4, .out = 8, .groups = 1, SQUARE(16, 3, 2, 3, 2) });
    each_op((Case){ .batch = 1, .n = 1, .channels = 4, .out = 8, .groups = 1, .spatial = 2, .in = { 9, 40 }, .kernel = { 2, 11 },
                    .stride = { 1, 1 }, .dilation = { 2, 3 }, .lo = { 0, 4 }, .hi = { 3, 9 } });
    each_op((Case){ .batch = 2, .n = 2, .channels = 5, .out = 6, .groups = 1, .spatial = 1, .in = { 33 }, .kernel = { 3 },
                    .stride = { 2 }, .dilation = { 1 }, .lo = { 2 }, .hi = { 0 } });
    each_op((Case){ .batch = 1, .n = 1, .channels = 5, .out = 6, .groups = 1, .spatial = 3, .in = { 4, 5, 6 }, .kernel = { 3, 2, 3 },
                    .stride = { 1, 2, 1 }, .dilation = { 1, 1, 1 }, .lo = { 1, 0, 1 }, .hi = { 1, 1, 1 } });
    each_op((Case){ .batch = 1, .n = 1, .channels = 5, .out = 6, .groups = 1, .spatial = 3, .in = { 4, 5, 6 }, .kernel = { 1, 1, 1 },
                    .stride = { 1, 1, 1 }, .dilation = { 1, 1, 1 } });
}

static void test_linear(void **state) {
    (void)state;
    static const int64_t batch[] = { 1, 16, 16, 16, 40 }, n[] = { 1, 1, 3, 16, 37 };
    for (int i = 0; i < COUNT(n); i++) {
        each_op((Case){ .batch = batch[i], .n = n[i], .channels = 33, .out = 10, .groups = 1 });
        each_op((Case){ .batch = batch[i], .n = n[i], .channels = 64, .out = 128, .groups = 1 });
        each_op((Case){ .batch = batch[i], .n = n[i], .channels = 7, .out = 1, .groups = 1, .plain = true });
    }
}

static void test_pools(void **state) {
    (void)state;
    static const OpId ops[] = { OP_MAXPOOL, OP_AVGPOOL, OP_MAXPOOL_INPUT, OP_AVGPOOL_INPUT };
    Case cases[] = {
        { .batch = 2, .n = 1, .channels = 19, .groups = 1, SQUARE(9, 3, 2, 1, 1) },
        { .batch = 1, .n = 1, .channels = 1, .groups = 1, SQUARE(8, 2, 2, 1, 0) },
        { .batch = 2, .n = 2, .channels = 3, .groups = 1, .plain = true, SQUARE(7, 3, 1, 2, 2) },
        { .batch = 1, .n = 1, .channels = 6, .groups = 1, .spatial = 3, .in = { 4, 5, 6 }, .kernel = { 2, 2, 3 },
          .stride = { 1, 2, 1 }, .dilation = { 1, 1, 1 }, .lo = { 1, 0, 1 }, .hi = { 1, 1, 1 } },
    };
    for (int i = 0; i < COUNT(cases); i++)
        for (int k = 0; k < COUNT(ops); k++)
            for (int body = 0; body < 2; body++) {
                Case c = cases[i];
                c.op = ops[k];
                c.body = body;
                check_all(&c);
            }
}

/* ---- drawn shapes ---- */

static Case draw(Rng *r) {
    static const int64_t channels[] = { 1, 2, 3, 5, 8, 16, 17, 24, 32, 40, 64, 100 };
    static const OpId ops[] = { OP_CONV, OP_CONV_INPUT, OP_CONV_WEIGHT, OP_CONV, OP_CONV_INPUT, OP_MAXPOOL, OP_AVGPOOL, OP_MAXPOOL_INPUT, OP_AVGPOOL_INPUT };
    for (;;) {
        Case c = { .op = ops[rng_below(r, COUNT(ops))], .batch = 1 + rng_below(r, 10), .spatial = 1 + (int)rng_below(r, 2), .groups = 1 };
        c.n = 1 + rng_below(r, c.batch);
        c.channels = channels[rng_below(r, COUNT(channels))];
        c.out = channels[rng_below(r, COUNT(channels))];
        static const int64_t groups[] = { 1, 1, 1, 2, 3, 4, 8 };
        c.groups = groups[rng_below(r, COUNT(groups))];
        c.channels *= c.groups;
        c.out *= c.groups;
        c.plain = rng_below(r, 4) == 0;
        c.body = (int)rng_below(r, 2);
        int64_t work = c.batch * c.channels * c.out / c.groups;
        for (int i = 0; i < c.spatial; i++) {
            c.in[i] = 1 + rng_below(r, 20);
            c.kernel[i] = 1 + rng_below(r, 4);
            c.stride[i] = 1 + rng_below(r, 3);
            c.dilation[i] = 1 + rng_below(r, 2);
            c.lo[i] = rng_below(r, c.kernel[i]);
            c.hi[i] = rng_below(r, c.kernel[i]);
            work *= c.in[i] * c.kernel[i];
        }
        Window w = window_of(&c);
        int64_t out[3];
        bool pool = op_info[c.op].class == CLASS_POOL;
        if (work < 400000 && window_result(&w, c.in, out) && (!pool || (c.groups == 1 && window_covers(&w, c.in))))
            return c;
    }
}

static void test_drawn(void **state) {
    (void)state;
    Rng rng = { 20 };
    for (int i = 0; i < 240; i++) {
        Case c = draw(&rng);
        check_case(&c, targets[i % COUNT(targets)], (uint64_t)i);
    }
}

/* ---- bits ---- */

/* The first image's result must not depend on n, and its bits not on what stands beside it. */
static void test_bits_of_an_image(void **state) {
    (void)state;
    Case cases[] = {
        { .op = OP_CONV, .batch = 9, .channels = 20, .out = 32, .groups = 1, SQUARE(9, 3, 1, 1, 1) },
        { .op = OP_CONV, .batch = 23, .channels = 40, .out = 50, .groups = 1 },
        { .op = OP_CONV_INPUT, .batch = 9, .channels = 20, .out = 32, .groups = 1, SQUARE(9, 3, 2, 1, 1) },
    };
    for (int i = 0; i < COUNT(cases); i++)
        for (int64_t n = 1; n <= cases[i].batch; n += 4) {
            Arena *a = arena_new(0);
            Module *m = lower_case(a, &cases[i], "avx512", MATH_STRICT);
            int64_t image = shape_count(&m->program->infer->outputs[0].node->shape) / cases[i].batch;
            Memory few = prepare_memory(a, m, 3), all = prepare_memory(a, m, 3);
            run_entry(m, &few, ENTRY_PREPARE, 1);
            run_entry(m, &few, ENTRY_INFER, n);
            run_entry(m, &all, ENTRY_PREPARE, 1);
            run_entry(m, &all, ENTRY_INFER, cases[i].batch);
            assert_memory_equal(few.space[SPACE_OUTPUT], all.space[SPACE_OUTPUT], (size_t)(n * image * 4));
            arena_destroy(a);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_common), cmocka_unit_test(test_stem), cmocka_unit_test(test_groups),
        cmocka_unit_test(test_unusual_windows), cmocka_unit_test(test_linear), cmocka_unit_test(test_pools),
        cmocka_unit_test(test_drawn), cmocka_unit_test(test_bits_of_an_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
