/* train_fixture.c - softmax regression as a SalunProgram, written by hand.
 *   z = scale * W (x - mean) + bias, loss = mean of cross entropies; mean <- 0.9 mean + 0.1 mean of x over batch and pixels */
#include "train_fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { P = FIXTURE_PIXELS, C = FIXTURE_CLASSES, N = FIXTURE_BATCH };
enum { WEIGHT = 0, BIAS = C * P, SCALE = BIAS + C, PARAMS = SCALE + 1 };
enum { HIDDEN = 0, DELTA = N * C, BLOCK = 2 * N * C };       /* floats of the block: W (x - mean), and dloss/dz */

/* hidden(i) = W (x(i) - mean), z = scale * hidden + bias: one task per image. args: params, mean, x, hidden, z */
static void forward(void *const *arg, const SalunRun *run, int64_t task) {
    const float *w = arg[0], *mean = arg[1], *x = (const float *)arg[2] + task * P;
    float *hidden = (float *)arg[3] + task * C, *z = (float *)arg[4] + task * C;
    (void)run;
    for (int c = 0; c < C; c++) {
        float sum = 0;
        for (int k = 0; k < P; k++)
            sum += w[WEIGHT + c * P + k] * (x[k] - mean[0]);
        hidden[c] = sum;
        z[c] = w[SCALE] * sum + w[BIAS + c];
    }
}

/* args: z, labels, delta, loss */
static void loss(void *const *arg, const SalunRun *run, int64_t task) {
    const float *z = arg[0];
    const int32_t *label = arg[1];
    float *delta = arg[2], *out = arg[3], total = 0;
    (void)task;
    for (int64_t i = 0; i < run->n; i++, z += C, delta += C) {
        float top = z[0], sum = 0;
        for (int c = 1; c < C; c++)
            top = z[c] > top ? z[c] : top;
        for (int c = 0; c < C; c++)
            sum += expf(z[c] - top);
        for (int c = 0; c < C; c++) {
            float want = run->smoothing / C + (c == label[i] ? 1 - run->smoothing : 0);
            float log_p = z[c] - top - logf(sum);
            total -= want * log_p;
            delta[c] = (expf(log_p) - want) / run->batch;
        }
    }
    *out = total / run->batch;
}

/* args: params, mean, x, hidden, delta, grads */
static void backward(void *const *arg, const SalunRun *run, int64_t task) {
    const float *w = arg[0], *mean = arg[1], *x = arg[2], *hidden = arg[3], *delta = arg[4];
    float *g = arg[5];
    (void)task;
    memset(g, 0, PARAMS * sizeof *g);
    for (int64_t i = 0; i < run->n; i++, x += P, hidden += C, delta += C)
        for (int c = 0; c < C; c++) {
            for (int k = 0; k < P; k++)
                g[WEIGHT + c * P + k] += w[SCALE] * delta[c] * (x[k] - mean[0]);
            g[BIAS + c] += delta[c];
            g[SCALE] += delta[c] * hidden[c];
        }
}

/* args: x, mean */
static void track(void *const *arg, const SalunRun *run, int64_t task) {
    const float *x = arg[0];
    float *mean = arg[1], sum = 0;
    (void)task;
    for (int64_t i = 0; i < run->n * P; i++)
        sum += x[i];
    mean[0] = 0.9f * mean[0] + 0.1f * sum / (run->batch * P);
}

/* Momentum over the raw values: the scale is exp(raw). args: params, raw, grads, slots */
static void update(void *const *arg, const SalunRun *run, int64_t task) {
    float *w = arg[0], *raw = arg[1], *slot = arg[3];
    const float *g = arg[2];
    (void)task;
    for (int i = 0; i < PARAMS; i++) {
        slot[i] = 0.9f * slot[i] + (i == SCALE ? g[i] * w[i] : g[i]);
        if (i == SCALE) {
            raw[0] -= run->lr * slot[i];
            w[i] = expf(raw[0]);
        } else {
            w[i] -= run->lr * slot[i];
        }
    }
}

