/* tiny_program.h - a compiled network written by hand, as the C back end writes them: what the runtime's tests run.
 *
 * Tiny(image: f32[N, 1, 4, 4]) -> logits f32[N, 3]: logits = a (W x + b) - mean, with a > 0 constrained and mean a state.
 * Its loss is the mean over the images of |logits - target|^2 / 2; SGD updates W, b and log a. The step sums gradients over
 * chunks of 8 images in a fixed order, as generated code does, so that the number of threads must not show. */
#ifndef TINY_PROGRAM_H
#define TINY_PROGRAM_H

#include "salun.h"

#include <math.h>
#include <string.h>

enum {
    TINY_BATCH = 64, TINY_IN = 16, TINY_OUT = 3, TINY_CHUNK = 8, TINY_PARTS = TINY_BATCH / TINY_CHUNK,
    TINY_W = 0, TINY_B = 64, TINY_A = 80, TINY_FLOATS = 96,            /* in PARAMS */
    TINY_GRAD_PART = 128                                              /* floats of one chunk's gradients in BLOCK */
};
#define TINY_LOGITS_AT (TINY_PARTS * TINY_GRAD_PART * 4)              /* bytes, in BLOCK */

/* W [3, 16] -> [16, 3] */
static inline void tiny_pack(void *const *arg, const SalunRun *run, int64_t task) {
    const float *w = arg[0];
    float *packed = arg[1];
    (void)run;
    for (int i = 0; i < TINY_IN; i++)
        packed[i * TINY_OUT + task] = w[task * TINY_IN + i];
}

/* image, packed, bias, a, mean -> logits; one task per image */
static inline void tiny_linear(void *const *arg, const SalunRun *run, int64_t task) {
    const float *x = (const float *)arg[0] + task * TINY_IN, *w = arg[1], *b = arg[2], *a = arg[3], *mean = arg[4];
    float *y = (float *)arg[5] + task * TINY_OUT, *sum = run->scratch;
    for (int o = 0; o < TINY_OUT; o++)
        sum[o] = b[o];
    for (int i = 0; i < TINY_IN; i++)
        for (int o = 0; o < TINY_OUT; o++)
            sum[o] += x[i] * w[i * TINY_OUT + o];
    for (int o = 0; o < TINY_OUT; o++)
        y[o] = a[0] * sum[o] - mean[o];
}

/* image, target, W, b, a, mean -> logits, gradients of one chunk; one task per chunk */
static inline void tiny_backward(void *const *arg, const SalunRun *run, int64_t task) {
    const float *w = arg[2], *b = arg[3], *a = arg[4], *mean = arg[5];
    float *part = (float *)arg[7] + task * TINY_GRAD_PART;
    memset(part, 0, TINY_GRAD_PART * sizeof *part);
    for (int64_t n = task * TINY_CHUNK; n < run->n && n < (task + 1) * TINY_CHUNK; n++) {
        const float *x = (const float *)arg[0] + n * TINY_IN, *target = (const float *)arg[1] + n * TINY_OUT;
        float *y = (float *)arg[6] + n * TINY_OUT;
        for (int o = 0; o < TINY_OUT; o++) {
            float z = b[o];
            for (int i = 0; i < TINY_IN; i++)
                z += x[i] * w[o * TINY_IN + i];
            y[o] = a[0] * z - mean[o];
            float d = (y[o] - target[o]) / run->batch;
            for (int i = 0; i < TINY_IN; i++)
                part[TINY_W + o * TINY_IN + i] += a[0] * d * x[i];
            part[TINY_B + o] += a[0] * d;
            part[TINY_A] += z * d;
            part[TINY_A + 1] += (y[o] - target[o]) * d / 2;
        }
    }
}

/* parts -> gradients, loss */
static inline void tiny_combine(void *const *arg, const SalunRun *run, int64_t task) {
    const float *part = arg[0];
    float *grad = arg[1], *loss = arg[2];
    (void)task;
    memset(grad, 0, TINY_FLOATS * sizeof *grad);
    *loss = 0;
    for (int64_t k = 0; k < (run->n + TINY_CHUNK - 1) / TINY_CHUNK; k++) {
        for (int i = 0; i <= TINY_A; i++)
            grad[i] += part[k * TINY_GRAD_PART + i];
        *loss += part[k * TINY_GRAD_PART + TINY_A + 1];
    }
}

/* gradients, parameters, raw: SGD; a by its logarithm */
static inline void tiny_update(void *const *arg, const SalunRun *run, int64_t task) {
    const float *grad = arg[0];
    float *param = arg[1], *raw = arg[2];
    (void)task;
    for (int i = 0; i < TINY_A; i++)
        param[i] -= run->lr * grad[i];
    raw[0] -= run->lr * grad[TINY_A] * param[TINY_A];
    param[TINY_A] = expf(raw[0]);
}

