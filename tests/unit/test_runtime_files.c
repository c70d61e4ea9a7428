/* test_runtime_files.c - weight files and .npy: round trips, the rules, hostile bytes, full disks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "npy.h"
#include "safetensors.h"
#include "tiny_program.h"

static char folder[64];
static unsigned char *opened;                /* the bytes that open_text made last */

static const char *path_of(const char *name) {
    static char path[2][512];
    static int turn;
    char *p = path[turn ^= 1];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/salun-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    free(opened);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlink(path_of(e->d_name));
    closedir(d);
    return rmdir(folder);
}

static void write_file(const char *name, const void *data, size_t bytes) {
    unlink(path_of(name));                   /* some file systems sync a file that is overwritten */
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    fclose(f);
}

static size_t read_whole(const char *name, unsigned char *data, size_t room) {
    FILE *f = fopen(path_of(name), "rb");
    assert_non_null(f);
    size_t bytes = fread(data, 1, room, f);
    fclose(f);
    return bytes;
}

/* ---- safetensors: hand-written files ---- */

/* A file of a header and `data` bytes behind it, 0, 1, 2 ... */
static SalunSt *open_text(const char *header, size_t data, SalunError *err) {
    static unsigned char bytes[1 << 16];
    size_t length = strlen(header);
    memset(bytes, 0, 8);
    bytes[0] = (unsigned char)length;
    bytes[1] = (unsigned char)(length >> 8);
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data; i++)
        bytes[8 + length + i] = (unsigned char)i;
    free(opened);
    opened = malloc(8 + length + data);                          /* so that a byte read too far is seen */
    memcpy(opened, bytes, 8 + length + data);
    return salun_st_memory(opened, 8 + length + data, "f", err);
}

static void refused(const char *header, size_t data, const char *why) {
    SalunError err = { "", 0 };
    SalunSt *st = open_text(header, data, &err);
    if (st || !strstr(err.text, why) || err.code != SALUN_BAD_INPUT)
        fail_msg("%s: \"%s\" was expected, not \"%s\"", header, why, st ? "success" : err.text);
}

static void accepted(const char *header, size_t data) {
    SalunError err = { "", 0 };
    SalunSt *st = open_text(header, data, &err);
    if (!st)
        fail_msg("%s: %s", header, err.text);
    if (salun_st_count(st))
        assert_non_null(salun_st_find(st, salun_st_at(st, 0)->name));
    salun_st_close(st);
}

#define A(begin, end) "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" #begin "," #end "]}"
#define B(begin, end) "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" #begin "," #end "]}"
#define ONE(dtype, shape, offsets) "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void test_sound_headers(void **state) {
    (void)state;
    accepted("{}", 0);
    accepted("{}     ", 0);
    accepted("{\"__metadata__\":{}}", 0);
    accepted("{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\\u00e9\\n\"}," A(0, 8) "}", 8);
    accepted("{" A(8, 16) "," B(0, 8) "}", 16);
    accepted("{ \"a\" : { \"shape\" : [ 2 ] ,\n\"data_offsets\": [0, 8], \"dtype\": \"F32\" } }", 8);
    accepted(ONE("\"F32\"", "[]", "[0,4]"), 4);
    accepted(ONE("\"F64\"", "[0,5]", "[0,0]"), 0);
    accepted(ONE("\"F16\"", "[3]", "[0,6]"), 6);
}