/* PREPARED is a copy of parameters and mean. args: params, mean, prepared */
static void prepare(void *const *arg, const SalunRun *run, int64_t task) {
    float *out = arg[2];
    (void)run;
    (void)task;
    memcpy(out, arg[0], PARAMS * sizeof *out);
    memcpy(out + PARAMS, arg[1], sizeof *out);
}

#define AT(space, floats) { space, 0, 4 * (floats) }
static const SalunPlace prepare_args[] = { AT(SALUN_PARAMS, 0), AT(SALUN_STATES, 0), AT(SALUN_PREPARED, 0) };
static const SalunPlace infer_args[] = { AT(SALUN_PREPARED, 0), AT(SALUN_PREPARED, PARAMS), AT(SALUN_INPUT, 0), AT(SALUN_BLOCK, HIDDEN),
                                         AT(SALUN_OUTPUT, 0) };
static const SalunPlace forward_args[] = { AT(SALUN_PARAMS, 0), AT(SALUN_STATES, 0), AT(SALUN_INPUT, 0), AT(SALUN_BLOCK, HIDDEN),
                                           AT(SALUN_OUTPUT + 1, 0) };
static const SalunPlace loss_args[] = { AT(SALUN_OUTPUT + 1, 0), AT(SALUN_INPUT + 1, 0), AT(SALUN_BLOCK, DELTA), AT(SALUN_OUTPUT, 0) };
static const SalunPlace backward_args[] = { AT(SALUN_PARAMS, 0), AT(SALUN_STATES, 0), AT(SALUN_INPUT, 0), AT(SALUN_BLOCK, HIDDEN),
                                            AT(SALUN_BLOCK, DELTA), AT(SALUN_GRADS, 0) };
static const SalunPlace track_args[] = { AT(SALUN_INPUT, 0), AT(SALUN_STATES, 0) };
static const SalunPlace update_args[] = { AT(SALUN_PARAMS, 0), AT(SALUN_RAW, 0), AT(SALUN_GRADS, 0), AT(SALUN_SLOTS, 0) };

static const SalunCall prepare_calls[] = { { prepare, prepare_args, 3, -1, "prepare", 1, 0, 1, -1, 0, 0 } };
static const SalunCall infer_calls[] = { { forward, infer_args, 5, 0, "forward", 1, 1, 1e5, 4, 1, C } };
static const SalunCall step_calls[] = {
    { forward, forward_args, 5, 0, "forward", 1, 1, 1e5, 4, 1, C },
    { loss, loss_args, 4, 1, "loss", 1, 0, 1, 3, 0, 1 },
    { backward, backward_args, 6, -1, "backward", 1, 0, 1, -1, 0, 0 },
    { track, track_args, 2, -1, "track", 1, 0, 1, -1, 0, 0 },
};
static const SalunCall update_calls[] = { { update, update_args, 4, -1, "update", 1, 0, 1, -1, 0, 0 } };

