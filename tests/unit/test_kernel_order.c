/* test_kernel_order.c - kernel/kir_order.c: equal operations of a list become one, those that may differ do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "kernel/kir_eval.h"

typedef struct { Arena *arena; Kernel *k; int x, z; } Fixture;

static Fixture begin(void) {
    Arena *a = arena_new(0);
    Fixture f = {a, kernel_new(a, target_find("avx2"), MATH_STRICT, "one", (Span){0}), 0, 0};
    f.x = kb_arg(f.k, "x", ELEM_F32, false, 8, "");
    f.z = kb_arg(f.k, "z", ELEM_F32, true, 16, "");
    return f;
}

static int operations(const Stm *list, KOp op) {
    int count = 0;
    for (const Stm *s = list; s; s = s->next)
        count += (s->kind == STM_OP && s->op == op) + operations(s->body, op);
    return count;
}

static Reg two(Kernel *k, KOp op, Reg x, Reg y) { return kb_op(k, op, x, y, NO_REG); }

/* sqrt(3 x), its constant, product and root made anew each time. */
static Reg root(Kernel *k, Reg x) { return two(k, KOP_FSQRT, two(k, KOP_FMUL, kb_const(k, 3, true), x), NO_REG); }

static void run(const Fixture *f, float *out) {
    float in[8] = {3, 12, 27, 48, 75, 108, 147, 192};
    EvalBuffer args[2] = {{in, 8}, {out, 16}};
    assert_true(kernel_eval(f->k, args, &(EvalRun){.n = 1}, 0, writer_new(f->arena)));
}

static void test_equal_operations_become_one(void **state) {
    (void)state;
    Fixture f = begin();
    Reg x = kb_load(f.k, ACCESS_VECTOR, f.x, index_const(0));
    kb_store(f.k, ACCESS_VECTOR, f.z, index_const(0), two(f.k, KOP_FADD, root(f.k, x), root(f.k, x)));
    kb_store(f.k, ACCESS_VECTOR, f.z, index_const(8), two(f.k, KOP_FSUB, root(f.k, x), x));
    kernel_finish(f.k);
    assert_int_equal(operations(f.k->body, KOP_FSQRT), 1);
    assert_int_equal(operations(f.k->body, KOP_FMUL), 1);
    float out[16];
    run(&f, out);
    for (int i = 0; i < 8; i++) {
        assert_true(out[i] == 6.0f * (float)(i + 1));
        assert_true(out[8 + i] == 3.0f * (float)(i + 1) - 3.0f * (float)((i + 1) * (i + 1)));
    }
    arena_destroy(f.arena);
}

/* Other operands, another order of them, another operation. */
static void test_others_stay(void **state) {
    (void)state;
    Fixture f = begin();
    Reg x = kb_load(f.k, ACCESS_VECTOR, f.x, index_const(0)), y = kb_load(f.k, ACCESS_VECTOR, f.x, index_const(0));
    Reg sum = two(f.k, KOP_FADD, two(f.k, KOP_FSUB, root(f.k, x), y), two(f.k, KOP_FSUB, y, root(f.k, x)));
    sum = two(f.k, KOP_FADD, sum, two(f.k, KOP_FMAX, x, y));
    sum = two(f.k, KOP_FADD, sum, two(f.k, KOP_FMAX, y, x));
    sum = two(f.k, KOP_FADD, sum, two(f.k, KOP_FMIN, y, x));
    kb_store(f.k, ACCESS_VECTOR, f.z, index_const(0), sum);
    kernel_finish(f.k);
    assert_int_equal(operations(f.k->body, KOP_FSUB), 2);
    assert_int_equal(operations(f.k->body, KOP_FMAX), 2);
    assert_int_equal(operations(f.k->body, KOP_FMIN), 1);
    assert_int_equal(operations(f.k->body, KOP_FSQRT), 1);
    arena_destroy(f.arena);
}

/* What reads a register that changes, and what stands in another list. */
static void test_changes_and_lists(void **state) {
    (void)state;
    Fixture f = begin();
    Reg x = kb_load(f.k, ACCESS_VECTOR, f.x, index_const(0)), sum = kb_reg(f.k, ELEM_F32, true);
    kb_set_const(f.k, sum, 1);
    kb_store(f.k, ACCESS_VECTOR, f.z, index_const(0), two(f.k, KOP_FADD, sum, x));
    kb_set(f.k, sum, KOP_FADD, sum, x, NO_REG);
    kb_store(f.k, ACCESS_VECTOR, f.z, index_const(8), two(f.k, KOP_FADD, two(f.k, KOP_FADD, sum, x), root(f.k, x)));
    Index i = index_var(kb_loop(f.k, "i", index_const(0), index_const(16), 8));
    kb_add_to(f.k, ACCESS_VECTOR, f.z, i, index_const(0), root(f.k, x));
    kb_end(f.k);
    kernel_finish(f.k);
    assert_int_equal(operations(f.k->body, KOP_FSQRT), 2);
    float out[16];
    run(&f, out);
    for (int n = 1; n <= 8; n++) {
        assert_true(out[n - 1] == 1.0f + 3.0f * (float)(n * n) + 3.0f * (float)n);
        assert_true(out[n + 7] == 1.0f + 6.0f * (float)(n * n) + 6.0f * (float)n);
    }
    arena_destroy(f.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_equal_operations_become_one), cmocka_unit_test(test_others_stay),
                                       cmocka_unit_test(test_changes_and_lists)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
