/* png.c - PNG files through libpng. Its errors come back by longjmp. */
#include "picture/formats.h"

#include <png.h>
#include <stdio.h>
#include <string.h>

enum { MOST_SIDE = 65535, MOST_CHUNK = 64 << 20, MOST_CACHED = 1000 };

typedef struct { const PictureFile *file; size_t at; char text[128]; } Reader;

static void on_error(png_structp png, png_const_charp text) {
    Reader *r = png_get_error_ptr(png);
    snprintf(r->text, sizeof r->text, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep to, png_size_t bytes) {
    Reader *r = png_get_io_ptr(png);
    if (r->file->size - r->at < bytes)
        png_error(png, "cut off");
    memcpy(to, r->file->data + r->at, bytes);
    r->at += bytes;
}

/* What longjmp returns over: everything it needs lies in *px. */
static int decode(const PictureFile *f, png_structp png, png_infop info, SalunPixels *px) {
    png_set_user_limits(png, MOST_SIDE, MOST_SIDE);
    png_set_chunk_malloc_max(png, MOST_CHUNK);
    png_set_chunk_cache_max(png, MOST_CACHED);
    png_read_info(png, info);
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_strip_alpha(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    int channels = png_get_channels(png, info);
    int64_t height = png_get_image_height(png, info), width = png_get_image_width(png, info);
    if (channels != 1 && channels != 3)
        png_error(png, "neither gray nor RGB");
    int code = salun_pixels_new(f, "PNG", height, width, channels, px);
    if (code)
        return code;
    if (png_get_rowbytes(png, info) != (size_t)(width * channels))
        png_error(png, "rows of another size");
    for (int pass = 0; pass < passes; pass++)
        for (int64_t y = 0; y < height; y++)
            png_read_row(png, px->data + y * width * channels, NULL);
    png_read_end(png, NULL);
    return 0;
}

int salun_read_png(const PictureFile *f, SalunPixels *px) {
    Reader reader = { .file = f };
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        return salun_error(f->err, SALUN_NO_SPACE, "%s: out of memory", f->path);
    }
    if (setjmp(png_jmpbuf(png))) {
        png_destroy_read_struct(&png, &info, NULL);
        return salun_error(f->err, SALUN_BAD_INPUT, "%s: broken PNG file: %s", f->path, reader.text);
    }
    png_set_read_fn(png, &reader, on_read);
    int code = decode(f, png, info, px);
    png_destroy_read_struct(&png, &info, NULL);
    return code;
}