static const SalunTensor tensors[] = {
    { .name = "fc.weight", .rank = 2, .dim = { C, P }, .count = C * P, .offset = WEIGHT, .raw_offset = -1, .init = SALUN_INIT_NORMAL, .init_a = 0.05 },
    { .name = "fc.bias", .rank = 1, .dim = { C }, .count = C, .offset = BIAS, .raw_offset = -1, .init = SALUN_INIT_ZEROS },
    { .name = "scale", .rank = 0, .count = 1, .offset = SCALE, .raw_offset = 0, .init = SALUN_INIT_CONST, .init_a = 1, .constraint = SALUN_GREATER },
    { .name = "mean", .is_state = 1, .rank = 0, .count = 1, .offset = 0, .raw_offset = -1, .init = SALUN_INIT_ZEROS },
};
static const SalunPort image = { "image", SALUN_F32, 3, { 1, FIXTURE_SIDE, FIXTURE_SIDE }, P };
static const SalunPort labels = { "labels", SALUN_I32, 0, { 0 }, 1 };
static const SalunPort logits = { "logits", SALUN_F32, 1, { C }, C };
static const char *const taps[] = { "fc", "loss" };
static const SalunPreStep pre[] = { { SALUN_NORMALIZE, 1, 0, { 0.5 }, { 0.25 } } };
static const SalunAugment augment[] = { { SALUN_PAD_CROP, 0, 1 }, { SALUN_FLIP, 0, 0.1 } };
static const SalunSchedPart schedule[] = { { .kind = SALUN_SCHED_WARMUP, .epochs = 1 }, { .kind = SALUN_SCHED_COSINE, .to = 0 } };
static const SalunRecipe recipe = { .data = "mnist", .augment = augment, .augment_count = 2, .schedule_count = 2, .schedule = schedule,
                                    .lr = 0.05, .smoothing = 0.1, .epochs = 3, .seed = 7 };

const SalunProgram fixture_program = {
    .abi = SALUN_ABI, .name = "softmax", .numeric = "plain", .source = "train_fixture.c", .hash = 0x736f66746d6178, .batch = N,
    .tensors = tensors, .tensor_count = 4, .slot_count = 1, .table_floats = { PARAMS, 1, 1, PARAMS, PARAMS },
    .prepared_bytes = 4 * (PARAMS + 1), .block_bytes = 4 * BLOCK, .scratch_bytes = 0,
    .inputs = &image, .input_count = 1, .targets = &labels, .target_count = 1, .outputs = &logits, .output_count = 1,
    .tap_count = 2, .taps = taps,
    .prepare = { "prepare", prepare_calls, 1 }, .infer = { "infer", infer_calls, 1 }, .step = { "step", step_calls, 4 },
    .update = { "update", update_calls, 1 }, .pre = pre, .pre_count = 1, .recipe = &recipe,
};

/* ---- data ---- */

int fixture_write_file(const char *dir, const char *name, const void *bytes, size_t count) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f)
        return -1;
    size_t put = fwrite(bytes, 1, count, f);
    return fclose(f) == 0 && put == count ? 0 : -1;
}

enum { MOST = 4096 };

static void put_size(unsigned char *at, unsigned size) {
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(size >> (24 - 8 * i));
}

/* Class c brightens one quadrant of a noisy image. */
static int write_part(const char *dir, const char *images, const char *labels_name, int count, unsigned seed) {
    static unsigned char pixels[16 + MOST * P], label[8 + MOST];
    memcpy(pixels, "\0\0\10\3", 4);
    memcpy(label, "\0\0\10\1", 4);
    put_size(pixels + 4, (unsigned)count);
    put_size(pixels + 8, FIXTURE_SIDE);
    put_size(pixels + 12, FIXTURE_SIDE);
    put_size(label + 4, (unsigned)count);
    for (int i = 0; i < count; i++) {
        int c = i * 7 % C;
        label[8 + i] = (unsigned char)c;
        for (int k = 0; k < P; k++) {
            seed = seed * 1664525u + 1013904223u;
            int y = k / FIXTURE_SIDE, x = k % FIXTURE_SIDE, bright = (y >= 3) == c / 2 && (x >= 3) == c % 2;
            pixels[16 + i * P + k] = (unsigned char)((seed >> 24) / 2 + (bright ? 70 : 0));
        }
    }
    return fixture_write_file(dir, images, pixels, 16 + (size_t)count * P) || fixture_write_file(dir, labels_name, label, 8 + (size_t)count);
}

int fixture_write_data(const char *dir, int train, int test) {
    if (train > MOST || test > MOST || write_part(dir, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", train, 1))
        return -1;
    return test ? write_part(dir, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", test, 2) : 0;
}
