/* safetensors.c - reading: a strict parser of the header, then checks of every tensor and of all together.
 *
 * The JSON accepted is exactly what the format needs: an object of objects with the keys dtype, shape and data_offsets, and
 * __metadata__, an object of strings. Names are decoded once into memory of their own; tensors are sorted by name. */
#include "safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_HEADER = 100 * 1000 * 1000,         /* as in the reference implementation */
    MOST_METADATA = 4096
};

static const struct { const char *name; size_t size; } type_info[SALUN_ST_TYPES] = {
    [SALUN_ST_BOOL] = { "BOOL", 1 },       [SALUN_ST_U8] = { "U8", 1 },           [SALUN_ST_I8] = { "I8", 1 },
    [SALUN_ST_F8_E5M2] = { "F8_E5M2", 1 }, [SALUN_ST_F8_E4M3] = { "F8_E4M3", 1 }, [SALUN_ST_U16] = { "U16", 2 },
    [SALUN_ST_I16] = { "I16", 2 },         [SALUN_ST_F16] = { "F16", 2 },         [SALUN_ST_BF16] = { "BF16", 2 },
    [SALUN_ST_U32] = { "U32", 4 },         [SALUN_ST_I32] = { "I32", 4 },         [SALUN_ST_F32] = { "F32", 4 },
    [SALUN_ST_U64] = { "U64", 8 },         [SALUN_ST_I64] = { "I64", 8 },         [SALUN_ST_F64] = { "F64", 8 },
};

typedef struct { const char *key, *text; } Pair;

struct SalunSt {
    SalunMap map;
    char *name;
    char *strings, *strings_end;             /* decoded texts, one after the other */
    SalunStTensor *tensors;
    Pair *metadata;
    int count, room, metadata_count, metadata_room;
};

/* ---- JSON ---- */

typedef struct {
    const unsigned char *begin, *at, *end;
    const char *tensor;                /* the one being read, or NULL */
    SalunSt *st;
    SalunError *err;
} Json;

static int broken(const Json *j, const char *what) {
    return salun_error(j->err, SALUN_BAD_INPUT, "%s: not a sound .safetensors file: %s%.100s%s%s (byte %lld of its header)", j->st->name,
                       j->tensor ? "tensor " : "", j->tensor ? j->tensor : "", j->tensor ? ": " : "", what, (long long)(j->at - j->begin));
}

static void skip_space(Json *j) {
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\n' || *j->at == '\t' || *j->at == '\r'))
        j->at++;
}

static bool take(Json *j, char c) {
    skip_space(j);
    if (j->at == j->end || *j->at != c)
        return false;
    j->at++;
    return true;
}

static int hex_digit(int c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hexadecimal digits behind \u; -1 when there are none. */
static long hex_four(Json *j) {
    long code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = j->at < j->end ? hex_digit(*j->at) : -1;
        if (digit < 0)
            return -1;
        code = code * 16 + digit;
        j->at++;
    }
    return code;
}

