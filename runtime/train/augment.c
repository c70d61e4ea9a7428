/* augment.c - pad_crop, flip and the order of an epoch, from Philox. */
#include "augment.h"

#include "random.h"

#include <string.h>

/* The last counter word tells the streams of one seed apart; augmentation step i uses AUGMENT + i. */
enum { ORDER = 0x6f726400, AUGMENT = 0x61756700 };

static void draw(uint64_t seed, int64_t index, int64_t epoch, uint32_t stream, uint32_t out[4]) {
    const uint32_t counter[4] = { (uint32_t)index, (uint32_t)((uint64_t)index >> 32), (uint32_t)epoch, stream };
    const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    salun_philox(counter, key, out);
}

/* A whole number in [0, bound) of 64 random bits; the bias is below bound / 2^64. */
static int64_t below(uint32_t high, uint32_t low, int64_t bound) {
    uint64_t bits = (uint64_t)high << 32 | low;
    return (int64_t)(uint64_t)(((unsigned __int128)bits * (unsigned __int128)(uint64_t)bound) >> 64);
}

/* out(y, x) = in(y + dy, x + dx), 0 outside */
static void shift(const uint8_t *in, uint8_t *out, const int64_t dim[3], int64_t dy, int64_t dx) {
    int64_t height = dim[1], width = dim[2];
    int64_t begin = dx < 0 ? -dx : 0, end = dx > 0 ? width - dx : width;
    if (begin > width)
        begin = width;
    if (end < begin)
        end = begin;
    for (int64_t c = 0; c < dim[0]; c++)
        for (int64_t y = 0; y < height; y++, out += width) {
            memset(out, 0, (size_t)width);
            if (y + dy >= 0 && y + dy < height && end > begin)
                memcpy(out + begin, in + (c * height + y + dy) * width + begin + dx, (size_t)(end - begin));
        }
}

static void mirror(const uint8_t *in, uint8_t *out, const int64_t dim[3]) {
    int64_t width = dim[2];
    for (int64_t row = 0; row < dim[0] * dim[1]; row++, in += width, out += width)
        for (int64_t x = 0; x < width; x++)
            out[x] = in[width - 1 - x];
}

uint8_t *augment_image(const SalunAugment *steps, int count, uint64_t seed, int64_t epoch, int64_t index, const int64_t dim[3],
                       uint8_t *a, uint8_t *b) {
    for (int i = 0; i < count; i++) {
        uint32_t r[4];
        draw(seed, index, epoch, AUGMENT + (uint32_t)i, r);
        if (steps[i].kind == SALUN_PAD_CROP) {
            int64_t pad = (int64_t)steps[i].value;
            shift(a, b, dim, below(r[0], r[1], 2 * pad + 1) - pad, below(r[2], r[3], 2 * pad + 1) - pad);
        } else if (salun_uniform(r[0], r[1]) < steps[i].value) {
            mirror(a, b, dim);
        } else {
            continue;
        }
        uint8_t *t = a;
        a = b;
        b = t;
    }
    return a;
}

void augment_order(int64_t *order, int64_t count, uint64_t seed, int64_t epoch) {
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    for (int64_t i = count - 1; i > 0; i--) {
        uint32_t r[4];
        draw(seed, i, epoch, ORDER, r);
        int64_t j = below(r[0], r[1], i + 1);
        int64_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}
