/* test_optimizer.c - tables, constraints and the update graph. The numbers of `torch_sgd` were computed by
 * PyTorch 1.13 in float64: torch.optim.SGD over raw parameters, clip_grad_norm_ before it. */
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

typedef struct { Arena *arena; Program *p; } Fixture;

static int setup(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    f->arena = arena_new(0);
    f->p = program_new(f->arena, "net");
    f->p->step = graph_new(f->p, "step");
    *state = f;
    return 0;
}

static int teardown(void **state) {
    Fixture *f = *state;
    arena_destroy(f->arena);
    free(f);
    return 0;
}

static TensorDecl *vector(Fixture *f, const char *name, int64_t count, ConstraintKind kind, double lo, double hi) {
    Shape s = { .rank = count > 0, .dim = { count } };
    TensorDecl *t = program_add_tensor(f->p, name, s, -1, false);
    t->constraint = (Constraint){ kind, lo, hi };
    return t;
}

/* ---- torch ---- */

enum { TENSORS = 6, VALUES = 10, STEPS = 3 };

/* w, bias, a > 0, b >= 1, c in (0, 2), k > 0: start values, then the fixed part of their gradients */
static const double start[VALUES] = { 0.5, -1.25, 2, 0.25, -0.75, 2, 1.5, 0.5, 0.5, 3 };
static const double slope[VALUES] = { 1, -2, 0.5, 0.3, -0.4, 0.7, -0.9, 0.2, -0.6, 0.1 };
static const double rate[STEPS] = { 0.1, 0.05, 0.2 };

typedef struct { double momentum; bool nesterov; double decay, clip, wanted[VALUES]; } TorchRow;

static const TorchRow torch_rows[] = {
    { 0, false, 0, 0, { -0.29999999999999999, 0.34999999999999998, 1.5999999999999999, 0.12999999999999998, -0.58999999999999997,
                        0.80642884397925096, 5.193964050432001, 0.47797204563052315, 0.64343886355688895, 2.3865073562102661 } },
    { 0, false, 0.01, 0, { -0.30129835049999998, 0.35347082624999993, 1.5932319479999999, 0.12999999999999998, -0.58999999999999997,
                           0.80548253035234363, 5.1752702537116866, 0.47936791754206942, 0.64505486467618611, 2.3783954040591442 } },
    { 0.9, false, 0.01, 0, { -0.86996200050000005, 1.4917649512500002, 1.302132348, 0.044950000000000004, -0.47659999999999986,
                             0.40388004849038978, 9.4417879704999876, 0.4656179603760302, 0.77129016160950192, 2.0093664025195475 } },
    { 0.9, true, 0.01, 0, { -1.5332723633295, 2.8190736653737507, 0.96566124733199987, -0.054544999999999989, -0.34393999999999986,
                            0.26452720216105519, 23.709635769058799, 0.44950396006329507, 0.97995018650025145, 1.6963479455572559 } },
    { 0.9, true, 0, 1.5, { 0.0059086300670932491, -0.2618172601341866, 1.7529543150335467, 0.17588629451006399, -0.65118172601341862,
                           1.0755309299571565, 3.0543925127171714, 0.48627531428791709, 0.5820942307917073, 2.5960273111849532 } },
    { 0.9, true, 0.01, 100, { -1.5332723633295, 2.8190736653737507, 0.96566124733199987, -0.054544999999999989, -0.34393999999999986,
                              0.26452720216105519, 23.709635769058799, 0.44950396006329507, 0.97995018650025145, 1.6963479455572559 } },
    { 0, false, 0.01, 1.5, { 0.32656540324138106, -0.90225668123276215, 1.9071638248706906, 0.2242212010126548, -0.71562826801687307,
                             1.5935916617020993, 1.8888125570084695, 0.49662569626923803, 0.52813165546091301, 2.8407528896187002 } },
};

static void torch_program(Fixture *f, const TorchRow *row, TensorDecl *t[TENSORS]) {
    t[0] = vector(f, "w", 3, CONSTRAINT_NONE, 0, 0);
    t[1] = vector(f, "bias", 2, CONSTRAINT_NONE, 0, 0);
    t[2] = vector(f, "a", 0, CONSTRAINT_GREATER, 0, INFINITY);
    t[3] = vector(f, "b", 0, CONSTRAINT_AT_LEAST, 1, INFINITY);
    t[4] = vector(f, "c", 0, CONSTRAINT_BETWEEN, 0, 2);
    t[5] = vector(f, "k", 2, CONSTRAINT_GREATER, 0, INFINITY);
    Recipe *r = &f->p->recipe;
    r->momentum = row->momentum;
    r->nesterov = row->nesterov;
    r->weight_decay = row->decay;
    r->clip_norm = row->clip;
    for (int i = 0; i < TENSORS; i++)
        t[i]->group.weight_decay = row->decay;
    t[1]->group = (ParamGroup){ .lr_scale = 0.5 };
}