static void test_hostile_headers(void **state) {
    (void)state;
    refused("", 0, "no JSON object");
    refused("[]", 0, "no JSON object");
    refused(" {}", 0, "no JSON object");
    refused("{", 0, "a string is missing");
    refused("{}x", 0, "something stands behind");
    refused("{" A(0, 8), 8, "no end");
    refused("{" A(0, 8) ",}", 8, "a string is missing");
    refused("{" A(0, 8) "," A(8, 16) "}", 16, "a: is there twice");
    refused("{" A(0, 8) "," B(4, 12) "}", 12, "overlap");
    refused("{" A(0, 8) "," B(0, 8) "}", 8, "overlap");
    refused("{" A(0, 8) "," B(12, 20) "}", 20, "belong to no tensor");
    refused("{" A(4, 12) "}", 12, "belong to no tensor");
    refused("{" A(0, 8) "}", 12, "the last 4 bytes belong to no tensor");
    refused("{" A(0, 8) "}", 7, "outside the file");
    refused("{" A(8, 0) "}", 8, "outside the file");
    refused("{" A(0, 9223372036854775807) "}", 8, "outside the file");
    refused("{" A(0, 9223372036854775808) "}", 8, "too large");
    refused("{" A(0, 4) "}", 4, "do not fit its shape and dtype");
    refused("{" A(-8, 0) "}", 8, "natural number");
    refused("{" A(0.0, 8) "}", 8, "");
    refused("{" A(00, 8) "}", 8, "natural number");
    refused(ONE("\"F31\"", "[2]", "[0,8]"), 8, "unknown dtype 'F31'");
    refused(ONE("4", "[2]", "[0,8]"), 8, "a string is missing");
    refused(ONE("\"F32\"", "2", "[0,8]"), 8, "a list is missing");
    refused(ONE("\"F32\"", "[2,]", "[0,8]"), 8, "natural number");
    refused(ONE("\"F32\"", "[2", "[0,8]"), 8, "natural number");
    refused(ONE("\"F32\"", "[2 2]", "[0,8]"), 8, "no end");
    refused(ONE("\"F32\"", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8, "too long");
    refused(ONE("\"F32\"", "[4294967296,4294967296]", "[0,8]"), 8, "its shape is too large");
    refused(ONE("\"F64\"", "[1152921504606846976,2]", "[0,8]"), 8, "its shape is too large");
    refused(ONE("\"F32\"", "[2]", "[0]"), 8, "each once");
    refused(ONE("\"F32\"", "[2]", "[0,8,8]"), 8, "too long");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "each once");
    refused("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "each once");
    refused("{\"a\":{\"x\":1}}", 8, "each once");
    refused("{\"a\":[]}", 8, "tensor a: it is no object");
    refused("{\"a\"}", 8, "a colon is missing");
    refused("{\"__metadata__\":{\"a\":1}}", 0, "a string is missing");
    refused("{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, "twice");
    refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice");
    refused("{\"\\x\":{}}", 0, "escape");
    refused("{\"\\u00\":{}}", 0, "escape");
    refused("{\"\\u0000\":{}}", 0, "escape");
    refused("{\"\\ud800x\":{}}", 0, "escape");
    refused("{\"\\", 0, "escape");
    refused("{\"\xff\":{}}", 0, "UTF-8");
    refused("{\"\xc3", 0, "UTF-8");
    refused("{\"\xed\xa0\x80\":{}}", 0, "UTF-8");
    refused("{\"a\nb\":{}}", 0, "UTF-8");
    refused("{\"a", 0, "no end");
}

static void test_hostile_sizes(void **state) {
    (void)state;
    SalunError err;
    unsigned char bytes[16] = { 2, 0, 0, 0, 0, 0, 0, 0, '{', '}' };
    for (size_t size = 0; size < 10; size++)
        assert_null(salun_st_memory(bytes, size, "f", &err));
    bytes[0] = 9;
    assert_null(salun_st_memory(bytes, 16, "f", &err));
    assert_non_null(strstr(err.text, "cut off"));
    memset(bytes, 0xff, 8);
    assert_null(salun_st_memory(bytes, 16, "f", &err));
    assert_non_null(strstr(err.text, "a header of 18446744073709551615 bytes"));
    assert_null(salun_st_open(path_of("nowhere"), &err));
    assert_int_equal(err.code, SALUN_BAD_INPUT);
    assert_null(salun_st_open(folder, &err));
    assert_non_null(strstr(err.text, "not a regular file"));
}

static void test_widths(void **state) {
    (void)state;
    static const uint16_t half[] = { 0x3c00, 0xc000, 0x0001, 0x7c00, 0x03ff, 0x7bff }, brain[] = { 0x3f80, 0xc000 };
    static const double wide[] = { 0.1, -1e300 };
    static const float want[] = { 1, -2, 0x1p-24f, INFINITY, 1023 * 0x1p-24f, 65504 };
    float out[6];
    SalunStTensor t = { .type = SALUN_ST_F16, .data = (const unsigned char *)half };
    salun_st_floats(&t, 0, 6, out);
    assert_memory_equal(out, want, sizeof want);
    t = (SalunStTensor){ .type = SALUN_ST_BF16, .data = (const unsigned char *)brain };
    salun_st_floats(&t, 0, 2, out);
    assert_memory_equal(out, want, 2 * sizeof *want);
    t = (SalunStTensor){ .type = SALUN_ST_F64, .data = (const unsigned char *)wide };
    salun_st_floats(&t, 0, 2, out);
    assert_true(out[0] == 0.1f && out[1] == -INFINITY);
}

/* ---- weights ---- */

static char notes[512];

static void note(const char *text, void *arg) {
    (void)arg;
    strncat(notes, text, sizeof notes - strlen(notes) - 2);
    strcat(notes, "\n");
}

static SalunModel *model_new(uint64_t seed) {
    SalunModel *m = salun_create(&tiny_program, 1, NULL);
    assert_non_null(m);
    salun_init(m, seed);
    return m;
}

static float *params(SalunModel *m) {
    return salun_table(m, SALUN_PARAMS, NULL);
}

static void test_weights_round_trip(void **state) {
    (void)state;
    SalunError err;
    SalunModel *a = model_new(1), *b = model_new(2);
    params(a)[TINY_A] = 2.5f;
    salun_table(a, SALUN_STATES, NULL)[1] = 7;
    assert_int_equal(salun_save_file(a, SALUN_PARAMS, path_of("w.safetensors"), &err), 0);
    if (salun_load_file(b, path_of("w.safetensors"), NULL, NULL, NULL, &err))
        fail_msg("%s", err.text);
    assert_memory_equal(params(a), params(b), TINY_FLOATS * 4);
    assert_true(salun_table(b, SALUN_STATES, NULL)[1] == 7);
    assert_true(fabsf(salun_table(b, SALUN_RAW, NULL)[0] - logf(2.5f)) < 1e-6f);
    assert_int_equal(salun_save_file(a, SALUN_GRADS, path_of("g.safetensors"), &err), 0);
    SalunSt *st = salun_st_open(path_of("g.safetensors"), &err);
    assert_int_equal(salun_st_count(st), 3);
    assert_string_equal(salun_st_metadata(st, "network"), "Tiny");
    assert_null(salun_st_find(st, "center.mean"));
    salun_st_close(st);
    assert_int_equal(salun_save_file(a, SALUN_SLOTS, path_of("s.safetensors"), &err), SALUN_FAIL);
    salun_destroy(a);
    salun_destroy(b);
}

/* Saves a variant of Tiny's weights and loads it; returns the code, with err and notes. */
typedef struct { SalunStOut t[6]; int count; } Variant;
static float weight[48], bias[3] = { 1, 2, 3 }, slope[1] = { 2 }, mean[3];

static Variant variant(void) {
    return (Variant){ { { "fc.weight", SALUN_ST_F32, 2, { 3, 16 }, weight }, { "fc.bias", SALUN_ST_F32, 1, { 3 }, bias },
                        { "act.a", SALUN_ST_F32, 1, { 1 }, slope }, { "center.mean", SALUN_ST_F32, 1, { 3 }, mean } }, 4 };
}

static int load(const Variant *v, const char *allow, SalunModel *m, SalunError *err) {
    assert_int_equal(salun_st_save(path_of("v.safetensors"), v->t, v->count, NULL, 0, err), 0);
    notes[0] = 0;
    return salun_load_file(m, path_of("v.safetensors"), allow, note, NULL, err);
}

static void load_fails(const Variant *v, const char *why) {
    SalunError err;
    SalunModel *m = model_new(3);
    float before[TINY_FLOATS];
    memcpy(before, params(m), sizeof before);
    int code = load(v, NULL, m, &err);
    if (code != SALUN_BAD_INPUT || !strstr(err.text, why))
        fail_msg("\"%s\" was expected, not \"%s\"", why, code ? err.text : "success");
    assert_memory_equal(before, params(m), sizeof before);
    salun_destroy(m);
}

static void test_weights_rules(void **state) {
    (void)state;
    SalunError err;
    SalunModel *m = model_new(3);
    Variant v = variant();
    int64_t batches = 5;
    v.t[v.count++] = (SalunStOut){ "bn.num_batches_tracked", SALUN_ST_I64, 0, { 0 }, &batches };
    assert_int_equal(load(&v, NULL, m, &err), 0);
    assert_string_equal(notes, "");
    assert_true(params(m)[TINY_B + 2] == 3 && params(m)[TINY_A] == 2);

    v = variant();
    double wide[3] = { 4, 5, 6 };
    uint16_t half[3] = { 0x3c00, 0x3c00, 0x3c00 };
    v.t[1].type = SALUN_ST_F64, v.t[1].data = wide;
    v.t[3].type = SALUN_ST_BF16, v.t[3].data = half;
    assert_int_equal(load(&v, NULL, m, &err), 0);
    assert_non_null(strstr(notes, "1 tensor converted from F64 to F32"));
    assert_non_null(strstr(notes, "1 tensor converted from BF16 to F32"));
    assert_true(params(m)[TINY_B + 2] == 6);
    assert_int_equal(salun_load_file(m, path_of("v.safetensors"), NULL, NULL, NULL, NULL), 0);

    v = variant();
    v.t[0].dim[0] = 2;
    v.t[1].name = "head.bias";
    params(m)[TINY_B] = 99;
    assert_int_equal(load(&v, "*[bt]", m, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "not in the network: head.bias"));
    v.t[1].name = "fc.extra";
    if (load(&v, "fc.*", m, &err))
        fail_msg("%s", err.text);
    assert_non_null(strstr(notes, "left at the initial value: fc.weight, fc.bias"));
    assert_true(params(m)[TINY_B] == 99);
    salun_destroy(m);
}

static void test_weights_that_do_not_fit(void **state) {
    (void)state;
    Variant v = variant();
    v.count = 2;
    load_fails(&v, "missing: act.a, center.mean");
    v = variant();
    v.t[v.count++] = (SalunStOut){ "layer9.weight", SALUN_ST_F32, 1, { 3 }, bias };
    load_fails(&v, "not in the network: layer9.weight");
    v = variant();
    v.t[0].dim[0] = 16, v.t[0].dim[1] = 3;
    load_fails(&v, "wrong shape: fc.weight is [16,3], not [3,16]");
    v = variant();
    v.t[0].rank = 1, v.t[0].dim[0] = 48;
    load_fails(&v, "wrong shape: fc.weight is [48], not [3,16]");
    v = variant();
    int32_t whole[3] = { 1, 2, 3 };
    v.t[1].type = SALUN_ST_I32, v.t[1].data = whole;
    load_fails(&v, "not of floating-point numbers: fc.bias is I32");
    v = variant();
    v.t[1].name = "fc.b\nias";
    load_fails(&v, "fc.b?ias");
    static const float outside[] = { 0, -1, NAN, INFINITY };
    static const char *const text[] = { "act.a holds 0 ", "act.a holds -1 ", "act.a holds nan ", "act.a holds inf " };
    for (int i = 0; i < 4; i++) {
        v = variant();
        v.t[2].data = &outside[i];
        load_fails(&v, text[i]);
        load_fails(&v, "must be > 0");
    }
}

static void test_many_names(void **state) {
    (void)state;
    SalunError err;
    SalunModel *m = model_new(1);
    SalunStOut t[100];
    char names[100][16];
    for (int i = 0; i < 100; i++) {
        snprintf(names[i], sizeof names[i], "extra%02d", i);
        t[i] = (SalunStOut){ names[i], SALUN_ST_F32, 1, { 3 }, bias };
    }
    assert_int_equal(salun_st_save(path_of("m.safetensors"), t, 100, NULL, 0, &err), 0);
    assert_int_equal(salun_load_file(m, path_of("m.safetensors"), NULL, NULL, NULL, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "extra08, extra09 and 90 more"));
    salun_destroy(m);
}

/* Every cut and every flipped bit of a file's header: success or one line, never a crash. */
static void test_every_cut_and_flip(void **state) {
    (void)state;
    static unsigned char bytes[1 << 14];
    SalunModel *m = model_new(1);
    SalunError err;
    assert_int_equal(salun_save_file(m, SALUN_PARAMS, path_of("w.safetensors"), &err), 0);
    size_t size = read_whole("w.safetensors", bytes, sizeof bytes);
    assert_true(size > 300 && size < sizeof bytes);
    for (size_t cut = 0; cut < size; cut++) {
        unsigned char *exact = malloc(cut ? cut : 1);
        memcpy(exact, bytes, cut);
        assert_int_equal(salun_load_memory(m, exact, cut, "f", NULL, NULL, NULL, &err), SALUN_BAD_INPUT);
        free(exact);
    }
    size_t header = 8 + (bytes[0] | (size_t)bytes[1] << 8);
    unsigned char *exact = malloc(size);
    for (size_t at = 0; at < header; at++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(exact, bytes, size);
            exact[at] ^= (unsigned char)(1 << bit);
            int code = salun_load_memory(m, exact, size, "f", NULL, NULL, NULL, &err);
            assert_true(code == 0 || code == SALUN_BAD_INPUT);
            assert_true(code == 0 || strlen(err.text) > 5);
        }
    free(exact);
    salun_destroy(m);
}

/* ---- atomic writing ---- */

static int parts_left(void) {
    int count = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));)
        count += strstr(e->d_name, ".part") != NULL;
    closedir(d);
    return count;
}

