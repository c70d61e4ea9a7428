/* test_runtime.c - the thread pool and models: every task once, the same bits for any number of threads, several at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model.h"
#include "tiny_program.h"

/* ---- the pool ---- */

enum { MOST_TASKS = 1000 };
typedef struct { _Atomic int times[MOST_TASKS]; _Atomic int wrong_thread; int threads; } Count;

static void count_task(void *arg, int thread, int64_t task) {
    Count *c = arg;
    if (thread < 0 || thread >= c->threads)
        c->wrong_thread = 1;
    c->times[task]++;
}

static void run_counted(SalunPool *pool, Count *c, int64_t tasks) {
    memset(c, 0, sizeof *c);
    c->threads = salun_pool_threads(pool);
    salun_pool_run(pool, count_task, c, tasks);
    assert_int_equal(c->wrong_thread, 0);
    for (int64_t i = 0; i < MOST_TASKS; i++)
        assert_int_equal(c->times[i], i < tasks);
}

static void test_every_task_once(void **state) {
    (void)state;
    Count c;
    for (int threads = 1; threads <= 8; threads++) {
        SalunPool *pool = salun_pool_create(threads, false, NULL);
        assert_non_null(pool);
        assert_int_equal(salun_pool_threads(pool), threads);
        for (int64_t tasks = 0; tasks < 40; tasks++)
            run_counted(pool, &c, tasks);
        for (int turn = 0; turn < 50; turn++)
            run_counted(pool, &c, MOST_TASKS - turn);
        salun_pool_destroy(pool);
    }
}

static void test_sleepers_wake(void **state) {
    (void)state;
    Count c;
    SalunPool *pool = salun_pool_create(3, false, NULL);
    for (int turn = 0; turn < 30; turn++) {
        usleep(turn % 3 * 2500);
        run_counted(pool, &c, 100);
    }
    usleep(10000);
    salun_pool_destroy(pool);
}

