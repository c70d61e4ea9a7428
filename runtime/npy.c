/* npy.c - .npy files: "\x93NUMPY", version, header length, a Python literal of three keys, the bytes. */
#include "npy.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *descr, *name; size_t size; } type_info[] = {
    [SALUN_NPY_F32] = { "<f4", "float32", 4 },
    [SALUN_NPY_U8] = { "|u1", "uint8", 1 },
    [SALUN_NPY_I32] = { "<i4", "int32", 4 },
    [SALUN_NPY_I64] = { "<i8", "int64", 8 },
};
enum { TYPES = sizeof type_info / sizeof *type_info, MOST_HEADER = 65536 };

size_t salun_npy_size(SalunNpyType type) {
    return type_info[type].size;
}

const char *salun_npy_type_name(SalunNpyType type) {
    return type_info[type].name;
}

/* ---- the header's literal ---- */

typedef struct { const char *at, *end, *path; SalunNpy *npy; SalunError *err; unsigned seen; } Header;
enum { SEEN_DESCR = 1, SEEN_ORDER = 2, SEEN_SHAPE = 4, SEEN_ALL = 7 };

static int broken(const Header *h, const char *what) {
    return salun_error(h->err, SALUN_BAD_INPUT, "%s: not a sound .npy file: %s", h->path, what);
}

static void skip_space(Header *h) {
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n' || *h->at == '\t'))
        h->at++;
}

static bool take(Header *h, const char *text) {
    skip_space(h);
    size_t length = strlen(text);
    if ((size_t)(h->end - h->at) < length || memcmp(h->at, text, length))
        return false;
    h->at += length;
    return true;
}

/* A quoted string without escapes into text; false when there is none that fits. */
static bool take_string(Header *h, char *text, size_t size) {
    skip_space(h);
    if (h->at == h->end || (*h->at != '\'' && *h->at != '"'))
        return false;
    char quote = *h->at++;
    size_t length = 0;
    while (h->at < h->end && *h->at != quote && length + 1 < size && *h->at != '\\')
        text[length++] = *h->at++;
    text[length] = 0;
    return h->at < h->end && *h->at++ == quote;
}

static int read_descr(Header *h) {
    char descr[16];
    if (!take_string(h, descr, sizeof descr))
        return broken(h, "its element type is no plain one");
    char order = descr[0];
    for (int i = 0; i < TYPES; i++) {
        bool order_fits = order == '<' || order == '=' || (order == '|' && type_info[i].size == 1) ||
                          (order == '>' && type_info[i].size == 1);
        if (order_fits && !strcmp(descr + 1, type_info[i].descr + 1)) {
            h->npy->type = (SalunNpyType)i;
            return 0;
        }
    }
    return salun_error(h->err, SALUN_BAD_INPUT, "%s: holds elements of type '%s'; float32, uint8, int32 or int64 (little-endian) are read",
                       h->path, descr);
}

static int read_order(Header *h) {
    if (take(h, "False"))
        return 0;
    if (!take(h, "True"))
        return broken(h, "fortran_order is neither True nor False");
    return salun_error(h->err, SALUN_BAD_INPUT, "%s: is in Fortran order; save numpy.ascontiguousarray of it", h->path);
}

static int read_shape(Header *h) {
    SalunNpy *npy = h->npy;
    npy->count = 1;
    if (!take(h, "("))
        return broken(h, "its shape is no tuple");
    while (!take(h, ")")) {
        if (npy->rank == SALUN_NPY_RANK)
            return broken(h, "more than 8 dimensions");
        int64_t dim = 0;
        skip_space(h);
        if (h->at == h->end || !isdigit((unsigned char)*h->at))
            return broken(h, "a dimension is no number");
        for (; h->at < h->end && isdigit((unsigned char)*h->at); h->at++)
            if (__builtin_mul_overflow(dim, 10, &dim) || __builtin_add_overflow(dim, *h->at - '0', &dim))
                return broken(h, "a dimension is too large");
        if (__builtin_mul_overflow(npy->count, dim, &npy->count))
            return broken(h, "its shape is too large");
        npy->dim[npy->rank++] = dim;
        bool more = take(h, ",");
        skip_space(h);
        if (!more && (h->at == h->end || *h->at != ')'))
            return broken(h, "its shape is no tuple");
    }
    return 0;
}

