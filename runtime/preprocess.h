/* preprocess.h - how picture bytes become the network's input: the steps of `preprocess` in a .snet file.
 *
 * resize(S): the shorter side becomes S, the longer floor(S * longer / shorter). Antialiased bilinear in integers: a triangle
 *   of half-width max(1, scale) around (x + 1/2) * scale, weights normalized, rounded to 22 bits; rows first, rounded to bytes,
 *   then columns. These are the bits of Pillow's BILINEAR and of torchvision's Resize on its images.
 * center_crop(S): S x S from offset (side - S)/2, a half rounded to even; a smaller picture is padded with 0 on both sides,
 *   the extra pixel behind. As torchvision's CenterCrop.
 * normalize(mean, std): (v / 255 - mean[c]) / std[c] in float32, each operation rounded; without it v / 255. One mean and std
 *   stand for all channels. It comes after the others.
 * The result is float32, planar [channels, height, width]. */
#ifndef SALUN_PREPROCESS_H
#define SALUN_PREPROCESS_H

#include "base.h"

enum { SALUN_PRE_CHANNELS = 4 };

/* Bytes of one picture: channel c of pixel (y, x) is data[c * plane + y * row + x * step]. */
typedef struct { const uint8_t *data; int64_t channels, height, width; int64_t plane, row, step; } SalunPicture;

static inline SalunPicture salun_picture_planar(const uint8_t *data, int64_t channels, int64_t height, int64_t width) {
    return (SalunPicture){ data, channels, height, width, height * width, width, 1 };
}
static inline SalunPicture salun_picture_interleaved(const uint8_t *data, int64_t channels, int64_t height, int64_t width) {
    return (SalunPicture){ data, channels, height, width, 1, width * channels, channels };
}

typedef struct SalunPre SalunPre;            /* a program's steps, made ready; used by one thread at a time */

/* For the program's first input, a rank-3 float32 image. NULL with an error when it is none or the steps make no sense. */
SalunPre *salun_pre_create(const SalunProgram *p, SalunError *err);
void salun_pre_destroy(SalunPre *pre);
/* One picture to out[channels * height * width] of the first input. An error (SALUN_BAD_INPUT) when channels differ or the
 * steps do not lead to the input's size; who names the picture in messages. */
int salun_pre_apply(SalunPre *pre, const SalunPicture *in, const char *who, float *out, SalunError *err);

#endif