static void set_start(Interp *it, TensorDecl *const *t) {
    int at = 0;
    for (int i = 0; i < TENSORS; i++) {
        int64_t count = shape_count(&t[i]->shape);
        assert_true(interp_set_tensor(it, t[i], start + at));
        for (int64_t e = 0; e < count && t[i]->raw_offset >= 0; e++) {
            double raw = constraint_raw(&t[i]->constraint, start[at + e]);
            assert_true(interp_set_table(it, TABLE_RAW, t[i]->raw_offset + e, &raw, 1));
        }
        at += (int)count;
    }
}

static void set_gradients(Interp *it, TensorDecl *const *t, double factor) {
    int at = 0;
    for (int i = 0; i < TENSORS; i++) {
        for (int64_t e = 0; e < shape_count(&t[i]->shape); e++, at++) {
            double g = slope[at] * factor;
            assert_true(interp_set_table(it, TABLE_GRADS, t[i]->offset + e, &g, 1));
        }
    }
}

/* Elements between parameters are zero. */
static void check_padding(Interp *it, const Program *p, TableId table) {
    int64_t count = p->table_size[table];
    double *v = calloc((size_t)count, sizeof *v);
    assert_true(interp_get_table(it, table, 0, v, count));
    for (int i = 0; i < p->tensor_count; i++)
        for (int64_t e = 0; e < shape_count(&p->tensors[i]->shape); e++)
            v[p->tensors[i]->offset + e] = 0;
    for (int64_t i = 0; i < count; i++)
        assert_true(v[i] == 0);
    free(v);
}

static void torch_case(Fixture *f, const TorchRow *row, bool folded) {
    TensorDecl *t[TENSORS];
    torch_program(f, row, t);
    pass_tables(f->p);
    pass_optimizer(f->p);
    graph_verify(f->p->update, "optimizer");
    if (folded) {
        graph_fold(f->p->update);
        graph_cse(f->p->update);
        graph_verify(f->p->update, "cse");
    }
    Interp *it = interp_new(f->p, true, 0);
    set_start(it, t);
    for (int s = 0; s < STEPS; s++) {
        set_gradients(it, t, s + 1);
        interp_set_lr(it, rate[s]);
        if (!interp_run(it, f->p->update, 1))
            fail_msg("interpreter: %s", interp_error(it));
    }
    for (int i = 0, at = 0; i < TENSORS; i++) {
        double got[3];
        assert_true(interp_get_tensor(it, t[i], got));
        for (int64_t e = 0; e < shape_count(&t[i]->shape); e++, at++)
            if (!(fabs(got[e] - row->wanted[at]) <= 1e-12 * fmax(1, fabs(row->wanted[at]))))
                fail_msg("momentum %g nesterov %d decay %g clip %g: %s[%d] is %.17g, torch has %.17g", row->momentum,
                         row->nesterov, row->decay, row->clip, t[i]->name, (int)e, got[e], row->wanted[at]);
    }
    check_padding(it, f->p, TABLE_PARAMS);
    if (f->p->table_size[TABLE_SLOTS])
        check_padding(it, f->p, TABLE_SLOTS);
    interp_destroy(it);
}

static void torch_sgd(void **state) {
    for (size_t i = 0; i < 2 * sizeof torch_rows / sizeof *torch_rows; i++) {
        torch_case(*state, &torch_rows[i / 2], i % 2);
        teardown(state);
        setup(state);
    }
}

/* ---- tables ---- */