static int read_key(Header *h) {
    static const struct { const char *name; unsigned bit; int (*read)(Header *); } keys[] = {
        { "descr", SEEN_DESCR, read_descr }, { "fortran_order", SEEN_ORDER, read_order }, { "shape", SEEN_SHAPE, read_shape },
    };
    char key[32];
    if (!take_string(h, key, sizeof key) || !take(h, ":"))
        return broken(h, "its header is no dictionary");
    for (int i = 0; i < 3; i++) {
        if (strcmp(key, keys[i].name))
            continue;
        if (h->seen & keys[i].bit)
            return broken(h, "a key of its header is there twice");
        h->seen |= keys[i].bit;
        return keys[i].read(h);
    }
    return broken(h, "its header has an unknown key");
}

static int read_literal(Header *h) {
    if (!take(h, "{"))
        return broken(h, "its header is no dictionary");
    while (!take(h, "}")) {
        int code = read_key(h);
        if (code)
            return code;
        bool more = take(h, ",");
        skip_space(h);
        if (!more && (h->at == h->end || *h->at != '}'))
            return broken(h, "its header is no dictionary");
    }
    skip_space(h);
    if (h->seen != SEEN_ALL || h->at != h->end)
        return broken(h, "its header is not complete");
    return 0;
}

/* ---- the file ---- */

static int parse(SalunNpy *npy, const char *path, SalunError *err) {
    const unsigned char *data = npy->map.data;
    size_t size = npy->map.size;
    Header h = { .path = path, .npy = npy, .err = err };
    if (size < 10 || memcmp(data, "\x93NUMPY", 6))
        return broken(&h, "it does not begin like one");
    if (data[6] < 1 || data[6] > 3)
        return broken(&h, "its version is neither 1, 2 nor 3");
    size_t begin = data[6] == 1 ? 10 : 12, length = data[8] | (size_t)data[9] << 8;
    if (data[6] > 1 && size >= 12)
        length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    if (size < begin || length > size - begin || length > MOST_HEADER)
        return broken(&h, "it ends within its header");
    h.at = (const char *)data + begin;
    h.end = h.at + length;
    int code = read_literal(&h);
    if (code)
        return code;
    int64_t wanted;
    if (__builtin_mul_overflow(npy->count, (int64_t)salun_npy_size(npy->type), &wanted))
        return broken(&h, "its shape is too large");
    int64_t there = (int64_t)(size - begin - length);
    if (there != wanted) {
        char shape[160];
        return salun_error(err, SALUN_BAD_INPUT, "%s: %s: %s %s takes %lld bytes, the file has %lld", path,
                           there < wanted ? "too short" : "too long", type_info[npy->type].name,
                           salun_shape_text(shape, sizeof shape, npy->rank, npy->dim), (long long)wanted, (long long)there);
    }
    npy->data = data + begin + length;
    if ((begin + length) % salun_npy_size(npy->type))
        return broken(&h, "its header is not padded");
    return 0;
}

int salun_npy_open(SalunNpy *npy, const char *path, SalunError *err) {
    *npy = (SalunNpy){ 0 };
    int code = salun_map(&npy->map, path, err);
    if (code)
        return code;
    code = parse(npy, path, err);
    if (code)
        salun_npy_close(npy);
    return code;
}

void salun_npy_close(SalunNpy *npy) {
    salun_unmap(&npy->map);
    *npy = (SalunNpy){ 0 };
}

int salun_npy_create(SalunSink *s, const char *path, SalunNpyType type, int rank, const int64_t *dim, SalunError *err) {
    char header[512] = "\x93NUMPY\x01";
    int used = 10;
    used += snprintf(header + used, sizeof header - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (", type_info[type].descr);
    for (int i = 0; i < rank; i++)
        used += snprintf(header + used, sizeof header - (size_t)used, "%lld,%s", (long long)dim[i], i + 1 < rank ? " " : "");
    used += snprintf(header + used, sizeof header - (size_t)used, "), }");
    while ((used + 1) % 64)
        header[used++] = ' ';
    header[used++] = '\n';
    header[8] = (char)((used - 10) & 0xff);
    header[9] = (char)((used - 10) >> 8);
    int code = salun_sink_open(s, path, err);
    if (code)
        return code;
    code = salun_sink_write(s, header, (size_t)used, err);
    if (code)
        salun_sink_abort(s);
    return code;
}
