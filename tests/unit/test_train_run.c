/* test_train_run.c - the fixture trained as a whole process: what it leaves, breaks and goes on from, and refuses. */
#include "npy.h"
#include "safetensors.h"
#include "train_fixture.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char work[64], said[16384], answered[4096];      /* the folder; what the last run wrote to stderr and stdout */
static int64_t file_limit;                              /* of the next run, bytes; 0: none */
static bool closed;                                     /* the next run has neither standard input, output nor error */

static int open_work(void **state) {
    (void)state;
    strcpy(work, "/tmp/salun_run.XXXXXX");
    file_limit = 0;
    closed = false;
    return mkdtemp(work) && chdir(work) == 0 && mkdir("data", 0777) == 0 ? fixture_write_data("data", 200, 80) : -1;
}

static int close_work(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        DIR *d = opendir(i ? "." : "data");
        for (struct dirent *e; (e = readdir(d));)
            unlinkat(dirfd(d), e->d_name, 0);
        closedir(d);
    }
    rmdir("data");
    return chdir("/") || rmdir(work) ? -1 : 0;
}

static void slurp(const char *path, char *text, size_t bytes) {
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, bytes - 1, f) : 0;
    text[n] = 0;
    if (f)
        fclose(f);
}

/* Starts the program with the words of line; --data data stands before them. */
static pid_t start(const char *line) {
    char copy[1024], *argv[64] = { "softmax", "--data", "data" };
    int argc = 3;
    strcpy(copy, line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    fflush(NULL);
    pid_t pid = fork();
    if (pid)
        return pid;
    if (file_limit)
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){ (rlim_t)file_limit, (rlim_t)file_limit });
    if (!freopen("stderr", "w", stderr) || !freopen("stdout", "w", stdout))
        _exit(99);
    for (int fd = 0; closed && fd < 3; fd++)
        close(fd);
    int code = salun_main_train(&fixture_program, argc, argv);
    fflush(NULL);
    _exit(code);
}

