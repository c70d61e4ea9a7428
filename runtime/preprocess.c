/* preprocess.c - resize, center_crop, normalize; the arithmetic is stated in preprocess.h. */
#include "preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_STEPS = 8,
    WEIGHT_BITS = 22,                        /* of a resize's integer weights */
    MOST_SIDE = 1 << 16,
    MOST_PIXELS = 1 << 28
};

typedef struct { int64_t first; int32_t count; } Span;

struct SalunPre {
    const SalunProgram *program;
    int64_t channels, height, width;         /* of the network's input */
    float table[SALUN_PRE_CHANNELS][256];    /* byte to input value */
    uint8_t *bytes[3];                       /* two pictures that the steps go to and fro between, and a resize's rows */
    size_t room[3];
    int32_t *weights;                        /* of one resize, `taps` per output position */
    Span *spans;                             /* of each output position */
    size_t weight_room, span_room;
};

/* ---- making ready ---- */

static int check_steps(const SalunProgram *p, SalunError *err) {
    bool normalized = false;
    if (!p->input_count || p->inputs->rank != 3 || p->inputs->type != SALUN_F32)
        return salun_error(err, SALUN_BAD_INPUT, "%s takes no pictures: its first input is no image [channels, height, width]", p->name);
    if (p->inputs->dim[0] > SALUN_PRE_CHANNELS)
        return salun_error(err, SALUN_BAD_INPUT, "%s takes images of %lld channels; bytes are read for up to %d", p->name,
                           (long long)p->inputs->dim[0], SALUN_PRE_CHANNELS);
    for (int i = 0; i < p->pre_count; i++) {
        const SalunPreStep *s = &p->pre[i];
        if (s->kind == SALUN_NORMALIZE) {
            if (s->channels != 1 && s->channels != p->inputs->dim[0])
                return salun_error(err, SALUN_FAIL, "%s: normalize has %d means for %lld channels", p->name, (int)s->channels,
                                   (long long)p->inputs->dim[0]);
            normalized = true;
        } else if (normalized) {
            return salun_error(err, SALUN_FAIL, "%s: normalize must be the last step of preprocess", p->name);
        } else if (s->size < 1 || s->size > MOST_SIDE) {
            return salun_error(err, SALUN_FAIL, "%s: a picture cannot be made %lld pixels wide", p->name, (long long)s->size);
        }
    }
    return 0;
}

static void fill_table(SalunPre *pre) {
    const SalunProgram *p = pre->program;
    for (int64_t c = 0; c < pre->channels; c++)
        for (int v = 0; v < 256; v++) {
            float x = (float)v / 255.0f;
            for (int i = 0; i < p->pre_count; i++)
                if (p->pre[i].kind == SALUN_NORMALIZE) {
                    int64_t k = p->pre[i].channels == 1 ? 0 : c;
                    x = (x - (float)p->pre[i].mean[k]) / (float)p->pre[i].std[k];
                }
            pre->table[c][v] = x;
        }
}

SalunPre *salun_pre_create(const SalunProgram *p, SalunError *err) {
    if (check_steps(p, err))
        return NULL;
    SalunPre *pre = calloc(1, sizeof *pre);
    if (!pre) {
        salun_error(err, SALUN_NO_SPACE, "out of memory");
        return NULL;
    }
    pre->program = p;
    pre->channels = p->inputs->dim[0];
    pre->height = p->inputs->dim[1];
    pre->width = p->inputs->dim[2];
    fill_table(pre);
    return pre;
}

void salun_pre_destroy(SalunPre *pre) {
    if (!pre)
        return;
    for (int i = 0; i < 3; i++)
        free(pre->bytes[i]);
    free(pre->weights);
    free(pre->spans);
    free(pre);
}

/* An array of at least `wanted` bytes, kept from picture to picture; its contents are lost. NULL: out of memory. */
static void *reserve(void *array, size_t *room, size_t wanted) {
    if (array && *room >= wanted)
        return array;
    free(array);
    array = malloc(wanted);
    *room = array ? wanted : 0;
    return array;
}

/* ---- resize ---- */

/* Weights of resampling `in` positions to `out`; returns how many there are per position, 0: out of memory. */
static int64_t resize_weights(SalunPre *pre, int64_t in, int64_t out) {
    double scale = (double)in / (double)out, support = scale < 1 ? 1 : scale, narrow = 1 / support;
    int64_t taps = (int64_t)ceil(support) * 2 + 1;
    pre->weights = reserve(pre->weights, &pre->weight_room, (size_t)(taps * out) * sizeof *pre->weights);
    pre->spans = reserve(pre->spans, &pre->span_room, (size_t)out * sizeof *pre->spans);
    if (!pre->weights || !pre->spans)
        return 0;
    for (int64_t i = 0; i < out; i++) {
        double center = ((double)i + 0.5) * scale, sum = 0;
        int64_t begin = (int64_t)(center - support + 0.5), end = (int64_t)(center + support + 0.5);
        begin = begin < 0 || center - support + 0.5 < 0 ? 0 : begin;
        end = end > in ? in : end;
        for (int64_t k = begin; k < end; k++) {
            double x = fabs(((double)k - center + 0.5) * narrow);
            sum += x < 1 ? 1 - x : 0;
        }
        for (int64_t k = begin; k < end; k++) {
            double x = fabs(((double)k - center + 0.5) * narrow), w = x < 1 ? (1 - x) / sum : 0;
            pre->weights[i * taps + k - begin] = (int32_t)(w * (1 << WEIGHT_BITS) + 0.5);
        }
        pre->spans[i] = (Span){ begin, (int32_t)(end - begin) };
    }
    return taps;
}

