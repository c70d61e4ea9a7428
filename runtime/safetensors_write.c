/* safetensors_write.c - writing .safetensors files, and floats of any width to float32. */
#include "safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- floats ---- */

bool salun_st_is_float(SalunStType type) {
    return type == SALUN_ST_F16 || type == SALUN_ST_BF16 || type == SALUN_ST_F32 || type == SALUN_ST_F64;
}

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float from_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
    if (exponent == 31)
        return from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0)
        return (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
    return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

void salun_st_floats(const SalunStTensor *t, int64_t begin, int64_t count, float *out) {
    size_t size = salun_st_type_size(t->type);
    const unsigned char *p = t->data + (size_t)begin * size;
    if (t->type == SALUN_ST_F32) {
        memcpy(out, p, (size_t)count * size);
        return;
    }
    for (int64_t i = 0; i < count; i++, p += size) {
        uint16_t half;
        double wide;
        if (t->type == SALUN_ST_F64) {
            memcpy(&wide, p, sizeof wide);
            out[i] = (float)wide;
        } else {
            memcpy(&half, p, sizeof half);
            out[i] = t->type == SALUN_ST_F16 ? from_half(half) : from_bits((uint32_t)half << 16);
        }
    }
}

/* ---- the header ---- */

typedef struct { char *data; size_t size, room; bool failed; } Text;

static void put(Text *t, const char *bytes, size_t count) {
    if (t->size + count > t->room) {
        size_t room = (t->size + count) * 2 + 256;
        char *more = t->failed ? NULL : realloc(t->data, room);
        if (!more) {
            t->failed = true;
            return;
        }
        t->data = more;
        t->room = room;
    }
    memcpy(t->data + t->size, bytes, count);
    t->size += count;
}

static void put_text(Text *t, const char *text) {
    put(t, text, strlen(text));
}

static void put_string(Text *t, const char *text) {
    put_text(t, "\"");
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        char escape[8];
        if (c == '"' || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", c);
        else if (c < 0x20)
            snprintf(escape, sizeof escape, "\\u%04x", c);
        else
            snprintf(escape, sizeof escape, "%c", c);
        put_text(t, escape);
    }
    put_text(t, "\"");
}

static int64_t tensor_count(const SalunStOut *o) {
    int64_t count = 1;
    for (int i = 0; i < o->rank; i++)
        count *= o->dim[i];
    return count;
}

static int64_t tensor_bytes(const SalunStOut *o) {
    return tensor_count(o) * (int64_t)salun_st_type_size(o->type);
}

static void put_tensor(Text *t, const SalunStOut *o, int64_t begin) {
    char text[256], shape[200];
    put_string(t, o->name);
    snprintf(text, sizeof text, ":{\"dtype\":\"%s\",\"shape\":", salun_st_type_name(o->type));
    put_text(t, text);
    put_text(t, salun_shape_text(shape, sizeof shape, o->rank, o->dim));
    snprintf(text, sizeof text, ",\"data_offsets\":[%lld,%lld]}", (long long)begin, (long long)(begin + tensor_bytes(o)));
    put_text(t, text);
}

static void put_header(Text *t, const SalunStOut *tensors, int count, const char *const *metadata, int metadata_count) {
    int64_t at = 0;
    const char *separator = "";
    put(t, "\0\0\0\0\0\0\0\0{", 9);
    if (metadata_count) {
        put_text(t, "\"__metadata__\":{");
        for (int i = 0; i + 1 < metadata_count; i += 2) {
            put_text(t, i ? "," : "");
            put_string(t, metadata[i]);
            put_text(t, ":");
            put_string(t, metadata[i + 1]);
        }
        put_text(t, "}");
        separator = ",";
    }
    for (int i = 0; i < count; i++, separator = ",") {
        put_text(t, separator);
        put_tensor(t, &tensors[i], at);
        at += tensor_bytes(&tensors[i]);
    }
    put_text(t, "}");
    while (!t->failed && t->size % 8)
        put_text(t, " ");
    for (int i = 0; i < 8 && !t->failed; i++)
        t->data[i] = (char)((t->size - 8) >> (8 * i));
}

int salun_st_save(const char *path, const SalunStOut *tensors, int count, const char *const *metadata, int metadata_count,
                  SalunError *err) {
    Text header = { 0 };
    SalunSink sink;
    put_header(&header, tensors, count, metadata, metadata_count);
    int code = header.failed ? salun_error(err, SALUN_NO_SPACE, "%s: out of memory", path) : salun_sink_open(&sink, path, err);
    if (code) {
        free(header.data);
        return code;
    }
    code = salun_sink_write(&sink, header.data, header.size, err);
    free(header.data);
    for (int i = 0; i < count && !code; i++)
        code = salun_sink_write(&sink, tensors[i].data, (size_t)tensor_bytes(&tensors[i]), err);
    if (!code)
        return salun_sink_commit(&sink, err);
    salun_sink_abort(&sink);
    return code;
}
