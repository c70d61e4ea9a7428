/* test_train.c - the parts of runtime/train that need no process: schedules, orders, augmentation, batches, checkpoints, logs. */
#define _GNU_SOURCE
#include "augment.h"
#include "checkpoint.h"
#include "hash.h"
#include "loader.h"
#include "lock.h"
#include "log.h"
#include "progress.h"
#include "schedule.h"
#include "train_fixture.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))
static const double pi = 3.14159265358979323846;

/* ---- schedules ---- */

static void assert_near(double a, double b) {
    if (fabs(a - b) > 1e-14)
        fail_msg("%.17g is not %.17g", a, b);
}

static void test_schedule_parts(void **state) {
    (void)state;
    const SalunSchedPart cosine = { .kind = SALUN_SCHED_COSINE, .to = 0.1 }, linear = { .kind = SALUN_SCHED_LINEAR, .to = 0.25 };
    const SalunSchedPart step = { .kind = SALUN_SCHED_STEP, .gamma = 0.1, .at_count = 2, .at = { 3, 6 } };
    const SalunSchedPart constant = { .kind = SALUN_SCHED_CONST };
    SalunRecipe r = { .schedule_count = 1, .schedule = &cosine };
    for (int k = 0; k < 80; k++) {
        double t = k / 80.0;
        r.schedule = &cosine;
        assert_near(schedule_factor(&r, k, 10, 8), 0.1 + 0.9 * (1 + cos(pi * t)) / 2);
        r.schedule = &linear;
        assert_near(schedule_factor(&r, k, 10, 8), 1 - 0.75 * t);
        r.schedule = &step;
        assert_near(schedule_factor(&r, k, 10, 8), k < 30 ? 1 : k < 60 ? 0.1 : 0.01);
        r.schedule = &constant;
        assert_near(schedule_factor(&r, k, 10, 8), 1);
    }
    r.schedule_count = 0;
    assert_near(schedule_factor(&r, 5, 10, 8), 1);
}

static void test_schedule_then(void **state) {
    (void)state;
    const SalunSchedPart parts[] = {
        { .kind = SALUN_SCHED_WARMUP, .epochs = 2 },
        { .kind = SALUN_SCHED_LINEAR, .epochs = 3, .to = 0.5 },
        { .kind = SALUN_SCHED_CONST, .epochs = 1 },
        { .kind = SALUN_SCHED_COSINE, .to = 0 },
    };
    const SalunRecipe r = { .schedule_count = COUNT(parts), .schedule = parts };
    for (int k = 0; k < 100; k++) {
        double want = k < 20 ? (k + 1) / 20.0 : k < 50 ? 1 - 0.5 * (k - 20) / 30.0 : k < 60 ? 0.5 : 0.25 * (1 + cos(pi * (k - 60) / 40));
        assert_near(schedule_factor(&r, k, 10, 10), want);
    }
    const SalunSchedPart recipe[] = { { .kind = SALUN_SCHED_WARMUP, .epochs = 1 },
                                      { .kind = SALUN_SCHED_STEP, .gamma = 0.1, .at_count = 1, .at = { 4 } } };
    const SalunRecipe q = { .schedule_count = 2, .schedule = recipe };
    assert_near(schedule_factor(&q, 39, 10, 8), 1);
    assert_near(schedule_factor(&q, 40, 10, 8), 0.1);
    assert_near(schedule_factor(&q, 0, 10, 8), 0.1);       /* the first of ten steps of warm-up */
}

/* ---- order ---- */

static void test_order(void **state) {
    (void)state;
    enum { N = 1000 };
    static int64_t a[N], b[N];
    bool seen[N] = { false };
    int same = 0, fixed = 0;
    augment_order(a, N, 1, 0);
    augment_order(b, N, 1, 0);
    assert_memory_equal(a, b, sizeof a);
    for (int i = 0; i < N; i++) {
        assert_in_range(a[i], 0, N - 1);
        assert_false(seen[a[i]]);
        seen[a[i]] = true;
        fixed += a[i] == i;
    }
    augment_order(b, N, 1, 1);
    for (int i = 0; i < N; i++)
        same += a[i] == b[i];
    augment_order(b, N, 2, 0);
    for (int i = 0; i < N; i++)
        same += a[i] == b[i];
    assert_true(fixed < 10 && same < 20);
    augment_order(a, 1, 1, 0);
    assert_int_equal(a[0], 0);
}

