/* test_train_data.c - data readers: every form, and files that are short, long, empty, mislabelled or nonsense. */
#include "data.h"
#include "npy.h"
#include "train_fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

static char dir[64];
static SalunError err;

static void remove_all(const char *folder) {
    DIR *d = opendir(folder);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        char path[1024];
        if (e->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path)
            continue;
        if (unlink(path) != 0)
            remove_all(path);
    }
    closedir(d);
    rmdir(folder);
}

static int open_dir(void **state) {
    (void)state;
    strcpy(dir, "/tmp/salun_data.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int close_dir(void **state) {
    (void)state;
    remove_all(dir);
    return 0;
}

static const char *path_of(const char *name) {
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

/* Must fail as bad input with a text that holds both pieces. */
static void refuse(const char *spec, int classes, const char *file, const char *cause) {
    DataSet set;
    int code = data_open(&set, spec, "", classes, &err);
    if (code != SALUN_BAD_INPUT || !strstr(err.text, file) || !strstr(err.text, cause))
        fail_msg("code %d, '%s' should name '%s' and '%s'", code, code ? err.text : "", file, cause);
    assert_int_equal(set.owned_count, 0);
}

static size_t read_all(const char *name, unsigned char *bytes, size_t room) {
    FILE *f = fopen(path_of(name), "rb");
    assert_non_null(f);
    size_t size = fread(bytes, 1, room, f);
    fclose(f);
    return size;
}

/* ---- MNIST ---- */

static void test_idx(void **state) {
    (void)state;
    DataSet set;
    assert_int_equal(fixture_write_data(dir, 50, 20), 0);
    assert_int_equal(data_open(&set, dir, "cifar10", 4, &err), 0);
    assert_string_equal(set.form, "mnist");
    assert_int_equal(set.train.count, 50);
    assert_int_equal(set.test.count, 20);
    assert_int_equal(set.train.dim[0], 1);
    assert_int_equal(set.train.dim[2], FIXTURE_SIDE);
    unsigned char bytes[16 + 50 * FIXTURE_PIXELS];
    assert_int_equal(read_all("train-images-idx3-ubyte", bytes, sizeof bytes), sizeof bytes);
    assert_memory_equal(data_image(&set.train, 0), bytes + 16, sizeof bytes - 16);
    for (int i = 0; i < 50; i++)
        assert_int_equal(set.train.labels[i], i * 7 % 4);
    uint64_t hash = set.hash[0];
    data_close(&set);
    assert_int_equal(rename(path_of("train-images-idx3-ubyte"), path_of("train-images.idx3-ubyte")), 0);
    gzFile gz = gzopen(path_of("train-labels-idx1-ubyte.gz"), "wb");
    size_t size = read_all("train-labels-idx1-ubyte", bytes, sizeof bytes);
    assert_int_equal(gzwrite(gz, bytes, (unsigned)size), (int)size);
    gzclose(gz);
    unlink(path_of("train-labels-idx1-ubyte"));
    assert_int_equal(data_open(&set, dir, "", 4, &err), 0);
    assert_true(set.hash[0] == hash);
    data_close(&set);
    size = read_all("train-labels-idx1-ubyte.gz", bytes, sizeof bytes);
    fixture_write_file(dir, "train-labels-idx1-ubyte.gz", bytes, size - 9);
    refuse(dir, 4, "train-labels-idx1-ubyte.gz", "");
    bytes[size - 6] ^= 1;                                   /* the checksum of gzip */
    fixture_write_file(dir, "train-labels-idx1-ubyte.gz", bytes, size);
    refuse(dir, 4, "train-labels-idx1-ubyte.gz", "");
}

static void test_idx_refused(void **state) {
    (void)state;
    unsigned char images[16 + 50 * FIXTURE_PIXELS + 1] = { 0 }, labels[8 + 50];
    fixture_write_data(dir, 50, 20);
    size_t image_bytes = read_all("train-images-idx3-ubyte", images, sizeof images);
    size_t label_bytes = read_all("train-labels-idx1-ubyte", labels, sizeof labels);
    refuse(dir, 3, "train-labels-idx1-ubyte", "label 3, but the network has classes 0 to 2");
    for (size_t n = 0; n < image_bytes; n += n < 20 ? 1 : 97) {
        fixture_write_file(dir, "train-images-idx3-ubyte", images, n);
        refuse(dir, 4, "train-images-idx3-ubyte", n < 16 ? "ends" : "");
    }
    fixture_write_file(dir, "train-images-idx3-ubyte", images, image_bytes + 1);
    refuse(dir, 4, "train-images-idx3-ubyte", "longer");
    for (int i = 0; i < 16; i++) {
        images[i] ^= 0xff;
        fixture_write_file(dir, "train-images-idx3-ubyte", images, image_bytes);
        refuse(dir, 4, "train-", "");
        images[i] ^= 0xff;
    }
    memset(images + 4, 0, 4);
    fixture_write_file(dir, "train-images-idx3-ubyte", images, image_bytes);
    refuse(dir, 4, "train-images-idx3-ubyte", "no images");
    fixture_write_data(dir, 50, 20);
    labels[7] = 49;
    fixture_write_file(dir, "train-labels-idx1-ubyte", labels, label_bytes - 1);
    refuse(dir, 4, "train-labels-idx1-ubyte", "49 labels for the 50 images");
    unlink(path_of("train-labels-idx1-ubyte"));
    refuse(dir, 4, "train-labels-idx1-ubyte", "missing");
    fixture_write_data(dir, 50, 20);
    unlink(path_of("t10k-images-idx3-ubyte"));
    refuse(dir, 4, "t10k-images-idx3-ubyte", "missing");
}

/* Random damage ends in an error or in a data set that is in order. */
static void test_idx_damage(void **state) {
    (void)state;
    static unsigned char bytes[16 + 50 * FIXTURE_PIXELS];
    fixture_write_data(dir, 50, 0);
    size_t size = read_all("train-images-idx3-ubyte", bytes, sizeof bytes);
    unsigned random = 1;
    for (int i = 0; i < 300; i++) {
        random = random * 1664525u + 1013904223u;
        size_t at = (random >> 8) % 20;
        bytes[at] ^= (unsigned char)(1 << (random & 7));
        fixture_write_file(dir, "train-images-idx3-ubyte", bytes, size);
        DataSet set;
        int code = data_open(&set, dir, "", 4, &err);
        assert_true(code == 0 || code == SALUN_BAD_INPUT);
        if (!code) {
            assert_int_equal(set.train.count * set.train.elements, 50 * FIXTURE_PIXELS);
            data_close(&set);
        }
        if (i % 3)
            bytes[at] ^= (unsigned char)(1 << (random & 7));
    }
}

/* ---- CIFAR ---- */

enum { RECORD10 = 3073, RECORD100 = 3074 };

static void fill_records(unsigned char *bytes, int count, int record, int seed) {
    for (int i = 0; i < count * record; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 251 + seed);
    for (int i = 0; i < count; i++) {
        bytes[i * record] = (unsigned char)((i + seed) % 10);
        if (record == RECORD100)
            bytes[i * record + 1] = (unsigned char)(i * 3 % 100);
    }
}

static void write_cifar10(const char *folder, int count) {
    unsigned char *bytes = malloc((size_t)count * RECORD10);
    for (int f = 1; f <= 6; f++) {
        char name[32];
        snprintf(name, sizeof name, f == 6 ? "test_batch.bin" : "data_batch_%d.bin", f);
        fill_records(bytes, count, RECORD10, f);
        assert_int_equal(fixture_write_file(folder, name, bytes, (size_t)count * RECORD10), 0);
    }
    free(bytes);
}

static void test_cifar10(void **state) {
    (void)state;
    DataSet set;
    const char *sub = path_of("cifar-10-batches-bin");
    mkdir(sub, 0777);
    write_cifar10(sub, 4);
    assert_int_equal(data_open(&set, dir, "", 10, &err), 0);
    assert_string_equal(set.form, "cifar10");
    assert_int_equal(set.train.count, 20);
    assert_int_equal(set.test.count, 4);
    unsigned char bytes[4 * RECORD10];
    for (int f = 1; f <= 6; f++) {
        const Images *part = f == 6 ? &set.test : &set.train;
        fill_records(bytes, 4, RECORD10, f);
        for (int i = 0; i < 4; i++) {
            int at = f == 6 ? i : (f - 1) * 4 + i;
            assert_int_equal(part->labels[at], bytes[i * RECORD10]);
            assert_memory_equal(data_image(part, at), bytes + i * RECORD10 + 1, 3072);
        }
    }
    data_close(&set);
    refuse(dir, 4, "data_batch_1.bin", "label 4");
}

static void test_cifar10_refused(void **state) {
    (void)state;
    static unsigned char bytes[4 * RECORD10];
    write_cifar10(dir, 4);
    fill_records(bytes, 4, RECORD10, 3);
    fixture_write_file(dir, "data_batch_3.bin", bytes, sizeof bytes - 1);
    refuse(dir, 10, "data_batch_3.bin", "records");
    fixture_write_file(dir, "data_batch_3.bin", bytes, 3 * RECORD10);
    refuse(dir, 10, "data_batch_3.bin", "3 images, but data_batch_1.bin holds 4");
    fixture_write_file(dir, "data_batch_3.bin", bytes, 0);
    refuse(dir, 10, "data_batch_3.bin", "empty");
    bytes[2 * RECORD10] = 200;
    fixture_write_file(dir, "data_batch_3.bin", bytes, sizeof bytes);
    refuse(dir, 10, "data_batch_3.bin", "image 2 has label 200");
    unlink(path_of("data_batch_3.bin"));
    refuse(dir, 10, "data_batch_3.bin", "No such file");
    mkdir(path_of("data_batch_3.bin"), 0777);
    refuse(dir, 10, "data_batch_3.bin", "not a regular file");
}

static void test_cifar100(void **state) {
    (void)state;
    DataSet set;
    static unsigned char bytes[5 * RECORD100];
    fill_records(bytes, 5, RECORD100, 0);
    fixture_write_file(dir, "train.bin", bytes, sizeof bytes);
    assert_int_equal(data_open(&set, dir, "", 100, &err), 0);
    assert_string_equal(set.form, "cifar100");
    assert_int_equal(set.train.labels[4], 12);
    assert_int_equal(set.test.count, 0);
    assert_memory_equal(data_image(&set.train, 4), bytes + 4 * RECORD100 + 2, 3072);
    data_close(&set);
    write_cifar10(dir, 2);
    refuse(dir, 100, dir, "several forms, cifar10, cifar100");
    assert_int_equal(data_open(&set, dir, "cifar10", 10, &err), 0);
    assert_int_equal(set.train.count, 10);
    data_close(&set);
}

/* ---- npy ---- */

static void write_npy(const char *name, SalunNpyType type, int rank, const int64_t *dim, const void *bytes) {
    SalunSink sink;
    size_t count = salun_npy_size(type);
    for (int i = 0; i < rank; i++)
        count *= (size_t)dim[i];
    assert_int_equal(salun_npy_create(&sink, path_of(name), type, rank, dim, &err), 0);
    assert_int_equal(salun_sink_write(&sink, bytes, count, &err), 0);
    assert_int_equal(salun_sink_commit(&sink, &err), 0);
}

static const char *npy_spec(const char *names) {
    static char spec[512];
    char copy[128];
    strcpy(copy, names);
    strcpy(spec, "npy:");
    for (char *name = strtok(copy, ","); name; name = strtok(NULL, ","))
        sprintf(spec + strlen(spec), "%s%s", spec[4] ? "," : "", path_of(name));
    return spec;
}

static void test_npy(void **state) {
    (void)state;
    DataSet set;
    float pixels[3 * 2 * 2 * 2];
    uint8_t bytes[24], small[3] = { 2, 0, 1 };
    int64_t wide[3] = { 1, 1, 0 };
    int32_t middle[3] = { 0, 2, 1 };
    for (int i = 0; i < 24; i++)
        pixels[i] = (float)(bytes[i] = (uint8_t)(i * 9)) / 8;
    write_npy("x.npy", SALUN_NPY_F32, 4, (int64_t[]){ 3, 2, 2, 2 }, pixels);
    write_npy("u.npy", SALUN_NPY_U8, 3, (int64_t[]){ 3, 2, 4 }, bytes);
    write_npy("y8.npy", SALUN_NPY_U8, 1, (int64_t[]){ 3 }, small);
    write_npy("y64.npy", SALUN_NPY_I64, 2, (int64_t[]){ 3, 1 }, wide);
    write_npy("y32.npy", SALUN_NPY_I32, 1, (int64_t[]){ 3 }, middle);
    assert_int_equal(data_open(&set, npy_spec("x.npy,y8.npy,x.npy,y64.npy"), "", 3, &err), 0);
    assert_true(set.train.is_float);
    assert_int_equal(set.test.count, 3);
    assert_int_equal(set.train.elements, 8);
    assert_memory_equal(data_image(&set.train, 0), pixels, sizeof pixels);
    assert_int_equal(set.train.labels[0], 2);
    assert_int_equal(set.test.labels[1], 1);
    data_close(&set);
    assert_int_equal(data_open(&set, npy_spec("u.npy,y32.npy"), "", 3, &err), 0);
    assert_int_equal(set.train.rank, 3);
    assert_int_equal(set.train.dim[0], 1);
    assert_int_equal(set.train.dim[2], 4);
    assert_int_equal(set.train.labels[1], 2);
    data_close(&set);
    refuse(npy_spec("u.npy,y32.npy"), 2, "y32.npy", "label 2");
    refuse(npy_spec("u.npy"), 2, "u.npy", "want npy:");
    refuse(npy_spec("u.npy,x.npy"), 3, "x.npy", "labels are int64, int32 or uint8");
    refuse(npy_spec("y32.npy,y32.npy"), 3, "y32.npy", "float32 or uint8");
    refuse(npy_spec("y8.npy,y8.npy"), 3, "y8.npy", "[count, channels, height, width]");
    refuse(npy_spec("u.npy,y8.npy,x.npy,y8.npy"), 3, "x.npy", "float32[2,2,2]");
    refuse(npy_spec("u.npy,gone.npy"), 3, "gone.npy", "No such file");
    wide[2] = 0x100000001;
    write_npy("y64.npy", SALUN_NPY_I64, 1, (int64_t[]){ 3 }, wide);
    refuse(npy_spec("u.npy,y64.npy"), 3, "y64.npy", "image 2");
    write_npy("y64.npy", SALUN_NPY_I64, 1, (int64_t[]){ 2 }, wide);
    refuse(npy_spec("u.npy,y64.npy"), 3, "y64.npy", "[2] for the 3 images");
    write_npy("none.npy", SALUN_NPY_U8, 4, (int64_t[]){ 0, 1, 2, 2 }, bytes);
    refuse(npy_spec("none.npy,y8.npy"), 3, "none.npy", "no images");
    fixture_write_file(dir, "empty.npy", "", 0);
    refuse(npy_spec("empty.npy,y8.npy"), 3, "empty.npy", "");
    fixture_write_file(dir, "text.npy", "hello, world: this is not an array", 34);
    refuse(npy_spec("u.npy,text.npy"), 3, "text.npy", "");
}

static void test_npy_folder(void **state) {
    (void)state;
    DataSet set;
    uint8_t bytes[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, labels[2] = { 1, 0 };
    write_npy("images.npy", SALUN_NPY_U8, 4, (int64_t[]){ 2, 1, 2, 2 }, bytes);
    write_npy("labels.npy", SALUN_NPY_U8, 1, (int64_t[]){ 2 }, labels);
    assert_int_equal(data_open(&set, dir, "mnist", 2, &err), 0);
    assert_int_equal(set.train.count, 2);
    assert_int_equal(set.test.count, 0);
    data_close(&set);
    write_npy("test_images.npy", SALUN_NPY_U8, 4, (int64_t[]){ 1, 1, 2, 2 }, bytes);
    refuse(dir, 2, "test_labels.npy", "");
    write_npy("test_labels.npy", SALUN_NPY_U8, 1, (int64_t[]){ 1 }, labels);
    assert_int_equal(data_open(&set, dir, "", 2, &err), 0);
    assert_int_equal(set.test.count, 1);
    data_close(&set);
}

/* Random damage of a header. */
static void test_npy_damage(void **state) {
    (void)state;
    uint8_t pixels[96] = { 0 }, labels[2] = { 0, 0 };
    static unsigned char bytes[512];
    write_npy("x.npy", SALUN_NPY_U8, 4, (int64_t[]){ 2, 3, 4, 4 }, pixels);
    write_npy("y.npy", SALUN_NPY_U8, 1, (int64_t[]){ 2 }, labels);
    size_t size = read_all("x.npy", bytes, sizeof bytes);
    unsigned random = 5;
    for (int i = 0; i < 2000; i++) {
        random = random * 1664525u + 1013904223u;
        size_t at = (random >> 8) % size;
        unsigned char was = bytes[at];
        bytes[at] = (unsigned char)(random >> 24);
        fixture_write_file(dir, "x.npy", bytes, size - (i % 5 == 0));
        DataSet set;
        int code = data_open(&set, npy_spec("x.npy,y.npy"), "", 3, &err);
        assert_true(code == 0 || code == SALUN_BAD_INPUT);
        if (!code)
            data_close(&set);
        bytes[at] = was;
    }
}

static void test_places(void **state) {
    (void)state;
    char buffer[256];
    refuse("/nowhere/at/all", 10, "/nowhere/at/all", "No such file");
    refuse(dir, 10, dir, "no data set here");
    fixture_write_file(dir, "x", "", 0);
    refuse(path_of("x"), 10, "x", "not a folder");
    assert_null(data_default_place("", buffer, sizeof buffer));
    assert_null(data_default_place("no_such_data_set", buffer, sizeof buffer));
    assert_string_equal(data_default_place("npy:a,b", buffer, sizeof buffer), "npy:a,b");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_dir, close_dir)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_idx), TEST(test_idx_refused), TEST(test_idx_damage), TEST(test_cifar10), TEST(test_cifar10_refused), TEST(test_cifar100),
        TEST(test_npy), TEST(test_npy_folder), TEST(test_npy_damage), TEST(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
