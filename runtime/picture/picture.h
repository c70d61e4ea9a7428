/* picture.h - PNG, JPEG, PPM and PGM files to bytes.
 *
 * What is read: 8 bits per channel (16-bit files are scaled down), gray or RGB as asked for. Palettes are expanded, alpha is
 * dropped, CMYK is converted, gray is repeated into RGB, RGB becomes gray as (19595 R + 38470 G + 7471 B) / 65536, rounded (ITU-R
 * 601). A JPEG's EXIF orientation is applied. At most 65535 pixels on a side and 2^27 in all. */
#ifndef SALUN_PICTURE_H
#define SALUN_PICTURE_H

#include "base.h"

typedef struct { uint8_t *data; int64_t height, width, channels; } SalunPixels;     /* data: [height, width, channels] */

/* channels: 1 or 3. Any broken, cut off or unknown file is an error that names it. */
int salun_pixels_read(SalunPixels *px, const char *path, int channels, SalunError *err);
void salun_pixels_free(SalunPixels *px);

#endif