static int finish(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    slurp("stderr", said, sizeof said);
    slurp("stdout", answered, sizeof answered);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void run(const char *line, int code) {
    int got = finish(start(line));
    if (got != code)
        fail_msg("'%s' ended with %d, not %d: %s", line, got, code, said);
}

static void assert_said(const char *text) {
    if (!strstr(said, text))
        fail_msg("'%s' was not said, but: %s", text, said);
}

static void assert_same(const char *a, const char *b) {
    static char x[1 << 17], y[1 << 17];
    FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
    assert_non_null(f);
    assert_non_null(g);
    size_t n = fread(x, 1, sizeof x, f), m = fread(y, 1, sizeof y, g);
    fclose(f);
    fclose(g);
    if (n != m || memcmp(x, y, n) != 0)
        fail_msg("%s and %s differ", a, b);
}

static bool there(const char *path) {
    return access(path, F_OK) == 0;
}

static int count_lines(const char *path) {
    static char text[1 << 17];
    int lines = 0;
    slurp(path, text, sizeof text);
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    return lines;
}

/* ---- what is learned and reported ---- */

static void test_learns(void **state) {
    (void)state;
    char log[16384];
    run("--epochs 30 --save w.safetensors --batch-log b", 0);
    slurp("w.jsonl", log, sizeof log);
    assert_int_equal(count_lines("w.jsonl"), 31);
    assert_int_equal(count_lines("b"), 30 * 13);
    const char *last = strstr(log, "{\"epoch\": 30,");
    assert_non_null(last);
    int correct = 0;
    double loss = 0;
    assert_int_equal(sscanf(strstr(last, "\"test_correct\""), "\"test_correct\": %d", &correct), 1);
    assert_int_equal(sscanf(strstr(last, "\"test_loss\""), "\"test_loss\": %lf", &loss), 1);
    assert_in_range(correct, 72, 80);
    run("--weights w.safetensors --eval-only", 0);
    char want[96];
    snprintf(want, sizeof want, "(%d of 80), loss %.6f", correct, loss);
    if (!strstr(answered, want))
        fail_msg("'%s' is not in '%s'", want, answered);
    run("--save w.safetensors --epochs 30 --resume --eval-only", 0);
    assert_non_null(strstr(answered, want));
    run("--save w.safetensors --seed 5 --resume --eval-only", 0);
    assert_non_null(strstr(answered, want));
    unlink("data/t10k-images-idx3-ubyte");
    unlink("data/t10k-labels-idx1-ubyte");
    run("--save w.safetensors --resume --eval-only", 0);
    assert_non_null(strstr(answered, "of 200)"));
}

static void test_same_bits(void **state) {
    (void)state;
    run("--epochs 4 --threads 1 --save a.safetensors --batch-log a", 0);
    run("--epochs 4 --threads 2 --save b.safetensors --batch-log b", 0);
    run("--epochs 4 --threads 8 --save c.safetensors --checkpoint-every 0", 0);
    run("--epochs 4 --seed 8 --save d.safetensors --batch-log d", 0);
    assert_same("a.safetensors", "b.safetensors");
    assert_same("a.safetensors", "c.safetensors");
    assert_same("a", "b");
    char x[4096], y[4096];
    slurp("a", x, sizeof x);
    slurp("d", y, sizeof y);
    assert_string_not_equal(x, y);
}

static void test_flags(void **state) {
    (void)state;
    char text[4096];
    run("--steps 3 --save a.safetensors --batch-log a --no-augment --no-shuffle --label-smoothing 0 --lr 0 --batch 9", 0);
    assert_int_equal(count_lines("a"), 3);
    slurp("a", text, sizeof text);
    assert_non_null(strstr(text, "\"n\": 9"));
    assert_non_null(strstr(text, "\"lr\": 0,"));
    run("--epochs 1 --save b.safetensors --batch-log b", 0);
    slurp("b", text, sizeof text);
    assert_non_null(strstr(text, "{\"step\": 13, \"epoch\": 1, \"n\": 8,"));
    run("--steps 40 --save c.safetensors", 0);              /* beyond the recipe's 3 epochs of 13 steps */
    assert_int_equal(count_lines("c.jsonl"), 4);
    assert_said("4 epochs of 13 steps");
    run("--epochs 1 --save c.safetensors --val-data data --weights a.safetensors", 0);
    run("--help", 0);
    assert_non_null(strstr(answered, "--batch-log FILE"));
    assert_non_null(strstr(answered, "Examples:"));
}

/* The gradient of the mean loss, by central differences over the loss that a step reports. */
static void test_gradients(void **state) {
    (void)state;
    SalunError err;
    run("--steps 1 --no-augment --no-shuffle --label-smoothing 0.2 --dump-gradients g.safetensors", 0);
    SalunSt *st = salun_st_open("g.safetensors", &err);
    assert_non_null(st);
    SalunModel *m = salun_create(&fixture_program, 1, &err);
    salun_init(m, fixture_program.recipe->seed);
    salun_set_smoothing(m, 0.2f);
    static unsigned char pixels[16 + 16 * FIXTURE_PIXELS], label[8 + 16];
    FILE *f = fopen("data/train-images-idx3-ubyte", "rb"), *g = fopen("data/train-labels-idx1-ubyte", "rb");
    assert_int_equal(fread(pixels, 1, sizeof pixels, f), sizeof pixels);
    assert_int_equal(fread(label, 1, sizeof label, g), sizeof label);
    fclose(f);
    fclose(g);
    static float x[16 * FIXTURE_PIXELS], logits[16 * FIXTURE_CLASSES];
    int32_t labels[16];
    for (int i = 0; i < 16 * FIXTURE_PIXELS; i++)
        x[i] = ((float)pixels[16 + i] / 255 - 0.5f) / 0.25f;
    for (int i = 0; i < 16; i++)
        labels[i] = label[8 + i];
    float loss;
    const void *inputs[] = { x, labels };
    void *outputs[] = { &loss, logits };
    float *w = salun_table(m, SALUN_PARAMS, NULL), *mean = salun_table(m, SALUN_STATES, NULL);
    for (int i = 0; i < fixture_program.tensor_count; i++) {
        const SalunTensor *t = &fixture_program.tensors[i];
        const SalunStTensor *dumped = salun_st_find(st, t->name);
        assert_true(t->is_state ? dumped == NULL : dumped != NULL && dumped->count == t->count);
        for (int64_t k = 0; k < t->count && dumped; k++) {
            float value, was = w[t->offset + k], side[2];
            salun_st_floats(dumped, k, 1, &value);
            for (int s = 0; s < 2; s++) {
                *mean = 0;
                w[t->offset + k] = was + (s ? 0.01f : -0.01f);
                assert_int_equal(salun_step(m, 16, inputs, outputs, &err), 0);
                side[s] = loss;
            }
            w[t->offset + k] = was;
            if (fabsf((side[1] - side[0]) / 0.02f - value) > 2e-3f)
                fail_msg("%s[%d]: %g, by differences %g", t->name, (int)k, (double)value, (double)((side[1] - side[0]) / 0.02f));
        }
    }
    salun_destroy(m);
    salun_st_close(st);
}

/* ---- going on ---- */

static void test_resume_steps(void **state) {
    (void)state;
    run("--epochs 4 --save a.safetensors --batch-log a", 0);
    const char *stops[] = { "1", "12", "13", "14", "26", "51", "52" };
    char line[256];
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        snprintf(line, sizeof line, "--epochs 4 --save b.safetensors --batch-log b --steps %s --threads 2", stops[i]);
        run(line, 0);
        assert_int_equal(count_lines("b"), atoi(stops[i]));
        run("--epochs 4 --save b.safetensors --batch-log b --resume --threads 1", 0);
        assert_same("a.safetensors", "b.safetensors");
        assert_same("a", "b");
        assert_int_equal(count_lines("b.jsonl"), 5);
    }
    assert_said("resumed at step 52: all epochs are done");
    run("--epochs 4 --save b.safetensors --batch-log b --resume", 0);
    assert_same("a.safetensors", "b.safetensors");
    assert_int_equal(count_lines("b.jsonl"), 5);
}