/* Each of the 24 orders of four comes up about equally often. */
static void test_order_uniform(void **state) {
    (void)state;
    enum { TRIES = 12000 };
    int count[256] = { 0 };
    double chi = 0;
    for (int e = 0; e < TRIES; e++) {
        int64_t o[4];
        augment_order(o, 4, 99, e);
        count[o[0] << 6 | o[1] << 4 | o[2] << 2 | o[3]]++;
    }
    int kinds = 0;
    for (int i = 0; i < 256; i++)
        if (count[i]) {
            kinds++;
            chi += (count[i] - TRIES / 24.0) * (count[i] - TRIES / 24.0) / (TRIES / 24.0);
        }
    assert_int_equal(kinds, 24);
    assert_true(chi < 50);                                  /* 23 degrees of freedom: above 49.7 once in 1000 */
}

/* ---- augmentation ---- */

static void test_augment(void **state) {
    (void)state;
    enum { H = 5, W = 7, C = 2, SIZE = C * H * W, PAD = 2 };
    const int64_t dim[3] = { C, H, W };
    const SalunAugment steps[] = { { SALUN_PAD_CROP, 0, PAD }, { SALUN_FLIP, 0, 0.5 } };
    uint8_t image[SIZE], a[SIZE], b[SIZE];
    int flips = 0, places[2 * PAD + 1][2 * PAD + 1] = { { 0 } };
    for (int i = 0; i < SIZE; i++)
        image[i] = (uint8_t)(i + 1);
    for (int index = 0; index < 2000; index++) {
        memcpy(a, image, SIZE);
        const uint8_t *out = augment_image(steps, 2, 5, 3, index, dim, a, b);
        int found = 0;
        for (int dy = -PAD; dy <= PAD; dy++)
            for (int dx = -PAD; dx <= PAD; dx++)
                for (int flip = 0; flip < 2; flip++) {
                    bool same = true;
                    for (int i = 0; i < SIZE && same; i++) {
                        int c = i / (H * W), y = i / W % H + dy, x = (flip ? W - 1 - i % W : i % W) + dx;
                        same = out[i] == (y < 0 || y >= H || x < 0 || x >= W ? 0 : image[(c * H + y) * W + x]);
                    }
                    if (same) {
                        found++;
                        flips += flip;
                        places[dy + PAD][dx + PAD]++;
                    }
                }
        assert_int_equal(found, 1);
    }
    assert_in_range(flips, 900, 1100);
    for (int i = 0; i < 25; i++)
        assert_in_range(places[i / 5][i % 5], 45, 120);
}

/* A pad larger than the image leaves nothing or a corner of it, within bounds. */
static void test_augment_far(void **state) {
    (void)state;
    const int64_t dim[3] = { 1, 2, 2 };
    const SalunAugment step = { SALUN_PAD_CROP, 0, 9 };
    for (int index = 0; index < 500; index++) {
        uint8_t *a = malloc(4), *b = malloc(4);
        memset(a, 7, 4);
        augment_image(&step, 1, 1, 0, index, dim, a, b);
        free(a);
        free(b);
    }
}

/* ---- batches ---- */

static Images make_images(uint8_t *pixels, int32_t *labels, int count) {
    for (int i = 0; i < count * FIXTURE_PIXELS; i++)
        pixels[i] = (uint8_t)(i * 31 + i / 100);
    for (int i = 0; i < count; i++)
        labels[i] = i % FIXTURE_CLASSES;
    return (Images){ .count = count, .rank = 3, .dim = { 1, FIXTURE_SIDE, FIXTURE_SIDE }, .elements = FIXTURE_PIXELS, .file = { pixels },
                     .per_file = count, .stride = FIXTURE_PIXELS, .labels = labels, .images_file = "images", .labels_file = "labels" };
}

