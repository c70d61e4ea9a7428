/* cifar_from_png.c - CIFAR-10 from PNG sheets into its own binary form.
 *
 * usage: cifar_from_png LABELS.json SHEET.png OUT.bin [SHEET.png OUT.bin ...]
 *
 * A sheet is 1024 x 10000 RGB pixels: one image a row, 32 x 32 pixels row by row. LABELS.json is an array of 10000
 * labels per sheet, in the order of the sheets. OUT.bin gets 10000 records of 1 + 3072 bytes: label, then the red,
 * green and blue planes. Every class must occur equally often over all sheets. Exit code 1 and one line on stderr
 * otherwise. */
#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 10, PIXELS = 32 * 32, IMAGES = 10000, RECORD = 1 + 3 * PIXELS };

static int fail(const char *file, const char *what) {
    fprintf(stderr, "cifar_from_png: %s: %s\n", file, what);
    return 1;
}

/* Reads an array of single digits into labels[count]. */
static int read_labels(const char *file, unsigned char *labels, size_t count) {
    FILE *in = fopen(file, "rb");
    if (!in)
        return fail(file, strerror(errno));
    size_t n = 0, seen[CLASSES] = { 0 };
    int c, before = 0, status = 0;
    while (!status && (c = getc(in)) != EOF) {
        if (c >= '0' && c <= '9') {
            if (n == count || (before >= '0' && before <= '9'))
                status = fail(file, n == count ? "more labels than images" : "a label above 9");
            else
                seen[labels[n++] = (unsigned char)(c - '0')]++;
        } else if (!strchr("[], \t\r\n", c)) {
            status = fail(file, "not an array of numbers");
        }
        before = c;
    }
    if (!status && n < count)
        status = fail(file, "fewer labels than images");
    for (int i = 0; !status && i < CLASSES; i++)
        if (seen[i] * CLASSES != count)
            status = fail(file, "the classes do not occur equally often");
    fclose(in);
    return status;
}

static int write_record(FILE *out, unsigned char label, const unsigned char *row) {
    unsigned char record[RECORD];
    record[0] = label;
    for (int p = 0; p < PIXELS; p++)
        for (int plane = 0; plane < 3; plane++)
            record[1 + plane * PIXELS + p] = row[3 * p + plane];
    return fwrite(record, 1, RECORD, out) == RECORD;
}

/* Copies the rows of an opened sheet; libpng's errors come back through setjmp. */
static int copy_rows(png_structp png, png_infop info, const char *sheet, const unsigned char *labels, FILE *out) {
    static unsigned char row[3 * PIXELS];
    if (setjmp(png_jmpbuf(png)))
        return fail(sheet, "not a readable PNG picture");
    png_read_info(png, info);
    if (png_get_image_width(png, info) != PIXELS || png_get_image_height(png, info) != IMAGES ||
        png_get_bit_depth(png, info) != 8 || png_get_color_type(png, info) != PNG_COLOR_TYPE_RGB ||
        png_get_interlace_type(png, info) != PNG_INTERLACE_NONE)
        return fail(sheet, "not 1024 x 10000 RGB pixels");
    for (int i = 0; i < IMAGES; i++) {
        png_read_row(png, row, NULL);
        if (!write_record(out, labels[i], row))
            return fail(sheet, "cannot write its images");
    }
    png_read_end(png, NULL);
    return 0;
}

static int convert(const char *sheet, const unsigned char *labels, const char *path) {
    FILE *in = fopen(sheet, "rb");
    if (!in)
        return fail(sheet, strerror(errno));
    FILE *out = fopen(path, "wb");
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    int status = 1;
    if (!out) {
        fail(path, strerror(errno));
    } else if (!info) {
        fail(sheet, "out of memory");
    } else {
        png_init_io(png, in);
        status = copy_rows(png, info, sheet, labels, out);
    }
    png_destroy_read_struct(&png, &info, NULL);
    if (out && fclose(out) && !status)
        status = fail(path, strerror(errno));
    fclose(in);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 4 || argc % 2) {
        fprintf(stderr, "usage: cifar_from_png LABELS.json SHEET.png OUT.bin [SHEET.png OUT.bin ...]\n");
        return 2;
    }
    size_t sheets = (size_t)(argc - 2) / 2;
    unsigned char *labels = malloc(sheets * IMAGES);
    if (!labels)
        return fail(argv[1], "out of memory");
    int status = read_labels(argv[1], labels, sheets * IMAGES);
    for (size_t i = 0; !status && i < sheets; i++)
        status = convert(argv[2 + 2 * i], labels + i * IMAGES, argv[3 + 2 * i]);
    free(labels);
    return status;
}