static char *put_utf8(char *out, long code) {
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

/* What stands behind a backslash, as a code point above 0; -1: wrong. */
static long escape(Json *j) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int c = j->at < j->end ? *j->at++ : 0;
    if (c != 'u') {
        const char *at = c ? strchr(from, c) : NULL;
        return at ? to[at - from] : -1;
    }
    long code = hex_four(j);
    if (code <= 0 || (code >= 0xdc00 && code < 0xe000))
        return -1;
    if (code < 0xd800 || code > 0xdbff)
        return code;
    if (j->end - j->at < 2 || j->at[0] != '\\' || j->at[1] != 'u')
        return -1;
    j->at += 2;
    long low = hex_four(j);
    return low < 0xdc00 || low > 0xdfff ? -1 : 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

/* Bytes of the well-formed UTF-8 sequence at p, 0: none. */
static int utf8_length(const unsigned char *p, const unsigned char *end) {
    static const unsigned least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (*p < 0x80)
        return 1;
    int length = *p >= 0xf0 && *p < 0xf5 ? 4 : *p >= 0xe0 && *p < 0xf0 ? 3 : *p >= 0xc2 && *p < 0xe0 ? 2 : 0;
    if (!length || end - p < length)
        return 0;
    unsigned code = *p & (0x7fu >> length);
    for (int i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    return code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : length;
}

/* A string, decoded into st->strings (which has room: decoding never lengthens, and a quote makes place for the end). */
static int read_string(Json *j, const char **text) {
    if (!take(j, '"'))
        return broken(j, "a string is missing");
    char *out = j->st->strings_end;
    *text = out;
    while (j->at < j->end && *j->at != '"') {
        if (*j->at == '\\') {
            j->at++;
            long code = escape(j);
            if (code < 0)
                return broken(j, "a wrong escape in a string");
            out = put_utf8(out, code);
            continue;
        }
        int length = *j->at < 0x20 ? 0 : utf8_length(j->at, j->end);
        if (!length)
            return broken(j, "a string is not UTF-8");
        memcpy(out, j->at, (size_t)length);
        out += length;
        j->at += length;
    }
    if (j->at == j->end)
        return broken(j, "a string has no end");
    j->at++;
    *out++ = 0;
    j->st->strings_end = out;
    return 0;
}

/* A natural number below 2^63, without leading zeros. */
static int read_number(Json *j, int64_t *value) {
    skip_space(j);
    const unsigned char *first = j->at;
    *value = 0;
    for (; j->at < j->end && *j->at >= '0' && *j->at <= '9'; j->at++)
        if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, *j->at - '0', value))
            return broken(j, "a number is too large");
    if (j->at == first || (*first == '0' && j->at - first > 1))
        return broken(j, "a natural number is missing");
    return 0;
}

/* [n, n, ...] of at most `most` numbers */
static int read_numbers(Json *j, int64_t *value, int most, int *count) {
    *count = 0;
    if (!take(j, '['))
        return broken(j, "a list is missing");
    if (take(j, ']'))
        return 0;
    do {
        if (*count == most)
            return broken(j, "a list is too long");
        int code = read_number(j, &value[(*count)++]);
        if (code)
            return code;
    } while (take(j, ','));
    return take(j, ']') ? 0 : broken(j, "a list has no end");
}

/* ---- the entries ---- */

/* The array with room for one more element, or NULL: out of memory, the array is as it was. */
static void *grow(void *array, int count, int *room, size_t size) {
    if (count < *room)
        return array;
    int wanted = *room ? *room * 2 : 64;
    void *more = realloc(array, (size_t)wanted * size);
    if (more)
        *room = wanted;
    return more;
}

static int no_memory(const Json *j) {
    return salun_error(j->err, SALUN_NO_SPACE, "%s: out of memory", j->st->name);
}

static int read_metadata(Json *j) {
    SalunSt *st = j->st;
    if (!take(j, '{'))
        return broken(j, "__metadata__ is no object");
    if (take(j, '}'))
        return 0;
    do {
        Pair *more = grow(st->metadata, st->metadata_count, &st->metadata_room, sizeof *more);
        int code;
        if (!more)
            return no_memory(j);
        st->metadata = more;
        if (st->metadata_count == MOST_METADATA)
            return broken(j, "__metadata__ has too many keys");
        Pair *pair = &st->metadata[st->metadata_count];
        if ((code = read_string(j, &pair->key)))
            return code;
        if (!take(j, ':'))
            return broken(j, "a colon is missing");
        if ((code = read_string(j, &pair->text)))
            return code;
        if (salun_st_metadata(st, pair->key))
            return broken(j, "a key of __metadata__ is there twice");
        st->metadata_count++;
    } while (take(j, ','));
    return take(j, '}') ? 0 : broken(j, "__metadata__ has no end");
}

static int tensor_wrong(const Json *j, const SalunStTensor *t, const char *what) {
    return salun_error(j->err, SALUN_BAD_INPUT, "%s: tensor %.100s: %s", j->st->name, t->name, what);
}

static int read_type(Json *j, SalunStTensor *t) {
    const char *text;
    int code = read_string(j, &text);
    if (code)
        return code;
    for (int i = 0; i < SALUN_ST_TYPES; i++)
        if (!strcmp(text, type_info[i].name)) {
            t->type = (SalunStType)i;
            return 0;
        }
    return salun_error(j->err, SALUN_BAD_INPUT, "%s: tensor %.100s: unknown dtype '%.20s'", j->st->name, t->name, text);
}

