/* test_prepared.c - weights prepared for a program (prepared.h): the same bits without preparing; refused by every other program;
 * damaged in every byte of what is checked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model.h"
#include "safetensors.h"
#include "tiny_program.h"

static char folder[] = "/tmp/test_prepared.XXXXXX";

static const char *path_of(const char *name) {
    static char path[2][128];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* Tiny without training: the programs that may keep prepared weights. */
static SalunProgram deployed(void) {
    SalunProgram p = tiny_program;
    p.prepared_hash = 77;
    p.step.count = p.update.count = 0;
    p.recipe = NULL;
    return p;
}

static SalunModel *model_new(const SalunProgram *p, uint64_t seed) {
    SalunError err;
    SalunModel *m = salun_create(p, 2, &err);
    if (!m)
        fail_msg("%s", err.text);
    salun_init(m, seed);
    salun_table(m, SALUN_STATES, NULL)[1] = (float)seed;
    return m;
}

static void infer(SalunModel *m, float y[TINY_BATCH * TINY_OUT]) {
    float x[TINY_BATCH * TINY_IN];
    const void *inputs[] = { x };
    void *outputs[] = { y };
    SalunError err;
    tiny_fill(x, TINY_BATCH * TINY_IN, 3);
    if (salun_infer(m, TINY_BATCH, inputs, outputs, &err))
        fail_msg("%s", err.text);
}

static void load(SalunModel *m, const char *name) {
    SalunError err;
    if (salun_load_file(m, path_of(name), NULL, NULL, NULL, &err))
        fail_msg("%s", err.text);
}

static unsigned char *read_whole(const char *name, size_t *bytes) {
    FILE *file = fopen(path_of(name), "rb");
    assert_non_null(file);
    struct stat st;
    assert_int_equal(fstat(fileno(file), &st), 0);
    *bytes = (size_t)st.st_size;
    unsigned char *data = aligned_alloc(SALUN_ALIGN, (*bytes + SALUN_ALIGN) / SALUN_ALIGN * SALUN_ALIGN);
    assert_int_equal(fread(data, 1, *bytes, file), *bytes);
    fclose(file);
    return data;
}

static void expect_same(const float *want, SalunModel *m) {
    float y[TINY_BATCH * TINY_OUT];
    infer(m, y);
    assert_memory_equal(want, y, sizeof y);
}

/* From a file, from memory, and as a part of the program: the bits of the model that wrote it, whatever was there before. */
static void test_same_bits(void **state) {
    (void)state;
    SalunProgram p = deployed(), whole = p;
    SalunError err;
    float want[TINY_BATCH * TINY_OUT], other[TINY_BATCH * TINY_OUT];
    SalunModel *a = model_new(&p, 1), *b = model_new(&p, 2);
    infer(a, want);
    infer(b, other);
    assert_memory_not_equal(want, other, sizeof want);
    assert_int_equal(salun_save_prepared(a, path_of("w.prepared"), &err), 0);
    load(b, "w.prepared");
    expect_same(want, b);
    assert_int_equal(salun_prepare(b, &err), 0);
    expect_same(want, b);

    size_t bytes;
    unsigned char *data = read_whole("w.prepared", &bytes);
    unsigned char *copy = malloc(bytes + 1);
    memcpy(copy + 1, data, bytes);
    SalunModel *c = model_new(&p, 3);
    assert_int_equal(salun_load_memory(c, copy + 1, bytes, "memory", NULL, NULL, NULL, &err), 0);
    memset(copy, 0xff, bytes + 1);
    free(copy);
    expect_same(want, c);
    whole.weights = data;
    whole.weights_end = data + bytes;
    SalunModel *d = model_new(&whole, 4);
    assert_int_equal(salun_load_memory(d, data, bytes, "embedded", NULL, NULL, NULL, &err), 0);
    expect_same(want, d);
    salun_destroy(a);
    salun_destroy(b);
    salun_destroy(c);
    salun_destroy(d);
    free(data);
}

/* The weights of a model with something behind them, so that whole vectors may be read everywhere in fc.weight. */
static void save_long(SalunModel *m, const char *name) {
    static const int64_t tracked[SALUN_ALIGN / 8];
    const float *value = salun_table(m, SALUN_PARAMS, NULL);
    SalunError err;
    const SalunStOut t[] = {
        { "fc.weight", SALUN_ST_F32, 2, { TINY_OUT, TINY_IN }, value + TINY_W }, { "fc.bias", SALUN_ST_F32, 1, { TINY_OUT }, value + TINY_B },
        { "act.a", SALUN_ST_F32, 1, { 1 }, value + TINY_A },
        { "center.mean", SALUN_ST_F32, 1, { TINY_OUT }, salun_table(m, SALUN_STATES, NULL) },
        { "center.num_batches_tracked", SALUN_ST_I64, 1, { SALUN_ALIGN / 8 }, tracked },
    };
    assert_int_equal(salun_st_save(path_of(name), t, 5, NULL, 0, &err), 0);
}