/* Batches begun anywhere equal those of a run from the start. */
static void test_loader(void **state) {
    (void)state;
    enum { N = 40, BATCH = 16, EPOCHS = 3, STEPS = 9 };
    static uint8_t pixels[N * FIXTURE_PIXELS];
    static int32_t labels[N];
    const Images images = make_images(pixels, labels, N);
    SalunError err = { .text = "" };
    const SalunRecipe *r = fixture_program.recipe;
    const LoaderPlan plan = { &images, &fixture_program, BATCH, true, r->augment, r->augment_count, 3 };
    Loader *l = loader_create(&plan, &err);
    assert_non_null(l);
    uint64_t want[STEPS];
    for (int from = 0; from <= STEPS; from++) {
        assert_int_equal(loader_start(l, from / 3, from % 3 * BATCH, EPOCHS, &err), 0);
        for (int k = from; k < STEPS; k++) {
            const Batch *b = loader_next(l);
            assert_non_null(b);
            assert_int_equal(b->n, k % 3 == 2 ? 8 : 16);
            assert_int_equal(b->epoch, k / 3);
            uint64_t h = hash_bytes(hash_bytes(1, b->index, (size_t)b->n * 8), b->input, (size_t)b->n * FIXTURE_PIXELS * 4);
            h = hash_bytes(h, b->labels, (size_t)b->n * 4);
            if (from == 0)
                want[k] = h;
            assert_true(h == want[k]);
            if (k == STEPS - 2 && from % 2)
                break;                                      /* stopped in the middle */
        }
        if (from % 2 == 0 || from == STEPS)
            assert_null(loader_next(l));
    }
    loader_destroy(l);
}

static void test_loader_values(void **state) {
    (void)state;
    enum { N = 3 };
    uint8_t pixels[N * FIXTURE_PIXELS];
    int32_t labels[N];
    Images images = make_images(pixels, labels, N);
    SalunError err = { .text = "" };
    LoaderPlan plan = { .images = &images, .program = &fixture_program, .batch = 2 };
    Loader *l = loader_create(&plan, &err);
    assert_int_equal(loader_start(l, 0, 0, 1, &err), 0);
    for (int at = 0; at < N; at += 2) {
        const Batch *b = loader_next(l);
        for (int i = 0; i < b->n * FIXTURE_PIXELS; i++)
            assert_true(b->input[i] == ((float)pixels[at * FIXTURE_PIXELS + i] / 255.0f - 0.5f) / 0.25f);
    }
    assert_null(loader_next(l));
    loader_destroy(l);
    images.dim[0] = 2;
    images.dim[1] = 3;
    assert_null(loader_create(&plan, &err));
    assert_int_equal(err.code, SALUN_BAD_INPUT);
    images.is_float = true;
    assert_null(loader_create(&plan, &err));
    assert_non_null(strstr(err.text, "[2,3,6]"));
    assert_non_null(strstr(err.text, "[1,6,6]"));
}

/* ---- checkpoints ---- */

typedef struct { char dir[64], path[128]; SalunModel *model; Identity id; TrainPoint at; } Kept;

static void fill_tables(SalunModel *m, float first) {
    for (int space = SALUN_PARAMS; space <= SALUN_SLOTS; space++) {
        int64_t floats;
        float *table = salun_table(m, space, &floats);
        for (int64_t i = 0; i < floats; i++)
            table[i] = first + (float)(space * 1000 + i);
    }
}

static int open_kept(void **state) {
    Kept *k = calloc(1, sizeof *k);
    SalunError err;
    strcpy(k->dir, "/tmp/salun_train.XXXXXX");
    if (!mkdtemp(k->dir) || !(k->model = salun_create(&fixture_program, 1, &err)))
        return -1;
    snprintf(k->path, sizeof k->path, "%s/c", k->dir);
    identity_add(&k->id, "--seed", "%d", 1);
    identity_add(&k->id, "--epochs", "%d", 20);
    identity_add(&k->id, "data", "%s", "mnist 5");
    k->at = (TrainPoint){ 12345678901, 3, 17, 40, 50, 0.1, 1e-300, 20, 77, -1, 0 };
    *state = k;
    return 0;
}