/* What would be said must not land in a file that got the number of standard error. */
static void test_closed(void **state) {
    (void)state;
    run("--epochs 2 --save a.safetensors", 0);
    closed = true;
    run("--epochs 2 --save b.safetensors --batch-log b", 0);
    assert_same("a.safetensors", "b.safetensors");
    assert_int_equal(count_lines("b.jsonl"), 3);
    assert_int_equal(count_lines("b"), 26);
}

static void test_signals(void **state) {
    (void)state;
    run("--epochs 100 --save a.safetensors --batch-log a", 0);
    int number[] = { SIGTERM, SIGINT, SIGHUP };
    for (int i = 0; i < 3; i++) {
        pid_t pid = start("--epochs 100 --save b.safetensors --batch-log b");
        while (!there("b.checkpoint"))
            usleep(500);
        usleep(3000 * (unsigned)i);
        kill(pid, number[i]);
        assert_int_equal(finish(pid), SALUN_INTERRUPTED);
        assert_said("--resume goes on from b.checkpoint");
        run("--epochs 100 --save b.safetensors --batch-log b --resume", 0);
        assert_same("a.safetensors", "b.safetensors");
        assert_same("a", "b");
        unlink("b.checkpoint");
    }
}

static void test_refused_resumption(void **state) {
    (void)state;
    run("--epochs 4 --save a.safetensors --resume", SALUN_BAD_INPUT);
    assert_said("a.checkpoint");
    run("--epochs 4 --save a.safetensors --steps 5", 0);
    run("--epochs 5 --seed 9 --save a.safetensors --resume", SALUN_BAD_INPUT);
    assert_said("--seed was 7, now 9; --epochs was 4, now 5");
    run("--epochs 4 --save a.safetensors --resume --no-shuffle", SALUN_BAD_INPUT);
    assert_said("--no-shuffle was off, now on");
    run("--epochs 4 --save a.safetensors --resume --lr 0.06", SALUN_BAD_INPUT);
    assert_said("--lr was 0.05, now 0.06");
    run("--epochs 4 --save a.safetensors --resume --batch 8", SALUN_BAD_INPUT);
    assert_said("--batch was 16, now 8");
    fixture_write_data("data", 200, 79);
    run("--epochs 4 --save a.safetensors --resume", SALUN_BAD_INPUT);
    assert_said("test data was 80 images");
    fixture_write_data("data", 199, 80);
    run("--epochs 4 --save a.safetensors --resume", SALUN_BAD_INPUT);
    assert_said("data was mnist 200 images");
    fixture_write_data("data", 200, 80);
    assert_int_equal(truncate("a.checkpoint", 900), 0);
    run("--epochs 4 --save a.safetensors --resume", SALUN_BAD_INPUT);
    assert_said("a.checkpoint: the file has 900 bytes of");
}

