/* ppm.c - binary PGM (P5) and PPM (P6), 8 or 16 bits, as described in netpbm's manual pages. */
#include "picture/formats.h"

#include <ctype.h>

typedef struct { const unsigned char *at, *end; } Text;

/* White space and comments, then a number of up to six digits; -1: none. */
static long read_number(Text *t) {
    while (t->at < t->end && (isspace(*t->at) || *t->at == '#')) {
        if (*t->at++ != '#')
            continue;
        while (t->at < t->end && *t->at != '\n' && *t->at != '\r')
            t->at++;
    }
    long value = 0;
    int digits = 0;
    for (; t->at < t->end && isdigit(*t->at) && digits < 6; t->at++, digits++)
        value = value * 10 + (*t->at - '0');
    return digits ? value : -1;
}

int salun_read_ppm(const PictureFile *f, SalunPixels *px) {
    if (f->data[1] != '5' && f->data[1] != '6')
        return salun_error(f->err, SALUN_BAD_INPUT, "%s: of the netpbm formats only binary PGM (P5) and PPM (P6) are read", f->path);
    Text t = { f->data + 2, f->data + f->size };
    long width = read_number(&t), height = read_number(&t), most = read_number(&t);
    if (width < 0 || height < 0 || most < 1 || most > 65535 || t.at == t.end || !isspace(*t.at))
        return salun_error(f->err, SALUN_BAD_INPUT, "%s: its PPM header is broken", f->path);
    t.at++;
    int code = salun_pixels_new(f, "PPM", height, width, f->data[1] == '6' ? 3 : 1, px);
    if (code)
        return code;
    int64_t count = px->height * px->width * px->channels;
    int bytes = most > 255 ? 2 : 1;
    if (t.end - t.at < count * bytes)
        return salun_error(f->err, SALUN_BAD_INPUT, "%s: cut off", f->path);
    for (int64_t i = 0; i < count; i++, t.at += bytes) {
        long v = bytes == 2 ? t.at[0] << 8 | t.at[1] : t.at[0];
        px->data[i] = (uint8_t)(((v > most ? most : v) * 255 + most / 2) / most);
    }
    return 0;
}