static void test_full_disk(void **state) {
    (void)state;
    unsigned char before[4096], after[4096];
    SalunError err;
    SalunModel *m = model_new(1);
    assert_int_equal(salun_save_file(m, SALUN_PARAMS, path_of("w.safetensors"), &err), 0);
    size_t size = read_whole("w.safetensors", before, sizeof before);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    salun_init(m, 2);
    for (rlim_t limit = 0; limit < size; limit += 37) {
        small = (struct rlimit){ limit, old.rlim_max };
        setrlimit(RLIMIT_FSIZE, &small);
        int code = salun_save_file(m, SALUN_PARAMS, path_of("w.safetensors"), &err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(code, SALUN_NO_SPACE);
        assert_non_null(strstr(err.text, "w.safetensors: writing failed"));
        assert_int_equal(read_whole("w.safetensors", after, sizeof after), size);
        assert_memory_equal(before, after, size);
        assert_int_equal(parts_left(), 0);
    }
    assert_int_equal(salun_save_file(m, SALUN_PARAMS, "/dev/full", &err), SALUN_NO_SPACE);
    assert_int_equal(salun_save_file(m, SALUN_PARAMS, path_of("none/w"), &err), SALUN_BAD_INPUT);
    assert_int_equal(salun_save_file(m, SALUN_PARAMS, folder, &err), SALUN_BAD_INPUT);
    salun_destroy(m);
}

static void test_links_and_modes(void **state) {
    (void)state;
    SalunModel *m = model_new(1);
    struct stat st;
    write_file("real", "x", 1);
    chmod(path_of("real"), 0640);
    assert_int_equal(symlink("real", path_of("link")), 0);
    assert_int_equal(salun_save_file(m, SALUN_PARAMS, path_of("link"), NULL), 0);
    assert_int_equal(lstat(path_of("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(path_of("real"), &st), 0);
    assert_true(st.st_size > 100 && (st.st_mode & 0777) == 0640);
    salun_destroy(m);
}

/* A writer that is killed at any moment leaves a whole file. */
static void test_kill(void **state) {
    (void)state;
    SalunModel *m = model_new(1), *other = model_new(5);
    assert_int_equal(salun_save_file(m, SALUN_PARAMS, path_of("k.safetensors"), NULL), 0);
    for (int turn = 0; turn < 20; turn++) {
        pid_t child = fork();
        if (!child)
            for (;;)
                salun_save_file(m, SALUN_PARAMS, path_of("k.safetensors"), NULL);
        usleep(500 + 311u * (unsigned)turn);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        assert_int_equal(salun_load_file(other, path_of("k.safetensors"), NULL, NULL, NULL, NULL), 0);
        assert_memory_equal(params(m), params(other), TINY_FLOATS * 4);
    }
    assert_int_equal(salun_save_file(m, SALUN_PARAMS, path_of("k.safetensors"), NULL), 0);
    assert_int_equal(parts_left(), 0);
    salun_destroy(m);
    salun_destroy(other);
}

/* ---- npy ---- */

static void test_npy_round_trip(void **state) {
    (void)state;
    SalunError err;
    SalunNpy npy;
    SalunSink s;
    float x[6] = { 1, 2, 3, 4, 5, 6 };
    int64_t dim[] = { 2, 3 };
    assert_int_equal(salun_npy_create(&s, path_of("x.npy"), SALUN_NPY_F32, 2, dim, &err), 0);
    assert_int_equal(salun_sink_write(&s, x, sizeof x, &err), 0);
    assert_int_equal(salun_sink_commit(&s, &err), 0);
    if (salun_npy_open(&npy, path_of("x.npy"), &err))
        fail_msg("%s", err.text);
    assert_true(npy.type == SALUN_NPY_F32 && npy.rank == 2 && npy.dim[0] == 2 && npy.dim[1] == 3 && npy.count == 6);
    assert_memory_equal(npy.data, x, sizeof x);
    assert_true(((const char *)npy.data - (const char *)npy.map.data) % 64 == 0);
    salun_npy_close(&npy);
    assert_int_equal(salun_npy_create(&s, path_of("y.npy"), SALUN_NPY_I64, 1, dim, &err), 0);
    salun_sink_abort(&s);
    assert_int_equal(access(path_of("y.npy"), F_OK), -1);
    assert_int_equal(parts_left(), 0);
}

/* Writes version, a header padded to 64 bytes, and `data` bytes; opens it. */
static int open_npy(SalunNpy *npy, int version, const char *header, size_t data, SalunError *err) {
    unsigned char bytes[1024] = "\x93NUMPY";
    size_t begin = version > 1 ? 12 : 10, length = strlen(header);
    while ((begin + length) % 64)
        length++;
    memset(bytes + begin, ' ', length);
    memcpy(bytes + begin, header, strlen(header));
    bytes[6] = (unsigned char)version;
    bytes[8] = (unsigned char)length;
    bytes[9] = (unsigned char)(length >> 8);
    write_file("h.npy", bytes, begin + length + data);
    return salun_npy_open(npy, path_of("h.npy"), err);
}

#define NPY(descr, order, shape) "{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }"

static void npy_fails(const char *header, size_t data, const char *why) {
    SalunNpy npy;
    SalunError err = { "", 0 };
    int code = open_npy(&npy, 1, header, data, &err);
    if (code != SALUN_BAD_INPUT || !strstr(err.text, why))
        fail_msg("%s: \"%s\" was expected, not \"%s\"", header, why, code ? err.text : "success");
}

static void test_npy_headers(void **state) {
    (void)state;
    SalunNpy npy;
    SalunError err;
    for (int version = 1; version <= 3; version++) {
        if (open_npy(&npy, version, NPY("<f4", "False", "(2, 3)"), 24, &err))
            fail_msg("%s", err.text);
        salun_npy_close(&npy);
    }
    assert_int_equal(open_npy(&npy, 1, "{\"shape\":(),\"descr\":\"|u1\",\"fortran_order\":False}", 1, &err), 0);
    assert_true(npy.rank == 0 && npy.count == 1 && npy.type == SALUN_NPY_U8);
    salun_npy_close(&npy);
    assert_int_equal(open_npy(&npy, 1, NPY("<i8", "False", "(4,)"), 32, &err), 0);
    salun_npy_close(&npy);
    assert_int_equal(open_npy(&npy, 1, NPY("<i4", "False", "(0, 7)"), 0, &err), 0);
    salun_npy_close(&npy);
    npy_fails(NPY("<f8", "False", "(2,)"), 16, "elements of type '<f8'");
    npy_fails(NPY(">f4", "False", "(2,)"), 8, "elements of type '>f4'");
    npy_fails("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2,), }", 8, "no plain one");
    npy_fails(NPY("<f4", "True", "(2, 3)"), 24, "Fortran order");
    npy_fails(NPY("<f4", "Maybe", "(2, 3)"), 24, "neither True nor False");
    npy_fails(NPY("<f4", "False", "(2, 3)"), 23, "too short: float32 [2,3] takes 24 bytes, the file has 23");
    npy_fails(NPY("<f4", "False", "(2, 3)"), 25, "too long");
    npy_fails(NPY("<f4", "False", "(2, -3)"), 24, "no number");
    npy_fails(NPY("<f4", "False", "(2, 99999999999999999999)"), 24, "too large");
    npy_fails(NPY("<f4", "False", "(4294967296, 4294967296)"), 24, "too large");
    npy_fails(NPY("<i8", "False", "(2305843009213693952,)"), 24, "too large");
    npy_fails(NPY("<f4", "False", "(1,1,1,1,1,1,1,1,1)"), 4, "more than 8");
    npy_fails(NPY("<f4", "False", "[2]"), 8, "no tuple");
    npy_fails("{'descr': '<f4', 'shape': (2,), }", 8, "not complete");
    npy_fails("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8, "twice");
    npy_fails("{'x': 3}", 8, "unknown key");
    npy_fails("", 8, "no dictionary");
    assert_int_equal(open_npy(&npy, 4, NPY("<f4", "False", "(2,)"), 8, &err), SALUN_BAD_INPUT);
    write_file("h.npy", "", 0);
    assert_int_equal(salun_npy_open(&npy, path_of("h.npy"), &err), SALUN_BAD_INPUT);
    assert_int_equal(salun_npy_open(&npy, path_of("nowhere.npy"), &err), SALUN_BAD_INPUT);
}

static void test_npy_every_cut_and_flip(void **state) {
    (void)state;
    unsigned char bytes[256], copy[256];
    SalunNpy npy;
    SalunError err;
    assert_int_equal(open_npy(&npy, 1, NPY("<f4", "False", "(2, 3)"), 24, &err), 0);
    salun_npy_close(&npy);
    size_t size = read_whole("h.npy", bytes, sizeof bytes);
    for (size_t cut = 0; cut < size; cut++) {
        write_file("c.npy", bytes, cut);
        assert_int_equal(salun_npy_open(&npy, path_of("c.npy"), &err), SALUN_BAD_INPUT);
    }
    for (size_t at = 0; at < size - 24; at++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(copy, bytes, size);
            copy[at] ^= (unsigned char)(1 << bit);
            write_file("c.npy", copy, size);
            if (!salun_npy_open(&npy, path_of("c.npy"), &err))
                salun_npy_close(&npy);
        }
}

/* ---- files that lose what was mapped ---- */

static void test_cut_files(void **state) {
    (void)state;
    enum { PAGES = 5, PAGE = 4096 };
    static const unsigned char page[PAGE] = { 7 };
    SalunError err;
    SalunMap map[2];
    const char *path = path_of("long");
    FILE *file = fopen(path, "wb");
    for (int i = 0; i < PAGES; i++)
        assert_int_equal(fwrite(page, 1, PAGE, file), PAGE);
    fclose(file);
    salun_map_guard();
    assert_int_equal(salun_map(&map[0], path, &err), 0);
    assert_int_equal(salun_map(&map[1], path, &err), 0);
    assert_int_equal(salun_map_check(&err), 0);
    assert_int_equal(truncate(path, 2 * PAGE), 0);
    for (int i = 0; i < PAGES; i++)
        assert_int_equal(map[0].data[i * PAGE], i < 2 ? 7 : 0);
    assert_int_equal(salun_map_check(&err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "long: the file was cut short"));
    salun_unmap(&map[0]);
    salun_unmap(&map[1]);
    assert_int_equal(salun_map_check(&err), SALUN_BAD_INPUT);              /* what was read then is still wrong */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound_headers), cmocka_unit_test(test_hostile_headers), cmocka_unit_test(test_hostile_sizes),
        cmocka_unit_test(test_widths), cmocka_unit_test(test_weights_round_trip), cmocka_unit_test(test_weights_rules),
        cmocka_unit_test(test_weights_that_do_not_fit), cmocka_unit_test(test_many_names), cmocka_unit_test(test_every_cut_and_flip),
        cmocka_unit_test(test_full_disk), cmocka_unit_test(test_links_and_modes), cmocka_unit_test(test_kill),
        cmocka_unit_test(test_npy_round_trip), cmocka_unit_test(test_npy_headers), cmocka_unit_test(test_npy_every_cut_and_flip),
        cmocka_unit_test(test_cut_files),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