#define TINY_AT(space, offset) { space, 0, offset }
static const SalunPlace tiny_pack_args[] = { TINY_AT(SALUN_PARAMS, TINY_W * 4), TINY_AT(SALUN_PREPARED, 0) };
static const SalunPlace tiny_linear_args[] = { TINY_AT(SALUN_INPUT, 0), TINY_AT(SALUN_PREPARED, 0), TINY_AT(SALUN_PARAMS, TINY_B * 4),
    TINY_AT(SALUN_PARAMS, TINY_A * 4), TINY_AT(SALUN_STATES, 0), TINY_AT(SALUN_OUTPUT, 0) };
static const SalunPlace tiny_backward_args[] = { TINY_AT(SALUN_INPUT, 0), TINY_AT(SALUN_INPUT + 1, 0), TINY_AT(SALUN_PARAMS, TINY_W * 4),
    TINY_AT(SALUN_PARAMS, TINY_B * 4), TINY_AT(SALUN_PARAMS, TINY_A * 4), TINY_AT(SALUN_STATES, 0), TINY_AT(SALUN_OUTPUT + 1, 0),
    TINY_AT(SALUN_BLOCK, 0) };
static const SalunPlace tiny_combine_args[] = { TINY_AT(SALUN_BLOCK, 0), TINY_AT(SALUN_GRADS, 0), TINY_AT(SALUN_OUTPUT, 0) };
static const SalunPlace tiny_update_args[] = { TINY_AT(SALUN_GRADS, 0), TINY_AT(SALUN_PARAMS, 0), TINY_AT(SALUN_RAW, 0) };

/* flops are overstated so that every call is forked */
static const SalunCall tiny_prepare_calls[] = { { tiny_pack, tiny_pack_args, 2, -1, "pack", TINY_OUT, 0, 1e6, -1, 0, 0 } };
static const SalunCall tiny_infer_calls[] = { { tiny_linear, tiny_linear_args, 6, 0, "linear", 1, 1, 1e6, 5, 1, TINY_OUT } };
static const SalunCall tiny_step_calls[] = {
    { tiny_backward, tiny_backward_args, 8, 0, "backward", 1, TINY_CHUNK, 1e6, 6, 1, TINY_OUT },
    { tiny_combine, tiny_combine_args, 3, 1, "combine", 1, 0, 1, 2, 0, 1 },
};
static const SalunCall tiny_update_calls[] = { { tiny_update, tiny_update_args, 3, -1, "update", 1, 0, 1, -1, 0, 0 } };

static const SalunTensor tiny_tensors[] = {
    { "fc.weight", 0, 2, { 3, 16 }, 48, TINY_W, -1, SALUN_INIT_NORMAL, SALUN_FREE, 0.5, 0, 0, 0 },
    { "fc.bias", 0, 1, { 3 }, 3, TINY_B, -1, SALUN_INIT_UNIFORM, SALUN_FREE, -1, 1, 0, 0 },
    { "act.a", 0, 0, { 0 }, 1, TINY_A, 0, SALUN_INIT_CONST, SALUN_GREATER, 1, 0, 0, 0 },
    { "center.mean", 1, 1, { 3 }, 3, 0, -1, SALUN_INIT_ZEROS, SALUN_FREE, 0, 0, 0, 0 },
};
static const SalunPort tiny_inputs[] = { { "image", SALUN_F32, 3, { 1, 4, 4 }, TINY_IN } };
static const SalunPort tiny_targets[] = { { "target", SALUN_F32, 1, { 3 }, TINY_OUT } };
static const SalunPort tiny_outputs[] = { { "logits", SALUN_F32, 1, { 3 }, TINY_OUT } };
static const char *const tiny_taps[] = { "fc", "loss" };
static const SalunPreStep tiny_pre[] = {
    { SALUN_RESIZE, 0, 4, { 0 }, { 0 } }, { SALUN_CENTER_CROP, 0, 4, { 0 }, { 0 } }, { SALUN_NORMALIZE, 1, 0, { 0.5 }, { 0.25 } },
};
static const SalunRecipe tiny_recipe = { .data = "", .lr = 0.1, .smoothing = 0.1, .epochs = 1, .seed = 1 };

static const SalunProgram tiny_program = {
    .abi = SALUN_ABI, .name = "Tiny", .numeric = "w4 strict", .source = "tiny.snet", .hash = 1, .prepared_hash = 2, .batch = TINY_BATCH,
    .tensors = tiny_tensors, .tensor_count = 4, .table_floats = { TINY_FLOATS, 16, 16, TINY_FLOATS, 0 },
    .prepared_bytes = TINY_IN * TINY_OUT * 4, .block_bytes = TINY_LOGITS_AT + 64, .scratch_bytes = 64,
    .inputs = tiny_inputs, .input_count = 1, .target_count = 1, .targets = tiny_targets,
    .outputs = tiny_outputs, .output_count = 1, .tap_count = 2, .taps = tiny_taps,
    .prepare = { "prepare", tiny_prepare_calls, 1 }, .infer = { "infer", tiny_infer_calls, 1 },
    .step = { "step", tiny_step_calls, 2 }, .update = { "update", tiny_update_calls, 1 },
    .pre = tiny_pre, .pre_count = 3, .recipe = &tiny_recipe,
};

/* Images and targets that differ everywhere. */
static inline void tiny_fill(float *x, int64_t count, uint32_t seed) {
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / 8388608.0f - 1;
    }
}

#endif