/* Where nobody asks for the tables, prepare reads the weights where their file lies: the same bits, and the same prepared file. */
static void test_read_in_place(void **state) {
    (void)state;
    SalunProgram p = deployed();
    SalunError err;
    int64_t floats = 5;
    size_t bytes, again;
    float want[TINY_BATCH * TINY_OUT], second[TINY_BATCH * TINY_OUT];
    SalunModel *a = model_new(&p, 1), *b = model_new(&p, 2), *c = salun_create(&p, 2, &err);
    infer(a, want);
    infer(b, second);
    save_long(a, "a.safetensors");
    save_long(b, "b.safetensors");
    assert_int_equal(salun_save_prepared(a, path_of("a.prepared"), &err), 0);
    c->infer_only = true;
    load(c, "a.safetensors");
    assert_true(c->lean);
    assert_true(((float *)c->region[SALUN_PARAMS])[TINY_W] == 0);
    assert_null(salun_table(c, SALUN_PARAMS, &floats));
    assert_int_equal(floats, 0);
    assert_int_equal(salun_save_file(c, SALUN_PARAMS, path_of("x.safetensors"), &err), SALUN_FAIL);
    expect_same(want, c);
    assert_int_equal(salun_prepare(c, &err), 0);
    expect_same(want, c);
    assert_int_equal(salun_save_prepared(c, path_of("c.prepared"), &err), 0);
    unsigned char *x = read_whole("a.prepared", &bytes), *y = read_whole("c.prepared", &again);
    assert_int_equal(bytes, again);
    assert_memory_equal(x, y, bytes);
    unlink(path_of("a.safetensors"));
    load(c, "b.safetensors");
    expect_same(second, c);
    load(c, "a.prepared");
    expect_same(want, c);
    assert_int_equal(salun_load_file(c, path_of("b.safetensors"), "center.*", NULL, NULL, &err), 0);
    assert_false(c->lean);
    assert_non_null(salun_table(c, SALUN_PARAMS, NULL));
    load(c, "b.safetensors");
    salun_init(c, 2);
    salun_table(c, SALUN_STATES, NULL)[1] = 2;
    expect_same(second, c);
    salun_destroy(a);
    salun_destroy(b);
    salun_destroy(c);
    free(x);
    free(y);
}

/* A model of prepared weights is not a model of parameters, until it gets some. */
static void test_life(void **state) {
    (void)state;
    SalunProgram p = deployed();
    SalunError err;
    int64_t floats = 5;
    float want[TINY_BATCH * TINY_OUT], second[TINY_BATCH * TINY_OUT];
    SalunModel *a = model_new(&p, 1), *b = model_new(&p, 2);
    infer(a, want);
    infer(b, second);
    assert_int_equal(salun_save_prepared(a, path_of("1.prepared"), &err), 0);
    assert_int_equal(salun_save_prepared(b, path_of("2.prepared"), &err), 0);
    assert_int_equal(salun_save_file(b, SALUN_PARAMS, path_of("2.safetensors"), &err), 0);
    load(b, "1.prepared");
    assert_null(salun_table(b, SALUN_PARAMS, &floats));
    assert_int_equal(floats, 0);
    assert_int_equal(salun_save_file(b, SALUN_PARAMS, path_of("x.safetensors"), &err), SALUN_FAIL);
    assert_non_null(strstr(err.text, "prepared"));
    assert_int_equal(salun_save_prepared(b, path_of("again.prepared"), &err), 0);
    load(b, "2.prepared");
    expect_same(second, b);
    load(b, "again.prepared");
    expect_same(want, b);
    assert_int_equal(salun_load_file(b, path_of("nowhere"), NULL, NULL, NULL, &err), SALUN_BAD_INPUT);
    expect_same(want, b);
    load(b, "2.safetensors");
    expect_same(second, b);
    assert_non_null(salun_table(b, SALUN_PARAMS, NULL));
    load(b, "1.prepared");
    salun_init(b, 2);
    assert_true(salun_table(b, SALUN_STATES, NULL)[1] == 0);
    salun_destroy(a);
    salun_destroy(b);
}