/* ---- what stops it ---- */

static void test_not_finite(void **state) {
    (void)state;
    run("--epochs 4 --lr 1e38 --save b.safetensors --checkpoint-every 0", SALUN_FAIL);
    assert_said("is not finite");
    assert_true(there("b.checkpoint"));
    char last[512] = "";
    for (char *text = strtok(said, "\n"); text; text = strtok(NULL, "\n"))
        snprintf(last, sizeof last, "%s", text);
    if (!strstr(last, "step ") || (!strstr(last, "tap that is not finite is fc") && !strstr(last, "parameter ") && !strstr(last, "loss")))
        fail_msg("%s", last);
}

static void write_npy(const char *path, SalunNpyType type, int rank, const int64_t *dim, const void *bytes, size_t count) {
    SalunSink sink;
    SalunError err;
    assert_int_equal(salun_npy_create(&sink, path, type, rank, dim, &err), 0);
    assert_int_equal(salun_sink_write(&sink, bytes, count, &err), 0);
    assert_int_equal(salun_sink_commit(&sink, &err), 0);
}

/* A NaN in the data, and weights whose first product overflows. */
static void test_not_finite_cause(void **state) {
    (void)state;
    static float x[20 * FIXTURE_PIXELS];
    uint8_t y[20] = { 0 };
    for (int i = 0; i < 20 * FIXTURE_PIXELS; i++)
        x[i] = (float)(i % 7);
    int64_t dim[] = { 20, 1, FIXTURE_SIDE, FIXTURE_SIDE };
    write_npy("y.npy", SALUN_NPY_U8, 1, dim, y, sizeof y);
    write_npy("x.npy", SALUN_NPY_F32, 4, dim, x, sizeof x);
    run("--data npy:x.npy,y.npy --epochs 2 --no-augment --save a.safetensors", 0);
    assert_said("nothing is evaluated");
    x[18 * FIXTURE_PIXELS + 5] = NAN;
    write_npy("x.npy", SALUN_NPY_F32, 4, dim, x, sizeof x);
    run("--data npy:x.npy,y.npy --no-shuffle --save a.safetensors", SALUN_FAIL);
    assert_said("step 2 (epoch 1): the loss is nan; image 18 of the data holds nan; the checkpoint of step 0 is kept");
    x[18 * FIXTURE_PIXELS + 5] = 3e38f;
    x[18 * FIXTURE_PIXELS + 6] = -3e38f;
    for (int i = 0; i < FIXTURE_PIXELS; i++)
        x[17 * FIXTURE_PIXELS + i] = 3e38f;
    write_npy("x.npy", SALUN_NPY_F32, 4, dim, x, sizeof x);
    SalunError err;
    SalunModel *m = salun_create(&fixture_program, 1, &err);
    float *w = salun_table(m, SALUN_PARAMS, NULL);
    for (int i = 0; i <= FIXTURE_CLASSES * FIXTURE_PIXELS + FIXTURE_CLASSES; i++)
        w[i] = i < FIXTURE_PIXELS ? 2 : 1;
    assert_int_equal(salun_save_file(m, SALUN_PARAMS, "big.safetensors", &err), 0);
    salun_destroy(m);
    run("--data npy:x.npy,y.npy --no-shuffle --weights big.safetensors --save a.safetensors", SALUN_FAIL);
    assert_said("the first tap that is not finite is fc: element ");
    assert_said("(kernel forward)");
}