/* Offsets against shape, dtype and the size of the data. */
static int check_extent(Json *j, SalunStTensor *t, int64_t begin, int64_t end) {
    int64_t data_size = (int64_t)(j->st->map.size - (size_t)(j->end - j->st->map.data)), bytes;
    t->count = 1;
    for (int i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(t->count, t->dim[i], &t->count))
            return tensor_wrong(j, t, "its shape is too large");
    if (__builtin_mul_overflow(t->count, (int64_t)type_info[t->type].size, &bytes))
        return tensor_wrong(j, t, "its shape is too large");
    if (begin > end || end > data_size)
        return tensor_wrong(j, t, "its data_offsets lie outside the file (is it cut off?)");
    if (end - begin != bytes)
        return tensor_wrong(j, t, "its data_offsets do not fit its shape and dtype");
    t->data = j->end + begin;
    t->bytes = (size_t)bytes;
    return 0;
}

static int read_tensor(Json *j, SalunStTensor *t) {
    enum { TYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    int64_t offsets[2];
    int offset_count = 0, code;
    unsigned seen = 0;
    j->tensor = t->name;
    if (!take(j, '{'))
        return broken(j, "it is no object");
    do {
        const char *key;
        char *keep = j->st->strings_end;
        if ((code = read_string(j, &key)))
            return code;
        unsigned bit = !strcmp(key, "dtype") ? TYPE : !strcmp(key, "shape") ? SHAPE : !strcmp(key, "data_offsets") ? OFFSETS : 0;
        if (!bit || (seen & bit) || !take(j, ':'))
            return tensor_wrong(j, t, "its keys are not dtype, shape and data_offsets, each once");
        seen |= bit;
        code = bit == TYPE ? read_type(j, t) : bit == SHAPE ? read_numbers(j, t->dim, SALUN_ST_RANK, &t->rank)
                                                            : read_numbers(j, offsets, 2, &offset_count);
        if (code)
            return code;
        j->st->strings_end = keep;
    } while (take(j, ','));
    if (!take(j, '}') || seen != ALL || offset_count != 2)
        return tensor_wrong(j, t, "its keys are not dtype, shape and data_offsets, each once");
    j->tensor = NULL;
    return check_extent(j, t, offsets[0], offsets[1]);
}

static int read_header(Json *j) {
    SalunSt *st = j->st;
    bool metadata = false;
    if (j->at == j->end || *j->at != '{')
        return broken(j, "its header is no JSON object");
    j->at++;
    if (!take(j, '}')) {
        do {
            SalunStTensor *more = grow(st->tensors, st->count, &st->room, sizeof *more);
            int code;
            if (!more)
                return no_memory(j);
            st->tensors = more;
            SalunStTensor *t = &st->tensors[st->count];
            *t = (SalunStTensor){ 0 };
            if ((code = read_string(j, &t->name)))
                return code;
            if (!take(j, ':'))
                return broken(j, "a colon is missing");
            if (strcmp(t->name, "__metadata__")) {
                if ((code = read_tensor(j, t)))
                    return code;
                st->count++;
            } else if (metadata) {
                return broken(j, "__metadata__ is there twice");
            } else if ((code = read_metadata(j))) {
                return code;
            } else {
                metadata = true;
            }
        } while (take(j, ','));
        if (!take(j, '}'))
            return broken(j, "its header has no end");
    }
    skip_space(j);
    return j->at == j->end ? 0 : broken(j, "something stands behind its header");
}

/* ---- all tensors together ---- */

static int by_place(const void *a, const void *b) {
    const SalunStTensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const SalunStTensor *)a)->name, ((const SalunStTensor *)b)->name);
}

