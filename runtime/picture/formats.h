/* formats.h - the readers behind picture.h. Each fills px (1 or 3 channels, whatever the file holds) from bytes in memory. */
#ifndef SALUN_FORMATS_H
#define SALUN_FORMATS_H

#include "picture/picture.h"

typedef struct { const unsigned char *data; size_t size; const char *path; SalunError *err; } PictureFile;

int salun_read_jpeg(const PictureFile *f, SalunPixels *px);
int salun_read_png(const PictureFile *f, SalunPixels *px);
int salun_read_ppm(const PictureFile *f, SalunPixels *px);

/* Memory for the picture after checking its size; what names the format in messages. */
int salun_pixels_new(const PictureFile *f, const char *what, int64_t height, int64_t width, int channels, SalunPixels *px);

/* The orientation (1 to 8) that an EXIF block states, 1 when it states none. data begins at "Exif\0\0". */
int salun_exif_orientation(const unsigned char *data, size_t size);
/* Turns and mirrors px so that orientation o becomes 1. */
int salun_exif_apply(const PictureFile *f, SalunPixels *px, int o);

#endif
