/* jpeg.c - JPEG files through libjpeg. Its errors come back by longjmp; warnings of damaged data are errors here. */
#include "picture/formats.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

enum { MOST_SCANS = 200, EXIF_MARKER = JPEG_APP0 + 1 };

typedef struct {
    struct jpeg_error_mgr base;              /* first: libjpeg hands back a pointer to it */
    jmp_buf back;
    char text[JMSG_LENGTH_MAX];
} Errors;

static void fail(j_common_ptr info) {
    Errors *e = (Errors *)info->err;
    e->base.format_message(info, e->text);
    longjmp(e->back, 1);
}

/* Level -1 is a warning: data that is damaged or cut off. Bytes too many before a marker do no harm. */
static void on_message(j_common_ptr info, int level) {
    if (level < 0 && info->err->msg_code != JWRN_EXTRANEOUS_DATA)
        fail(info);
}

/* A small file can ask for thousands of passes over a large picture. */
static void on_progress(j_common_ptr info) {
    j_decompress_ptr jpeg = (j_decompress_ptr)info;
    if (info->is_decompressor && jpeg->input_scan_number > MOST_SCANS) {
        Errors *e = (Errors *)info->err;
        snprintf(e->text, sizeof e->text, "too many scans");
        longjmp(e->back, 1);
    }
}

static int orientation_of(j_decompress_ptr jpeg) {
    for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next)
        if (m->marker == EXIF_MARKER)
            return salun_exif_orientation(m->data, m->data_length);
    return 1;
}

/* A CMYK row to RGB: Adobe's files hold inverted inks, so that channel times black is the light that is left. */
static void row_from_cmyk(const uint8_t *cmyk, uint8_t *rgb, int64_t width, bool inverted) {
    for (int64_t x = 0; x < width; x++, cmyk += 4, rgb += 3)
        for (int c = 0; c < 3; c++) {
            unsigned ink = inverted ? cmyk[c] : 255u - cmyk[c], black = inverted ? cmyk[3] : 255u - cmyk[3];
            rgb[c] = (uint8_t)((ink * black + 127) / 255);
        }
}

/* What longjmp returns over: everything it needs lies in *jpeg, *px and *row. */
static int decode(const PictureFile *f, j_decompress_ptr jpeg, SalunPixels *px, int *orientation) {
    jpeg_mem_src(jpeg, f->data, f->size);
    jpeg_save_markers(jpeg, EXIF_MARKER, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    *orientation = orientation_of(jpeg);
    bool cmyk = jpeg->num_components == 4;
    jpeg->out_color_space = cmyk ? JCS_CMYK : jpeg->num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    int code = salun_pixels_new(f, "JPEG", jpeg->image_height, jpeg->image_width, jpeg->num_components == 1 ? 1 : 3, px);
    if (code)
        return code;
    jpeg_start_decompress(jpeg);
    JSAMPARRAY row = jpeg->mem->alloc_sarray((j_common_ptr)jpeg, JPOOL_IMAGE, jpeg->output_width * 4, 1);
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *to = px->data + (size_t)jpeg->output_scanline * (size_t)(px->width * px->channels);
        jpeg_read_scanlines(jpeg, row, 1);
        if (cmyk)
            row_from_cmyk(row[0], to, px->width, jpeg->saw_Adobe_marker);
        else
            memcpy(to, row[0], (size_t)(px->width * px->channels));
    }
    jpeg_finish_decompress(jpeg);
    return 0;
}

int salun_read_jpeg(const PictureFile *f, SalunPixels *px) {
    struct jpeg_decompress_struct jpeg = { 0 };
    struct jpeg_progress_mgr progress = { .progress_monitor = on_progress };
    Errors errors;
    int orientation = 1;
    jpeg.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = fail;
    errors.base.emit_message = on_message;
    if (setjmp(errors.back)) {
        jpeg_destroy_decompress(&jpeg);
        return salun_error(f->err, SALUN_BAD_INPUT, "%s: broken JPEG file: %s", f->path, errors.text);
    }
    jpeg_create_decompress(&jpeg);
    jpeg.progress = &progress;
    int code = decode(f, &jpeg, px, &orientation);
    jpeg_destroy_decompress(&jpeg);
    return code ? code : salun_exif_apply(f, px, orientation);
}