static int close_kept(void **state) {
    Kept *k = *state;
    salun_destroy(k->model);
    unlink(k->path);
    rmdir(k->dir);
    free(k);
    return 0;
}

static void test_checkpoint_round_trip(void **state) {
    Kept *k = *state;
    SalunError err;
    TrainPoint at;
    fill_tables(k->model, 0.5f);
    assert_int_equal(checkpoint_write(k->path, k->model, &k->id, &k->at, &err), 0);
    fill_tables(k->model, 9);
    assert_int_equal(checkpoint_read(k->path, k->model, &k->id, &at, &err), 0);
    assert_memory_equal(&at, &k->at, sizeof at);
    for (int space = SALUN_PARAMS; space <= SALUN_SLOTS; space++) {
        int64_t floats;
        const float *table = salun_table(k->model, space, &floats);
        for (int64_t i = 0; i < floats && space != SALUN_GRADS; i++)
            assert_true(table[i] == 0.5f + (float)(space * 1000 + i));
    }
}

/* The start of a training has no tables: whatever the model held, it begins with the values of its seed. */
static void test_checkpoint_start(void **state) {
    Kept *k = *state;
    SalunError err;
    TrainPoint begin = k->at, at = { .step = 7 };
    begin.step = 0;
    assert_int_equal(checkpoint_write_start(k->path, k->model, &k->id, &begin, &err), 0);
    fill_tables(k->model, 9);
    assert_int_equal(checkpoint_read(k->path, k->model, &k->id, &at, &err), 0);
    assert_memory_equal(&at, &begin, sizeof at);
    SalunModel *fresh = salun_create(salun_program(k->model), 1, &err);
    salun_init(fresh, 1);
    for (int space = SALUN_PARAMS; space <= SALUN_SLOTS; space++) {
        int64_t floats;
        const float *have = salun_table(k->model, space, &floats), *want = salun_table(fresh, space, NULL);
        if (floats && space != SALUN_GRADS)
            assert_memory_equal(have, want, (size_t)floats * sizeof *have);
    }
    salun_destroy(fresh);
    Identity none = { .used = 0 };
    identity_add(&none, "program", "any");
    assert_int_equal(checkpoint_write_start(k->path, k->model, &none, &begin, &err), 0);
    assert_int_equal(checkpoint_read(k->path, k->model, &none, &at, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "names no seed"));
    k->at.step = 3;                          /* not the start: tables are missing */
    assert_int_equal(checkpoint_write_start(k->path, k->model, &k->id, &k->at, &err), 0);
    assert_int_equal(checkpoint_read(k->path, k->model, &k->id, &at, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "other sizes"));
}

static void write_bytes(const char *path, const unsigned char *bytes, size_t count) {
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    fclose(f);
}

/* Every byte that differs and every length that differs is seen, and nothing is changed by what is refused. */
static void test_checkpoint_damage(void **state) {
    Kept *k = *state;
    SalunError err;
    TrainPoint at = { .step = 4 };
    fill_tables(k->model, 0.5f);
    assert_int_equal(checkpoint_write(k->path, k->model, &k->id, &k->at, &err), 0);
    static unsigned char bytes[8192];
    FILE *f = fopen(k->path, "rb");
    size_t size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_in_range(size, 1000, sizeof bytes - 1);
    fill_tables(k->model, 9);
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= (unsigned char)(1 << i % 8);
        write_bytes(k->path, bytes, size);
        assert_int_equal(checkpoint_read(k->path, k->model, &k->id, &at, &err), SALUN_BAD_INPUT);
        bytes[i] ^= (unsigned char)(1 << i % 8);
    }
    for (size_t n = 0; n < size; n++) {
        write_bytes(k->path, bytes, n);
        assert_int_equal(checkpoint_read(k->path, k->model, &k->id, &at, &err), SALUN_BAD_INPUT);
    }
    write_bytes(k->path, bytes, size + 1);
    assert_int_equal(checkpoint_read(k->path, k->model, &k->id, &at, &err), SALUN_BAD_INPUT);
    assert_int_equal(at.step, 4);
    assert_true(salun_table(k->model, SALUN_PARAMS, NULL)[0] == 9);
}