static void places(void **state) {
    Fixture *f = *state;
    f->p->recipe.momentum = 0.9;
    TensorDecl *w0 = vector(f, "x.w", 17, CONSTRAINT_NONE, 0, 0), *b0 = vector(f, "x.b", 3, CONSTRAINT_NONE, 0, 0);
    TensorDecl *a0 = vector(f, "x.a", 0, CONSTRAINT_GREATER, 0, 0), *h = vector(f, "head.w", 5, CONSTRAINT_NONE, 0, 0);
    TensorDecl *w1 = vector(f, "y.w", 16, CONSTRAINT_NONE, 0, 0), *b1 = vector(f, "y.b", 16, CONSTRAINT_NONE, 0, 0);
    TensorDecl *a1 = vector(f, "y.a", 0, CONSTRAINT_GREATER, 0, 0), *k = vector(f, "y.k", 4, CONSTRAINT_GREATER, 0, 0);
    TensorDecl *state_tensor = vector(f, "mean", 3, CONSTRAINT_NONE, 0, 0);
    state_tensor->is_state = true;
    for (int i = 0; i < f->p->tensor_count; i++)
        f->p->tensors[i]->group.weight_decay = 0.1;
    b0->group.weight_decay = b1->group.weight_decay = 0;
    h->group.frozen = true;
    pass_tables(f->p);
    assert_int_equal(w0->offset, 0);
    assert_int_equal(w1->offset, 32);
    assert_int_equal(b0->offset, 48);
    assert_int_equal(b1->offset, 64);
    assert_int_equal(a0->offset, 80);
    assert_int_equal(a1->offset, 96);
    assert_int_equal(h->offset, 112);
    assert_int_equal(k->offset, 128);
    assert_int_equal(state_tensor->offset, 0);
    assert_int_equal(a0->raw_offset, 0);
    assert_int_equal(a1->raw_offset, 16);
    assert_int_equal(k->raw_offset, 32);
    assert_int_equal(w0->raw_offset, -1);
    assert_int_equal(f->p->table_size[TABLE_PARAMS], 144);
    assert_int_equal(f->p->table_size[TABLE_GRADS], 144);
    assert_int_equal(f->p->table_size[TABLE_SLOTS], 144);
    assert_int_equal(f->p->table_size[TABLE_RAW], 48);
    assert_int_equal(f->p->table_size[TABLE_STATES], 16);
    int count;
    ParamRun *runs = param_runs(f->p, &count);
    assert_int_equal(count, 4);
    assert_int_equal(runs[0].offset, 0);
    assert_int_equal(runs[0].count, 48);
    assert_true(runs[1].group.weight_decay == 0 && runs[0].group.weight_decay == 0.1);
    assert_int_equal(runs[2].count, 32);
    assert_int_equal(runs[2].used, 1);
    assert_int_equal(runs[3].used, 4);
}

/* The update's size depends on the number of runs, not of parameters. */
static void few_nodes(void **state) {
    Fixture *f = *state;
    f->p->recipe = (Recipe){ .momentum = 0.9, .nesterov = true, .weight_decay = 1e-4, .clip_norm = 1 };
    for (int i = 0; i < 200; i++) {
        vector(f, arena_printf(f->arena, "w%d", i), 10 + i, CONSTRAINT_NONE, 0, 0);
        vector(f, arena_printf(f->arena, "a%d", i), 0, CONSTRAINT_GREATER, 0, 0);
    }
    pass_tables(f->p);
    pass_optimizer(f->p);
    graph_fold(f->p->update);
    graph_cse(f->p->update);
    graph_verify(f->p->update, "cse");
    assert_true(graph_count(f->p->update) < 30);
}

static void nothing_to_train(void **state) {
    Fixture *f = *state;
    f->p->recipe.clip_norm = 1;
    pass_tables(f->p);
    pass_optimizer(f->p);
    assert_int_equal(f->p->update->effect_count, 0);
    f->p->step = NULL;
    f->p->update = NULL;
    pass_optimizer(f->p);
    assert_null(f->p->update);
}

/* ---- constraints ---- */

static void constraints(void **state) {
    Fixture *f = *state;
    const Constraint rows[] = {
        { CONSTRAINT_NONE, 0, 0 }, { CONSTRAINT_GREATER, 0, INFINITY }, { CONSTRAINT_GREATER, -1, INFINITY },
        { CONSTRAINT_AT_LEAST, 0, INFINITY }, { CONSTRAINT_AT_LEAST, 0.5, INFINITY }, { CONSTRAINT_BETWEEN, -1, 3 },
    };
    const Expr *raw = expr_input(f->p->exprs, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const Expr *e = constraint_expr(f->p->exprs, &rows[i], raw);
        for (double v = 0.51; v < 3; v += 0.31) {
            double r = constraint_raw(&rows[i], v);
            assert_float_equal(constraint_value(&rows[i], r), v, 1e-12);
            assert_float_equal(expr_fold(e, &r, NULL), v, 1e-12);
        }
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(torch_sgd), TEST(places), TEST(few_nodes), TEST(nothing_to_train), TEST(constraints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