static void test_fork(void **state) {
    (void)state;
    Count c;
    SalunPool *pool = salun_pool_create(3, false, NULL);
    for (int turn = 0; turn < 10; turn++) {
        run_counted(pool, &c, 100);
        pid_t child = fork();
        if (!child) {
            alarm(20);
            run_counted(pool, &c, 100);
            salun_pool_destroy(pool);
            pool = salun_pool_create(2, false, NULL);
            run_counted(pool, &c, 100);
            salun_pool_destroy(pool);
            _exit(0);
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    salun_pool_destroy(pool);
}

static void *pool_thread(void *arg) {
    Count c;
    SalunPool *pool = salun_pool_create(3, false, NULL);
    (void)arg;
    for (int turn = 0; turn < 200; turn++)
        run_counted(pool, &c, turn % 50);
    salun_pool_destroy(pool);
    return NULL;
}

static void test_many_pools(void **state) {
    (void)state;
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, pool_thread, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
}

static void test_pool_errors(void **state) {
    (void)state;
    SalunError err;
    assert_null(salun_pool_create(-1, false, &err));
    assert_int_equal(err.code, SALUN_BAD_INPUT);
    assert_null(salun_pool_create(100000, false, &err));
    assert_non_null(strstr(err.text, "100000 threads"));
}

/* ---- models ---- */

static SalunModel *model_new(const SalunProgram *p, int threads) {
    SalunError err;
    SalunModel *m = salun_create(p, threads, &err);
    if (!m)
        fail_msg("%s", err.text);
    salun_init(m, 7);
    return m;
}

static void infer(SalunModel *m, int64_t n, const float *x, float *y) {
    SalunError err;
    const void *inputs[] = { x };
    void *outputs[] = { y };
    if (salun_infer(m, n, inputs, outputs, &err))
        fail_msg("%s", err.text);
}

static void test_infer(void **state) {
    (void)state;
    float x[TINY_BATCH * TINY_IN], y[TINY_BATCH * TINY_OUT];
    SalunModel *m = model_new(&tiny_program, 2);
    const float *param = salun_table(m, SALUN_PARAMS, NULL);
    tiny_fill(x, TINY_BATCH * TINY_IN, 1);
    for (int64_t n = 1; n <= TINY_BATCH; n += 21) {
        for (int i = 0; i < TINY_BATCH * TINY_OUT; i++)
            y[i] = -77;
        infer(m, n, x, y);
        for (int64_t i = 0; i < n * TINY_OUT; i++) {
            double want = param[TINY_B + i % TINY_OUT];
            for (int k = 0; k < TINY_IN; k++)
                want += (double)param[TINY_W + i % TINY_OUT * TINY_IN + k] * x[i / TINY_OUT * TINY_IN + k];
            assert_true(fabs(y[i] - want) < 1e-5);
        }
        for (int64_t i = n * TINY_OUT; i < TINY_BATCH * TINY_OUT; i++)
            assert_true(y[i] == -77);
    }
    salun_destroy(m);
}

/* PARAMS after 20 steps. */
static void train(int threads, float *param, float *loss) {
    float x[TINY_BATCH * TINY_IN], target[TINY_BATCH * TINY_OUT], y[TINY_BATCH * TINY_OUT];
    SalunModel *m = model_new(&tiny_program, threads);
    SalunError err;
    for (uint32_t step = 0; step < 20; step++) {
        int64_t n = step == 19 ? 13 : TINY_BATCH;
        tiny_fill(x, TINY_BATCH * TINY_IN, step);
        tiny_fill(target, TINY_BATCH * TINY_OUT, step + 100);
        const void *inputs[] = { x, target };
        void *outputs[] = { loss, y };
        assert_int_equal(salun_step(m, n, inputs, outputs, &err), 0);
        assert_int_equal(salun_update(m, 0.1f, &err), 0);
    }
    assert_int_equal(m->runs->step_count, 20);
    assert_true(m->runs->step == 20);
    memcpy(param, salun_table(m, SALUN_PARAMS, NULL), TINY_FLOATS * sizeof *param);
    salun_destroy(m);
}

static void test_same_bits_for_any_threads(void **state) {
    (void)state;
    float one[TINY_FLOATS], many[TINY_FLOATS], loss_one, loss_many;
    train(1, one, &loss_one);
    assert_true(isfinite(loss_one) && one[TINY_A] > 0 && one[TINY_A] != 1);
    for (int threads = 2; threads <= 8; threads += 3) {
        train(threads, many, &loss_many);
        assert_memory_equal(one, many, sizeof one);
        assert_memory_equal(&loss_one, &loss_many, sizeof loss_one);
    }
}

static void *model_thread(void *arg) {
    float x[TINY_BATCH * TINY_IN], y[TINY_BATCH * TINY_OUT], first[TINY_BATCH * TINY_OUT];
    SalunModel *m = model_new(&tiny_program, 3);
    (void)arg;
    tiny_fill(x, TINY_BATCH * TINY_IN, 5);
    infer(m, TINY_BATCH, x, first);
    for (int turn = 0; turn < 300; turn++) {
        infer(m, TINY_BATCH, x, y);
        assert_memory_equal(first, y, sizeof y);
    }
    salun_destroy(m);
    return NULL;
}

static void test_several_models_at_once(void **state) {
    (void)state;
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, model_thread, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
}

static void test_prepare_follows_changes(void **state) {
    (void)state;
    float x[TINY_IN] = { 1 }, before[TINY_OUT], after[TINY_OUT];
    SalunModel *m = model_new(&tiny_program, 1);
    infer(m, 1, x, before);
    salun_init(m, 8);
    infer(m, 1, x, after);
    assert_memory_not_equal(before, after, sizeof before);
    salun_init(m, 7);
    infer(m, 1, x, after);
    assert_memory_equal(before, after, sizeof before);
    salun_destroy(m);
}

static int refuse(void *arg, SalunError *err) {
    ++*(int *)arg;
    err->text[0] = 0;
    return SALUN_INTERRUPTED;
}

/* A step and its update in one, by an entry of its own or by the two: the same, or nothing where the loss or the gate says so. */
static void test_train_step(void **state) {
    (void)state;
    const SalunCall calls[] = { tiny_step_calls[0], tiny_step_calls[1], tiny_update_calls[0] };
    SalunProgram together = tiny_program;
    together.train = (SalunEntry){ "train", calls, 3 };
    const SalunProgram *programs[] = { &tiny_program, &together };
    for (int k = 0; k < 2; k++) {
        float x[TINY_BATCH * TINY_IN], target[TINY_BATCH * TINY_OUT], y[TINY_BATCH * TINY_OUT], loss, want_loss, want[TINY_FLOATS];
        SalunModel *m = model_new(programs[k], 2), *two = model_new(&tiny_program, 1);
        SalunError err;
        int asked = 0;
        tiny_fill(x, TINY_BATCH * TINY_IN, 1);
        tiny_fill(target, TINY_BATCH * TINY_OUT, 2);
        const void *inputs[] = { x, target };
        void *outputs[] = { &loss, y }, *want_outputs[] = { &want_loss, y };
        assert_int_equal(salun_step(two, TINY_BATCH, inputs, want_outputs, &err), 0);
        assert_int_equal(salun_update(two, 0.1f, &err), 0);
        memcpy(want, salun_table(m, SALUN_PARAMS, NULL), sizeof want);
        assert_int_equal(salun_train_gated(m, TINY_BATCH, inputs, outputs, 0.1f, refuse, &asked, &err), SALUN_INTERRUPTED);
        assert_int_equal(asked, 1);
        assert_memory_equal(want, salun_table(m, SALUN_PARAMS, NULL), sizeof want);
        assert_int_equal(salun_train_step(m, TINY_BATCH, inputs, outputs, 0.1f, &err), 0);
        assert_memory_equal(&loss, &want_loss, sizeof loss);
        assert_memory_equal(salun_table(m, SALUN_PARAMS, NULL), salun_table(two, SALUN_PARAMS, NULL), sizeof want);
        assert_int_equal(m->runs->step_count, 1);
        memcpy(want, salun_table(m, SALUN_PARAMS, NULL), sizeof want);
        x[3] = INFINITY;
        assert_int_equal(salun_train_step(m, TINY_BATCH, inputs, outputs, 0.1f, &err), SALUN_FAIL);
        assert_non_null(strstr(err.text, "Tiny: the loss is "));
        assert_memory_equal(want, salun_table(m, SALUN_PARAMS, NULL), sizeof want);
        assert_int_equal(m->runs->step_count, 1);
        assert_int_equal(salun_train_step(m, TINY_BATCH + 1, inputs, outputs, 0.1f, &err), SALUN_BAD_INPUT);
        salun_destroy(m);
        salun_destroy(two);
    }
}

typedef struct { int calls; char text[256]; } Probed;

static void probe(void *arg, const char *tap, const char *kernel, const float *value, int64_t count) {
    Probed *p = arg;
    size_t used = strlen(p->text);
    assert_non_null(value);
    snprintf(p->text + used, sizeof p->text - used, "%s %s %d; ", tap, kernel, (int)count);
}

static void test_probe(void **state) {
    (void)state;
    float x[TINY_BATCH * TINY_IN] = { 0 }, target[TINY_BATCH * TINY_OUT] = { 0 }, y[TINY_BATCH * TINY_OUT], loss;
    Probed p = { 0 };
    SalunModel *m = model_new(&tiny_program, 2);
    salun_set_probe(m, probe, &p);
    const void *inputs[] = { x, target };
    void *outputs[] = { &loss, y };
    assert_int_equal(salun_step(m, 5, inputs, outputs, NULL), 0);
    assert_string_equal(p.text, "fc backward 15; loss combine 1; ");
    salun_destroy(m);
}

/* A program of pieces gives what the whole batch gives, and every call once for each of them. */
static void test_pieces(void **state) {
    (void)state;
    float x[TINY_BATCH * TINY_IN], whole[TINY_BATCH * TINY_OUT], y[TINY_BATCH * TINY_OUT];
    SalunProgram p = tiny_program;
    p.piece = 7;
    SalunModel *m = model_new(&p, 2), *all = model_new(&tiny_program, 2);
    tiny_fill(x, TINY_BATCH * TINY_IN, 1);
    infer(all, TINY_BATCH, x, whole);
    for (int64_t n = 1; n <= TINY_BATCH; n += 3) {
        for (int i = 0; i < TINY_BATCH * TINY_OUT; i++)
            y[i] = -77;
        infer(m, n, x, y);
        assert_memory_equal(y, whole, (size_t)n * TINY_OUT * sizeof *y);
        assert_true(n == TINY_BATCH || y[n * TINY_OUT] == -77);
    }
    Probed probed = { 0 };
    double seconds = -1;
    salun_set_probe(m, probe, &probed);
    salun_set_profile(m, SALUN_BOUND_INFER, &seconds);
    infer(m, 16, x, y);
    assert_string_equal(probed.text, "fc linear 21; fc linear 21; fc linear 6; ");
    assert_true(seconds > 0);
    salun_destroy(m);
    salun_destroy(all);
    p.piece = TINY_BATCH + 1;
    assert_null(salun_create(&p, 1, NULL));
}

static void test_wrong_use(void **state) {
    (void)state;
    SalunError err;
    float x[TINY_IN] = { 0 }, y[TINY_OUT];
    const void *inputs[] = { x, NULL }, *none[] = { NULL };
    void *outputs[] = { y, y };
    SalunModel *m = model_new(&tiny_program, 1);
    assert_int_equal(salun_infer(m, 0, inputs, outputs, &err), SALUN_BAD_INPUT);
    assert_string_equal(err.text, "Tiny: n is 0, it was compiled for 1 to 64");
    assert_int_equal(salun_infer(m, 65, inputs, outputs, NULL), SALUN_BAD_INPUT);
    assert_int_equal(salun_infer(m, 1, none, outputs, &err), SALUN_BAD_INPUT);
    assert_int_equal(salun_step(m, 1, inputs, outputs, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "input 1 is missing"));
    salun_destroy(m);

    SalunProgram p = tiny_program;
    p.step.count = p.update.count = 0;
    m = model_new(&p, 1);
    assert_int_equal(salun_step(m, 1, inputs, outputs, &err), SALUN_FAIL);
    assert_string_equal(err.text, "Tiny was not compiled for training");
    assert_int_equal(salun_update(m, 1, &err), SALUN_FAIL);
    int64_t floats = 1;
    assert_null(salun_table(m, SALUN_SLOTS, &floats));
    assert_int_equal(floats, 0);
    salun_destroy(m);
}

static void test_damaged_programs(void **state) {
    (void)state;
    SalunError err;
    SalunProgram p = tiny_program;
    p.abi++;
    assert_null(salun_create(&p, 1, &err));
    assert_non_null(strstr(err.text, "version"));
    p = tiny_program;
    p.prepared_bytes = -64;
    p.table_floats[SALUN_PARAMS] = 10;
    assert_null(salun_create(&p, 1, &err));
    SalunPlace far[] = { { SALUN_BLOCK, 0, 1 << 30 } };
    SalunCall call = { tiny_update, far, 1, -1, "far", 1, 0, 1, -1, 0, 0 };
    p = tiny_program;
    p.infer = (SalunEntry){ "infer", &call, 1 };
    assert_null(salun_create(&p, 1, &err));
    assert_string_equal(err.text, "Tiny: argument 0 of call 0 (far) of infer lies outside its table");
}

static void test_cpu(void **state) {
    (void)state;
    SalunError err;
    SalunProgram p = tiny_program;
    assert_int_equal(salun_cpu_check(&p, &err), 0);
    p.cpu = 1u << 20 | 1u << 21;
    assert_int_equal(salun_cpu_check(&p, &err), 2);
    assert_int_equal(err.code, SALUN_NO_CPU);
    assert_null(salun_create(&p, 1, &err));
    assert_int_equal(err.code, SALUN_NO_CPU);
#if defined(__x86_64__)
    p.cpu = SALUN_CPU_SSE2;
    assert_int_equal(salun_cpu_check(&p, &err), 0);
    p.cpu = SALUN_CPU_NEON;
    assert_int_equal(salun_cpu_check(&p, &err), 1);
    assert_non_null(strstr(err.text, "NEON"));
#endif
}

/* Read by AddressSanitizer, when it is there. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}

static void test_no_memory(void **state) {
    (void)state;
    SalunError err;
    SalunProgram p = tiny_program;
    p.block_bytes = (int64_t)1 << 60;
    assert_null(salun_create(&p, 1, &err));
    assert_int_equal(err.code, SALUN_NO_SPACE);
}

/* ---- denormals ---- */

static _Atomic int flushed, kept;

static void denormal_kernel(void *const *arg, const SalunRun *run, int64_t task) {
    volatile float tiny = 1e-30f, product = tiny * 1e-10f;
    (void)arg, (void)run, (void)task;
    if (product == 0)
        flushed++;
    else
        kept++;
}

static void check_denormals(const char *numeric, bool flush) {
    SalunCall call = { denormal_kernel, NULL, 0, -1, "denormal", 64, 0, 1e6, -1, 0, 0 };
    SalunProgram p = tiny_program;
    float x[TINY_IN] = { 0 }, y[TINY_OUT];
    p.numeric = numeric;
    p.infer = (SalunEntry){ "infer", &call, 1 };
    SalunModel *m = model_new(&p, 3);
    flushed = kept = 0;
    uint64_t before = salun_float_mode(!flush);
    infer(m, 1, x, y);
    volatile float tiny = 1e-30f, product = tiny * 1e-10f;
    assert_int_equal(product == 0, !flush);               /* the caller's mode is back */
    salun_float_restore(before);
    assert_int_equal(flushed, flush ? 64 : 0);
    assert_int_equal(kept, flush ? 0 : 64);
    salun_destroy(m);
}

static void test_denormals(void **state) {
    (void)state;
    check_denormals("w16 fma fast", true);
    check_denormals("w16 fma strict", false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_once), cmocka_unit_test(test_sleepers_wake), cmocka_unit_test(test_fork),
        cmocka_unit_test(test_many_pools),
        cmocka_unit_test(test_pool_errors), cmocka_unit_test(test_infer), cmocka_unit_test(test_same_bits_for_any_threads),
        cmocka_unit_test(test_several_models_at_once), cmocka_unit_test(test_prepare_follows_changes), cmocka_unit_test(test_probe),
        cmocka_unit_test(test_train_step), cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_wrong_use), cmocka_unit_test(test_damaged_programs), cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_denormals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