static void test_checkpoint_identity(void **state) {
    Kept *k = *state;
    SalunError err;
    TrainPoint at;
    Identity other = { .used = 0 };
    identity_add(&other, "--seed", "%d", 2);
    identity_add(&other, "--epochs", "%d", 20);
    identity_add(&other, "data", "%s", "cifar10 5");
    assert_int_equal(checkpoint_write(k->path, k->model, &k->id, &k->at, &err), 0);
    assert_int_equal(checkpoint_read(k->path, k->model, &other, &at, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "--seed was 1, now 2; data was mnist 5, now cifar10 5"));
    assert_null(strstr(err.text, "--epochs"));
    Identity more = k->id;
    identity_add(&more, "x", "y");
    assert_int_equal(checkpoint_read(k->path, k->model, &more, &at, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "x was unknown, now y"));
}

static void test_checkpoint_unwritable(void **state) {
    Kept *k = *state;
    SalunError err;
    assert_int_equal(checkpoint_write("/nowhere/at/all", k->model, &k->id, &k->at, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
    assert_int_equal(checkpoint_write("/dev/full", k->model, &k->id, &k->at, &err), SALUN_NO_SPACE);
}

static void test_checkpoint_peek(void **state) {
    Kept *k = *state;
    SalunError err;
    TrainPoint at = { 0 };
    assert_false(checkpoint_peek(k->path, &at));
    assert_int_equal(checkpoint_write(k->path, k->model, &k->id, &k->at, &err), 0);
    assert_true(checkpoint_peek(k->path, &at));
    assert_memory_equal(&at, &k->at, sizeof at);
    write_bytes(k->path, (const unsigned char *)"SALUNCKP", 8);
    assert_false(checkpoint_peek(k->path, &at));
    assert_false(checkpoint_peek("/dev/zero", &at));
}

/* ---- locks ---- */

static void test_lock(void **state) {
    Kept *k = *state;
    SalunError err;
    Lock first, second;
    char by_link[120];
    write_bytes(k->path, (const unsigned char *)"x", 1);
    snprintf(by_link, sizeof by_link, "%s/link", k->dir);
    assert_int_equal(symlink(k->path, by_link), 0);
    assert_int_equal(lock_take(&first, k->path, &err), 0);
    assert_int_equal(lock_take(&second, by_link, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "another training"));
    lock_release(&second);
    assert_int_equal(access(first.path, F_OK), 0);       /* what was not taken is not released */
    lock_release(&first);
    assert_int_equal(lock_take(&second, by_link, &err), 0);
    lock_release(&second);
    unlink(by_link);
    assert_int_equal(lock_take(&first, "/dev/null", &err), 0);
    assert_null(first.path);
    assert_int_equal(lock_take(&first, "/nowhere/at/all", &err), SALUN_BAD_INPUT);
}

/* ---- logs ---- */

static void test_log(void **state) {
    Kept *k = *state;
    SalunError err;
    Log log;
    bool lost = false;
    Line line = { .used = 0 };
    line_text(&line, "a", "q\"\\\n");
    line_count(&line, "b", -5);
    line_number(&line, "c", NAN);
    line_exact(&line, "d", 3);
    line_bool(&line, "e", true);
    assert_int_equal(log_open(&log, k->path, -1, NULL, &err), 0);
    assert_int_equal(log_write(&log, &line, &err), 0);
    int64_t one = log_sync(&log);
    assert_int_equal(log_write(&log, &line, &err), 0);
    log_close(&log);
    assert_int_equal(log_open(&log, k->path, one, &lost, &err), 0);
    assert_false(lost);
    log_close(&log);
    char text[256] = "";
    FILE *f = fopen(k->path, "r");
    size_t size = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    assert_int_equal(size, one);
    assert_string_equal(text, "{\"a\": \"q\\\"\\\\\\u000a\", \"b\": -5, \"c\": null, \"d\": \"0x1.8p+1\", \"e\": true}\n");
    assert_int_equal(log_open(&log, k->path, one + 9, &lost, &err), 0);
    assert_true(lost);
    assert_int_equal(log.offset, one);
    log_close(&log);
    assert_int_equal(log_open(&log, "/dev/full", -1, NULL, &err), 0);
    assert_int_equal(log_write(&log, &line, &err), SALUN_NO_SPACE);
    log_close(&log);
}

static void test_line_overflow(void **state) {
    (void)state;
    Line line = { .used = 0 };
    char key[16];
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "k%d", i);
        line_text(&line, key, "0123456789");
    }
    assert_true(strlen(line.text) < sizeof line.text - 2);
    assert_int_equal(line.text[line.used - 1], '"');
}