static void test_disk(void **state) {
    (void)state;
    run("--save /nowhere/w.safetensors", SALUN_BAD_INPUT);
    assert_said("/nowhere/w.");
    run("--save /nowhere/w.safetensors --log l --checkpoint c", SALUN_BAD_INPUT);
    run("--save w.safetensors --dump-gradients /nowhere/g", SALUN_BAD_INPUT);
    assert_said("/nowhere/g");
    assert_false(there("w.checkpoint"));
    run("--save /dev/null --epochs 1", 0);
    assert_int_equal(access("/dev/null.checkpoint", F_OK), -1);
    run("--save w.safetensors --log /dev/full", SALUN_NO_SPACE);
    assert_said("/dev/full: writing failed");
    run("--epochs 4 --save a.safetensors --batch-log a", 0);
    run("--epochs 4 --save w.safetensors --batch-log /dev/full", SALUN_NO_SPACE);
    run("--epochs 4 --save w.safetensors --resume", 0);
    assert_same("a.safetensors", "w.safetensors");
    unlink("w.checkpoint");
    file_limit = 3000;                                  /* the batch log grows beyond it, in the second epoch */
    run("--epochs 4 --save w.safetensors --batch-log b", SALUN_NO_SPACE);
    assert_said("b: writing failed");
    file_limit = 0;
    run("--epochs 4 --save w.safetensors --batch-log b --resume", 0);
    assert_same("a.safetensors", "w.safetensors");
    assert_same("a", "b");
    run("--epochs 4 --steps 3 --save w.safetensors", 0);
    run("--epochs 4 --steps 6 --save a.safetensors", 0);
    file_limit = 1500;                                  /* less than a checkpoint, more than the weights */
    run("--epochs 4 --steps 6 --save w.safetensors --resume", SALUN_NO_SPACE);
    assert_same("a.safetensors", "w.safetensors");
    file_limit = 0;
    run("--epochs 4 --steps 6 --save w.safetensors --resume", 0);
    unlink("w.checkpoint");
    file_limit = 1000;                                  /* less than a checkpoint */
    run("--epochs 4 --save w.safetensors", SALUN_NO_SPACE);
    assert_false(there("w.checkpoint"));
    assert_false(there("w.checkpoint.part"));
}

static void test_usage(void **state) {
    (void)state;
    static const char *const lines[][2] = {
        { "", "--save FILE is missing" },
        { "--save w --epoch 3", "did you mean --epochs" },
        { "--save w --epochs", "needs a value" },
        { "--save w --epochs 0", "want a whole number" },
        { "--save w --epochs 1x", "want a whole number" },
        { "--save w --batch 17", "at most 16" },
        { "--save w --seed -1", "--seed" },
        { "--save w --label-smoothing 2", "want a number" },
        { "--save w --lr nan", "want a number" },
        { "--save w --resume=yes", "takes no value" },
        { "w", "not an option" },
        { "--save w --weights-allow x", "without --weights" },
        { "--save w --weights gone", "gone" },
        { "--save w --data gone", "gone: No such file" },
        { "--save w --checkpoint w", "--save and --checkpoint are the same file, w" },
        { "--save w --dump-gradients w.jsonl", "--log and --dump-gradients are the same file" },
        { "--eval-only", "needs --weights" },
        { "--resume --dump-gradients g", "--resume needs" },
        { "--resume --save /dev/null", "--resume needs" },
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        run(lines[i][0], SALUN_BAD_INPUT);
        assert_said(lines[i][1]);
    }
    fixture_write_file("data", "train-labels-idx1-ubyte", "", 0);
    run("--save w", SALUN_BAD_INPUT);
    assert_said("data/train-labels-idx1-ubyte");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_work, close_work)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_learns), TEST(test_same_bits), TEST(test_flags), TEST(test_gradients), TEST(test_resume_steps), TEST(test_closed), TEST(test_signals),
        TEST(test_refused_resumption), TEST(test_not_finite), TEST(test_not_finite_cause), TEST(test_disk), TEST(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