static void refuse(const SalunProgram *p, const char *name, const char *allow, const char *words) {
    SalunError err;
    float before[TINY_BATCH * TINY_OUT];
    SalunModel *m = model_new(p, 9);
    infer(m, before);
    if (salun_load_file(m, path_of(name), allow, NULL, NULL, &err) != SALUN_BAD_INPUT || !strstr(err.text, words))
        fail_msg("\"%s\" was expected, not \"%s\"", words, err.text);
    expect_same(before, m);
    salun_destroy(m);
}

static void test_refused(void **state) {
    (void)state;
    SalunProgram p = deployed(), other = p;
    SalunError err;
    SalunModel *m = model_new(&p, 1);
    assert_int_equal(salun_save_prepared(m, path_of("w.prepared"), &err), 0);
    salun_destroy(m);
    other.prepared_hash++;
    refuse(&other, "w.prepared", NULL, "prepared by another program than this Tiny");
    refuse(&p, "w.prepared", "fc.*", "no tensor can be left out");
    refuse(&tiny_program, "w.prepared", NULL, "programs that only infer");
    m = model_new(&tiny_program, 1);
    assert_int_equal(salun_save_prepared(m, path_of("x.prepared"), &err), SALUN_FAIL);
    assert_non_null(strstr(err.text, "Tiny is compiled for training"));
    assert_int_equal(access(path_of("x.prepared"), F_OK), -1);
    salun_destroy(m);
    m = model_new(&p, 1);
    assert_int_equal(salun_save_prepared(m, path_of("no/such/folder"), &err), SALUN_BAD_INPUT);
    salun_destroy(m);
    assert_int_equal(truncate(path_of("w.prepared"), 2048), 0);
    refuse(&p, "w.prepared", NULL, "the file has 2048 bytes of");
}

/* Every cut, and every flipped bit of head and table. A table that claims more, under a right checksum, is the program's to find. */
static void test_damaged(void **state) {
    (void)state;
    SalunProgram p = deployed();
    SalunError err;
    SalunModel *m = model_new(&p, 1);
    assert_int_equal(salun_save_prepared(m, path_of("w.prepared"), &err), 0);
    size_t bytes, head = 48 + 4 * 32;            /* prepared, bias, a, mean */
    unsigned char *data = read_whole("w.prepared", &bytes);
    for (size_t cut = 8; cut < bytes; cut += cut < head ? 1 : 97)
        assert_int_equal(salun_load_memory(m, data, cut, "cut", NULL, NULL, NULL, &err), SALUN_BAD_INPUT);
    for (size_t bit = 8 * 8; bit < 8 * head; bit++) {
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_int_equal(salun_load_memory(m, data, bytes, "flipped", NULL, NULL, NULL, &err), SALUN_BAD_INPUT);
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    assert_int_equal(salun_load_memory(m, data, bytes, "sound", NULL, NULL, NULL, &err), 0);
    SalunTensor tensors[4];
    memcpy(tensors, tiny_tensors, sizeof tensors);
    tensors[1].count = 16;
    SalunProgram wider = p;
    wider.tensors = tensors;
    SalunModel *w = model_new(&wider, 1);
    assert_int_equal(salun_load_memory(w, data, bytes, "other pieces", NULL, NULL, NULL, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "damaged"));
    salun_destroy(w);
    salun_destroy(m);
    free(data);
}

/* The last test: what was cut stays known. Missing numbers read as zeros, and are told. */
static void test_cut_while_mapped(void **state) {
    (void)state;
    SalunProgram p = deployed();
    SalunError err;
    float y[TINY_BATCH * TINY_OUT];
    SalunModel *m = model_new(&p, 1);
    assert_int_equal(salun_save_prepared(m, path_of("w.prepared"), &err), 0);
    salun_map_guard();
    load(m, "w.prepared");
    assert_int_equal(salun_map_check(&err), 0);
    assert_int_equal(truncate(path_of("w.prepared"), 0), 0);
    infer(m, y);
    for (int i = 0; i < TINY_BATCH * TINY_OUT; i++)
        assert_true(y[i] == 0);
    assert_int_equal(salun_map_check(&err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "w.prepared: the file was cut short"));
    salun_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits), cmocka_unit_test(test_read_in_place), cmocka_unit_test(test_life), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_damaged), cmocka_unit_test(test_cut_while_mapped),
    };
    if (!mkdtemp(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[160];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) ? 1 : failed;
}