static void test_hash(void **state) {
    (void)state;
    unsigned char bytes[100] = { 0 };
    for (size_t n = 1; n <= sizeof bytes; n++) {
        uint64_t h = hash_bytes(HASH_START, bytes, n);
        HashStream parts = hash_begin(HASH_START);
        hash_add(&parts, bytes, n / 64 * 32);
        hash_add(&parts, bytes + n / 64 * 32, n - n / 64 * 32);
        assert_true(h == hash_end(&parts));
        assert_true(h != hash_bytes(HASH_START, bytes, n - 1));
        for (size_t i = 0; i < n * 8; i++) {
            bytes[i / 8] ^= (unsigned char)(1 << i % 8);
            assert_true(h != hash_bytes(HASH_START, bytes, n));
            bytes[i / 8] ^= (unsigned char)(1 << i % 8);
        }
    }
}

/* ---- the bar ---- */

/* What stands between \r and the end of the line on a terminal of so many columns. */
static void show_bar(int columns, char *text, size_t bytes) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    FILE *out = fopen(ptsname(master), "w");
    assert_non_null(out);
    assert_int_equal(ioctl(fileno(out), TIOCSWINSZ, &(struct winsize){ .ws_row = 24, .ws_col = (unsigned short)columns }), 0);
    setenv("TERM", "xterm", 1);
    Progress p;
    progress_begin(&p, out);
    p.last = -1;
    progress_show(&p, &(ProgressState){ "epoch 3/10", 450, 1000, 0.123456, 0.98765, 12345, 3661 });
    char seen[512];
    ssize_t got = read(master, seen, sizeof seen - 1);
    assert_true(got > 4 && seen[0] == '\r' && memcmp(seen + got - 3, "\033[K", 3) == 0);
    snprintf(text, bytes, "%.*s", (int)got - 4, seen + 1);
    fclose(out);
    close(master);
}

static void test_bar(void **state) {
    (void)state;
    char text[512];
    show_bar(200, text, sizeof text);
    assert_string_equal(text, "epoch 3/10 [==========>             ] 45 %  loss 0.12346  accuracy 98.77 %  12345 images/s  1:01:01 left");
    show_bar(80, text, sizeof text);
    assert_string_equal(text, "epoch 3/10 [=====>      ] 45 %  loss 0.1235  acc 98.77 %  12345/s  1:01:01 left");
    for (int columns = 1; columns < 120; columns++) {
        show_bar(columns, text, sizeof text);
        assert_true((int)strlen(text) < columns || columns == 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule_parts),
        cmocka_unit_test(test_schedule_then),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_order_uniform),
        cmocka_unit_test(test_augment),
        cmocka_unit_test(test_augment_far),
        cmocka_unit_test(test_loader),
        cmocka_unit_test(test_loader_values),
        cmocka_unit_test_setup_teardown(test_checkpoint_round_trip, open_kept, close_kept), cmocka_unit_test_setup_teardown(test_checkpoint_start, open_kept, close_kept),
        cmocka_unit_test_setup_teardown(test_checkpoint_damage, open_kept, close_kept),
        cmocka_unit_test_setup_teardown(test_checkpoint_peek, open_kept, close_kept),
        cmocka_unit_test_setup_teardown(test_lock, open_kept, close_kept),
        cmocka_unit_test_setup_teardown(test_checkpoint_identity, open_kept, close_kept),
        cmocka_unit_test_setup_teardown(test_checkpoint_unwritable, open_kept, close_kept),
        cmocka_unit_test_setup_teardown(test_log, open_kept, close_kept),
        cmocka_unit_test(test_line_overflow),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_bar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