/* Weighted sum of `count` bytes `stride` apart, rounded to a byte. */
static uint8_t blend(const uint8_t *p, int64_t stride, const int32_t *weight, int32_t count) {
    int64_t sum = 1 << (WEIGHT_BITS - 1);
    for (int32_t k = 0; k < count; k++, p += stride)
        sum += (int64_t)weight[k] * *p;
    sum >>= WEIGHT_BITS;
    return (uint8_t)(sum > 255 ? 255 : sum);
}

/* in to a planar picture of height x width at out, or NULL: out of memory. */
static const uint8_t *resize(SalunPre *pre, const SalunPicture *in, int64_t height, int64_t width, int out) {
    size_t rows = (size_t)(in->channels * in->height * width), size = (size_t)(in->channels * height * width);
    pre->bytes[2] = reserve(pre->bytes[2], &pre->room[2], rows);
    pre->bytes[out] = reserve(pre->bytes[out], &pre->room[out], size);
    if (!pre->bytes[2] || !pre->bytes[out])
        return NULL;
    int64_t taps = resize_weights(pre, in->width, width);
    if (!taps)
        return NULL;
    uint8_t *to = pre->bytes[2];
    for (int64_t c = 0; c < in->channels; c++)
        for (int64_t y = 0; y < in->height; y++)
            for (int64_t x = 0; x < width; x++)
                *to++ = blend(in->data + c * in->plane + y * in->row + pre->spans[x].first * in->step, in->step, pre->weights + x * taps,
                              pre->spans[x].count);
    taps = resize_weights(pre, in->height, height);
    if (!taps)
        return NULL;
    to = pre->bytes[out];
    for (int64_t c = 0; c < in->channels; c++)
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++)
                *to++ = blend(pre->bytes[2] + (c * in->height + pre->spans[y].first) * width + x, width, pre->weights + y * taps, pre->spans[y].count);
    return pre->bytes[out];
}

/* ---- crop ---- */

/* Where a crop of `size` begins in `side`: half of the difference, a half rounded to even; padding puts the odd pixel behind. */
static int64_t crop_begin(int64_t side, int64_t size) {
    int64_t spare = side - size;
    if (spare < 0)
        return -(-spare / 2);
    return spare % 4 == 3 ? spare / 2 + 1 : spare / 2;
}

static const uint8_t *crop(SalunPre *pre, const SalunPicture *in, int64_t size, int out) {
    pre->bytes[out] = reserve(pre->bytes[out], &pre->room[out], (size_t)(in->channels * size * size));
    if (!pre->bytes[out])
        return NULL;
    int64_t top = crop_begin(in->height, size), left = crop_begin(in->width, size);
    uint8_t *to = pre->bytes[out];
    for (int64_t c = 0; c < in->channels; c++)
        for (int64_t y = top; y < top + size; y++)
            for (int64_t x = left; x < left + size; x++) {
                bool inside = y >= 0 && y < in->height && x >= 0 && x < in->width;
                *to++ = inside ? in->data[c * in->plane + y * in->row + x * in->step] : 0;
            }
    return pre->bytes[out];
}

/* ---- all steps ---- */

static int run_steps(SalunPre *pre, SalunPicture *at, const char *who, SalunError *err) {
    const SalunProgram *p = pre->program;
    int out = 0;
    for (int i = 0; i < p->pre_count && p->pre[i].kind != SALUN_NORMALIZE; i++, out ^= 1) {
        int64_t size = p->pre[i].size, height = size, width = size;
        const uint8_t *data;
        if (p->pre[i].kind == SALUN_RESIZE) {
            int64_t shorter = at->height < at->width ? at->height : at->width;
            height = at->height == shorter ? size : size * at->height / shorter;
            width = at->width == shorter ? size : size * at->width / shorter;
            if (height * width > MOST_PIXELS || at->height * width > MOST_PIXELS)
                return salun_error(err, SALUN_BAD_INPUT, "%s: %lld x %lld pixels cannot be resized to %lld x %lld", who,
                                   (long long)at->width, (long long)at->height, (long long)width, (long long)height);
            data = resize(pre, at, height, width, out);
        } else {
            data = crop(pre, at, size, out);
        }
        if (!data)
            return salun_error(err, SALUN_NO_SPACE, "out of memory");
        *at = salun_picture_planar(data, at->channels, height, width);
    }
    return 0;
}

int salun_pre_apply(SalunPre *pre, const SalunPicture *in, const char *who, float *out, SalunError *err) {
    SalunPicture at = *in;
    if (in->channels != pre->channels)
        return salun_error(err, SALUN_BAD_INPUT, "%s has %lld channels, %s takes %lld", who, (long long)in->channels, pre->program->name,
                           (long long)pre->channels);
    if (in->height < 1 || in->width < 1 || in->height > MOST_SIDE || in->width > MOST_SIDE)
        return salun_error(err, SALUN_BAD_INPUT, "%s is %lld x %lld pixels", who, (long long)in->width, (long long)in->height);
    int code = run_steps(pre, &at, who, err);
    if (code)
        return code;
    if (at.height != pre->height || at.width != pre->width)
        return salun_error(err, SALUN_BAD_INPUT, "%s: %lld x %lld pixels%s, but %s takes %lld x %lld", who, (long long)at.width,
                           (long long)at.height, pre->program->pre_count ? " after preprocess" : "", pre->program->name,
                           (long long)pre->width, (long long)pre->height);
    for (int64_t c = 0; c < at.channels; c++)
        for (int64_t y = 0; y < at.height; y++)
            for (int64_t x = 0; x < at.width; x++)
                *out++ = pre->table[c][at.data[c * at.plane + y * at.row + x * at.step]];
    return 0;
}
