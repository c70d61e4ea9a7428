/* picture.c - finds a file's format by its first bytes, reads it, and brings it to the channels asked for. */
#include "picture/formats.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_SIDE = 65535, MOST_PIXELS = 1 << 27 };

int salun_pixels_new(const PictureFile *f, const char *what, int64_t height, int64_t width, int channels, SalunPixels *px) {
    if (height < 1 || width < 1 || height > MOST_SIDE || width > MOST_SIDE || height * width > MOST_PIXELS)
        return salun_error(f->err, SALUN_BAD_INPUT, "%s: a %s file of %lld x %lld pixels is not read", f->path, what, (long long)width,
                           (long long)height);
    *px = (SalunPixels){ malloc((size_t)(height * width * channels)), height, width, channels };
    return px->data ? 0 : salun_error(f->err, SALUN_NO_SPACE, "%s: out of memory", f->path);
}

void salun_pixels_free(SalunPixels *px) {
    free(px->data);
    *px = (SalunPixels){ 0 };
}

static void to_gray(SalunPixels *px) {
    int64_t count = px->height * px->width;
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *p = px->data + 3 * i;
        px->data[i] = (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 0x8000u) >> 16);
    }
    px->channels = 1;
}

static int to_rgb(const PictureFile *f, SalunPixels *px) {
    int64_t count = px->height * px->width;
    uint8_t *rgb = malloc((size_t)(3 * count));
    if (!rgb)
        return salun_error(f->err, SALUN_NO_SPACE, "%s: out of memory", f->path);
    for (int64_t i = 0; i < count; i++)
        memset(rgb + 3 * i, px->data[i], 3);
    free(px->data);
    px->data = rgb;
    px->channels = 3;
    return 0;
}

static int read_any(const PictureFile *f, SalunPixels *px) {
    if (f->size >= 3 && !memcmp(f->data, "\xff\xd8\xff", 3))
        return salun_read_jpeg(f, px);
    if (f->size >= 8 && !memcmp(f->data, "\x89PNG\r\n\x1a\n", 8))
        return salun_read_png(f, px);
    if (f->size >= 2 && f->data[0] == 'P' && f->data[1] >= '1' && f->data[1] <= '7')
        return salun_read_ppm(f, px);
    if (f->size == 0)
        return salun_error(f->err, SALUN_BAD_INPUT, "%s: empty", f->path);
    return salun_error(f->err, SALUN_BAD_INPUT, "%s: no picture that can be read (PNG, JPEG, PPM or PGM)", f->path);
}

int salun_pixels_read(SalunPixels *px, const char *path, int channels, SalunError *err) {
    SalunMap map;
    *px = (SalunPixels){ 0 };
    if (channels != 1 && channels != 3)
        return salun_error(err, SALUN_BAD_INPUT, "%s: the network takes %d channels, a picture has 1 or 3", path, channels);
    int code = salun_map(&map, path, err);
    if (code)
        return code;
    PictureFile f = { map.data, map.size, path, err };
    code = read_any(&f, px);
    if (!code && px->channels == 3 && channels == 1)
        to_gray(px);
    else if (!code && px->channels == 1 && channels == 3)
        code = to_rgb(&f, px);
    salun_unmap(&map);
    if (code)
        salun_pixels_free(px);
    return code;
}
