/* conv_case.c - see conv_case.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "conv_case.h"
#include "interp/interp.h"
#include "kernel/kir_eval.h"
#include "passes/passes.h"

/* ---- one program ---- */

Window window_of(const Case *c) {
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
    Node *w = graph_tensor(g, t, NULL);
    if (!c->computed)
        return w;
    ExprPool *e = g->program->exprs;
    return graph_map(g, expr_make(e, EXPR_MUL, expr_input(e, 0), expr_input(e, 1), NULL), (Node *[]){ w, graph_scalar(g, SCALAR_BATCH, NULL) }, 2, NULL);
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

static void give(Arena *a, Memory *m, int space, int64_t bytes, float fill) {
    m->bytes[space] = bytes;
    m->space[space] = NEW_ARRAY(a, float, bytes / 4 + 16);
    for (int64_t i = 0; i < bytes / 4; i++)
        m->space[space][i] = fill;
}

/* Of argument number `arg`. */
static int element_bytes(const Kernel *k, int arg) {
    const Buffer *b = k->buffers;
    while (b->kind != BUFFER_ARG || arg-- > 0)
        b++;
    return store_bytes(b->store);
}

void run_entry(const Module *m, Memory *mem, EntryId entry, int64_t n) {
    Arena *a = arena_new(0);
    Writer *why = writer_new(a);
    EvalRun run = { .n = n };
    for (int i = 0; i < m->entry[entry].count; i++) {
        const Call *c = &m->entry[entry].calls[i];
        EvalBuffer args[64];
        for (int k = 0; k < c->arg_count; k++)
            args[k] = (EvalBuffer){ (char *)mem->space[c->args[k].space] + c->args[k].offset,
                                    (mem->bytes[c->args[k].space] - c->args[k].offset) / element_bytes(c->kernel, k) };
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

Memory prepare_memory(Arena *a, const Module *m, uint64_t seed) {
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

Module *lower_case(Arena *a, const Case *c, const LowerOptions *o) {
    Program *p = make_program(a, c);
    passes_run(p, &(PassOptions){ .level = 0, .limit = -1, .verify = true });
    return module_lower(a, p, o);
}

bool case_is_titled(const Case *c, const LowerOptions *o, const char *text) {
    Arena *a = arena_new(0);
    Module *m = lower_case(a, c, o);
    bool found = false;
    for (int i = 0; i < m->kernel_count; i++)
        found = found || strstr(m->kernels[i]->title, text);
    arena_destroy(a);
    return found;
}

static const char *case_text(Arena *a, const Case *c, const LowerOptions *o) {
    Writer *w = writer_new(a);
    writer_printf(w, "%s %s batch %d n %d channels %d -> %d groups %d%s body %d:", op_info[c->op].text, o->target->name, (int)c->batch, (int)c->n,
                  (int)c->channels, (int)c->out, (int)c->groups, c->plain ? " plain" : "", c->body);
    for (int i = 0; i < c->spatial; i++)
        writer_printf(w, " in %d k %d s %d d %d pad %d,%d;", (int)c->in[i], (int)c->kernel[i], (int)c->stride[i],
                      (int)c->dilation[i], (int)c->lo[i], (int)c->hi[i]);
    return w->data;
}

static CaseError compare(const char *what, const float *got, const double *want, int64_t count, double tolerance) {
    double scale = 1e-3, squares = 0, errors = 0;
    CaseError e = { 0 };
    for (int64_t i = 0; i < count; i++) {
        scale = fmax(scale, fabs(want[i]));
        squares += want[i] * want[i];
        errors += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        e.most = fmax(e.most, fabs((double)got[i] - want[i]));
    }
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance * scale))
            fail_msg("%s: element %lld is %g, not %g", what, (long long)i, (double)got[i], want[i]);
    e.rms = sqrt(errors / fmax(squares, 1e-30));
    e.most /= sqrt(fmax(squares, 1e-30) / (double)count);
    return e;
}

CaseError check_case(const Case *c, const LowerOptions *o, uint64_t seed, double tolerance) {
    Arena *a = arena_new(0);
    const char *what = case_text(a, c, o);
    CaseError error = { 0 };
    Module *m = lower_case(a, c, o);
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
        CaseError e = compare(what, mem.space[SPACE_OUTPUT + i], want, count, tolerance);
        error = i == 0 ? e : error;
    }
    interp_destroy(it);
    arena_destroy(a);
    return error;
}

void check_images(const Case *c, const LowerOptions *o, int64_t n) {
    Arena *a = arena_new(0);
    Module *m = lower_case(a, c, o);
    int64_t image = shape_count(&m->program->infer->outputs[0].node->shape) / c->batch;
    Memory few = prepare_memory(a, m, 3), all = prepare_memory(a, m, 3);
    run_entry(m, &few, ENTRY_PREPARE, 1);
    run_entry(m, &few, ENTRY_INFER, n);
    run_entry(m, &all, ENTRY_PREPARE, 1);
    run_entry(m, &all, ENTRY_INFER, c->batch);
    assert_memory_equal(few.space[SPACE_OUTPUT], all.space[SPACE_OUTPUT], (size_t)(n * image * 4));
    arena_destroy(a);
}
