/* exif.c - the orientation tag of an EXIF block (TIFF 6.0 structure), and turning a picture by it. */
#include "picture/formats.h"

#include <stdlib.h>
#include <string.h>

enum { TAG_ORIENTATION = 0x112, TYPE_SHORT = 3, ENTRY = 12 };

static unsigned get(const unsigned char *p, int bytes, bool big) {
    unsigned value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (unsigned)p[i] << 8 * (big ? bytes - 1 - i : i);
    return value;
}

int salun_exif_orientation(const unsigned char *data, size_t size) {
    if (size < 14 || memcmp(data, "Exif\0\0", 6))
        return 1;
    const unsigned char *tiff = data + 6;
    size -= 6;
    bool big = !memcmp(tiff, "MM", 2);
    if ((!big && memcmp(tiff, "II", 2)) || get(tiff + 2, 2, big) != 42)
        return 1;
    size_t at = get(tiff + 4, 4, big);
    if (at > size || size - at < 2)
        return 1;
    unsigned entries = get(tiff + at, 2, big);
    at += 2;
    for (unsigned i = 0; i < entries && size - at >= ENTRY; i++, at += ENTRY) {
        const unsigned char *e = tiff + at;
        unsigned o = get(e + 8, 2, big);
        if (get(e, 2, big) == TAG_ORIENTATION && get(e + 2, 2, big) == TYPE_SHORT)
            return o >= 1 && o <= 8 ? (int)o : 1;
    }
    return 1;
}

/* Orientations 5 to 8 exchange rows and columns; bit by bit, the others mirror. */
int salun_exif_apply(const PictureFile *f, SalunPixels *px, int o) {
    if (o == 1)
        return 0;
    bool swap = o >= 5, flip_x = o == 2 || o == 3 || o == 7 || o == 8, flip_y = o == 3 || o == 4 || o == 6 || o == 7;
    SalunPixels out;
    int code = salun_pixels_new(f, "JPEG", swap ? px->width : px->height, swap ? px->height : px->width, (int)px->channels, &out);
    if (code)
        return code;
    size_t pixel = (size_t)px->channels;
    uint8_t *to = out.data;
    for (int64_t y = 0; y < out.height; y++)
        for (int64_t x = 0; x < out.width; x++, to += pixel) {
            int64_t sy = swap ? x : y, sx = swap ? y : x;
            sx = flip_x ? px->width - 1 - sx : sx;
            sy = flip_y ? px->height - 1 - sy : sy;
            memcpy(to, px->data + (size_t)(sy * px->width + sx) * pixel, pixel);
        }
    free(px->data);
    *px = out;
    return 0;
}
