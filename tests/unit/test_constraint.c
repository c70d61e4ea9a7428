/* test_constraint.c - the compiler's and the runtime's reparametrizations are the same functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "constraint.h"
#include "passes/passes.h"

static const Constraint rows[] = {
    { CONSTRAINT_NONE, 0, 0 }, { CONSTRAINT_GREATER, 0, INFINITY }, { CONSTRAINT_GREATER, -1, INFINITY },
    { CONSTRAINT_AT_LEAST, 0, INFINITY }, { CONSTRAINT_AT_LEAST, 0.5, INFINITY }, { CONSTRAINT_BETWEEN, -1, 3 },
};

static void kinds_agree(void **state) {
    (void)state;
    assert_int_equal(CONSTRAINT_NONE, SALUN_FREE);
    assert_int_equal(CONSTRAINT_GREATER, SALUN_GREATER);
    assert_int_equal(CONSTRAINT_AT_LEAST, SALUN_AT_LEAST);
    assert_int_equal(CONSTRAINT_BETWEEN, SALUN_BETWEEN);
}

static void functions_agree(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        SalunTensor t = { .constraint = (int32_t)rows[i].kind, .lo = rows[i].lo, .hi = rows[i].hi };
        for (float raw = -4; raw < 4; raw += 0.3f) {
            double value = constraint_value(&rows[i], raw);
            assert_float_equal(salun_constraint_value(&t, raw), value, 2e-7 * fmax(1, fabs(value)));
        }
        for (float value = 0.55f; value < 2.9f; value += 0.2f) {
            double raw = constraint_raw(&rows[i], value);
            assert_true(salun_constraint_holds(&t, value));
            assert_float_equal(salun_constraint_raw(&t, value), raw, 2e-7 * fmax(1, fabs(raw)));
        }
    }
}

/* A bound that float32 has not: the nearest float is a value that initial weights hold, files keep and training goes on from. */
static void rounded_bounds(void **state) {
    (void)state;
    for (int i = 1; i < 1000; i++) {
        double lo = (i - 500) / 10.0;
        SalunTensor t = { .constraint = SALUN_AT_LEAST, .lo = lo };
        float least = (float)lo, raw = salun_constraint_raw(&t, least);
        assert_true(salun_constraint_holds(&t, least));
        assert_false(salun_constraint_holds(&t, nextafterf(least, -INFINITY)));
        assert_true(raw >= 0 && raw < 0.01f);
        assert_true(constraint_raw(&(Constraint){ CONSTRAINT_AT_LEAST, lo, INFINITY }, least) >= 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(kinds_agree), cmocka_unit_test(functions_agree), cmocka_unit_test(rounded_bounds) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