static int check_layout(const Json *j) {
    SalunSt *st = j->st;
    const unsigned char *at = j->end;
    if (st->count)
        qsort(st->tensors, (size_t)st->count, sizeof *st->tensors, by_place);
    for (int i = 0; i < st->count; at += st->tensors[i++].bytes) {
        const SalunStTensor *t = &st->tensors[i];
        if (t->data < at)
            return salun_error(j->err, SALUN_BAD_INPUT, "%s: tensors %.100s and %.100s overlap", st->name, st->tensors[i - 1].name, t->name);
        if (t->data > at)
            return tensor_wrong(j, t, "the bytes before it belong to no tensor");
    }
    if (at != st->map.data + st->map.size)
        return salun_error(j->err, SALUN_BAD_INPUT, "%s: the last %lld bytes belong to no tensor", st->name,
                           (long long)(st->map.data + st->map.size - at));
    if (st->count)
        qsort(st->tensors, (size_t)st->count, sizeof *st->tensors, by_name);
    for (int i = 1; i < st->count; i++)
        if (!strcmp(st->tensors[i - 1].name, st->tensors[i].name))
            return tensor_wrong(j, &st->tensors[i], "is there twice");
    return 0;
}

static int parse(SalunSt *st, SalunError *err) {
    const unsigned char *data = st->map.data;
    size_t size = st->map.size;
    uint64_t header = 0;
    if (size < 8)
        return salun_error(err, SALUN_BAD_INPUT, "%s: not a .safetensors file: it has %zu bytes only", st->name, size);
    for (int i = 7; i >= 0; i--)
        header = header << 8 | data[i];
    if (header > MOST_HEADER)
        return salun_error(err, SALUN_BAD_INPUT, "%s: not a .safetensors file: a header of %llu bytes", st->name, (unsigned long long)header);
    if (header > size - 8)
        return salun_error(err, SALUN_BAD_INPUT, "%s: cut off: its header has %llu bytes, the file %zu", st->name,
                           (unsigned long long)header, size);
    st->strings = st->strings_end = malloc((size_t)header + 1);
    if (!st->strings)
        return salun_error(err, SALUN_NO_SPACE, "%s: out of memory", st->name);
    Json j = { .begin = data + 8, .at = data + 8, .end = data + 8 + header, .st = st, .err = err };
    int code = read_header(&j);
    return code ? code : check_layout(&j);
}

/* ---- access ---- */

static SalunSt *st_new(const char *name, SalunError *err) {
    SalunSt *st = calloc(1, sizeof *st);
    if (st)
        st->name = strdup(name);
    if (!st || !st->name) {
        free(st);
        salun_error(err, SALUN_NO_SPACE, "%s: out of memory", name);
        return NULL;
    }
    return st;
}

SalunSt *salun_st_open(const char *path, SalunError *err) {
    SalunSt *st = st_new(path, err);
    if (st && (salun_map(&st->map, path, err) || parse(st, err))) {
        salun_st_close(st);
        return NULL;
    }
    return st;
}

SalunSt *salun_st_memory(const void *data, size_t bytes, const char *name, SalunError *err) {
    SalunSt *st = st_new(name, err);
    if (!st)
        return NULL;
    st->map = (SalunMap){ .data = data, .size = bytes };
    if (parse(st, err)) {
        salun_st_close(st);
        return NULL;
    }
    return st;
}

void salun_st_close(SalunSt *st) {
    if (!st)
        return;
    salun_unmap(&st->map);
    free(st->strings);
    free(st->tensors);
    free(st->metadata);
    free(st->name);
    free(st);
}

int salun_st_count(const SalunSt *st) {
    return st->count;
}

const SalunStTensor *salun_st_at(const SalunSt *st, int index) {
    return &st->tensors[index];
}

const SalunStTensor *salun_st_find(const SalunSt *st, const char *name) {
    SalunStTensor key = { .name = name };
    return st->count ? bsearch(&key, st->tensors, (size_t)st->count, sizeof key, by_name) : NULL;
}

const char *salun_st_metadata(const SalunSt *st, const char *key) {
    for (int i = 0; i < st->metadata_count; i++)
        if (!strcmp(st->metadata[i].key, key))
            return st->metadata[i].text;
    return NULL;
}

const char *salun_st_type_name(SalunStType type) {
    return type_info[type].name;
}

size_t salun_st_type_size(SalunStType type) {
    return type_info[type].size;
}
