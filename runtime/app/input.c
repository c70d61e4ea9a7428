/* input.c - images for one input of the network: .npy arrays and pictures, one after the other. */
#include "app/app.h"
#include "picture/picture.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

size_t app_port_bytes(const SalunPort *port) {
    return (size_t)port->count * (port->type == SALUN_U8 ? 1 : 4);
}

/* ---- opening ---- */

/* By its first bytes or its name; a file that cannot be read is reported by whoever reads it next. */
static bool is_npy(const char *path) {
    static const char magic[] = "\x93NUMPY", suffix[] = ".npy";
    char begin[6];
    size_t length = strlen(path);
    FILE *file = fopen(path, "rb");
    bool npy = file && fread(begin, 1, sizeof begin, file) == sizeof begin && !memcmp(begin, magic, sizeof begin);
    if (file)
        fclose(file);
    return npy || (length > 4 && !strcmp(path + length - 4, suffix));
}

static int64_t dims_count(int rank, const int64_t *dim) {
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= dim[i];
    return count;
}

static bool same_dims(const SalunPort *port, const int64_t *dim) {
    for (int i = 0; i < port->rank; i++)
        if (dim[i] != port->dim[i])
            return false;
    return true;
}

/* Bytes become float32 by preprocess; they may have another size before it, and their channels last. */
static bool is_bytes(const AppFeed *f, const SalunNpy *npy) {
    return npy->type == SALUN_NPY_U8 && f->program->inputs[f->port].type == SALUN_F32;
}

static int bad_type(const AppFeed *f, const AppSource *s, SalunError *err) {
    return salun_error(err, SALUN_BAD_INPUT, "%s holds %s; input %s of %s does not take that", s->path, salun_npy_type_name(s->npy.type),
                       f->program->inputs[f->port].name, f->program->name);
}

static int check_type(const AppFeed *f, const AppSource *s, SalunError *err) {
    switch (f->program->inputs[f->port].type) {
    case SALUN_F32:
        return s->npy.type == SALUN_NPY_F32 || (s->npy.type == SALUN_NPY_U8 && f->port == 0) ? 0 : bad_type(f, s, err);
    case SALUN_I32:
        return s->npy.type == SALUN_NPY_I32 || s->npy.type == SALUN_NPY_I64 ? 0 : bad_type(f, s, err);
    default:
        return s->npy.type == SALUN_NPY_U8 ? 0 : bad_type(f, s, err);
    }
}

/* Finds the number of images: the array is [n, image...] or one image without n; grey bytes may lack the channel. */
static int check_shape(const AppFeed *f, AppSource *s, SalunError *err) {
    const SalunPort *port = &f->program->inputs[f->port];
    const SalunNpy *npy = &s->npy;
    char have[160], want[160];
    int images = npy->rank == port->rank + 1;
    s->grey = !images && is_bytes(f, npy) && port->rank == 3 && npy->rank == 3 && port->dim[0] == 1 && npy->dim[0] != 1 && npy->dim[2] != 1;
    s->count = images || s->grey ? npy->dim[0] : 1;
    if (npy->rank == port->rank + images && (is_bytes(f, npy) || same_dims(port, npy->dim + images)))
        return 0;
    return salun_error(err, SALUN_BAD_INPUT, "%s has shape %s, input %s takes [n,%s", s->path,
                       salun_shape_text(have, sizeof have, npy->rank, npy->dim), port->name,
                       salun_shape_text(want, sizeof want, port->rank, port->dim) + 1);
}

static int open_source(AppFeed *f, AppSource *s, SalunError *err) {
    s->picture = f->port == 0 && !is_npy(s->path);
    s->count = 1;
    if (!s->picture) {
        int code = salun_npy_open(&s->npy, s->path, err);
        if (!code)
            code = check_type(f, s, err);
        if (!code)
            code = check_shape(f, s, err);
        if (code)
            return code;
    }
    if ((s->picture || is_bytes(f, &s->npy)) && !f->pre) {
        f->pre = salun_pre_create(f->program, err);
        if (!f->pre)
            return err->code;
    }
    f->count += s->count;
    return 0;
}

int app_feed_open(AppFeed *f, const SalunProgram *p, int port, const AppOptions *o, SalunError *err) {
    *f = (AppFeed){ .program = p, .port = port };
    f->sources = calloc((size_t)o->input_count + 1, sizeof *f->sources);
    if (!f->sources)
        return salun_error(err, SALUN_NO_SPACE, "out of memory");
    for (int i = 0; i < o->input_count; i++) {
        if (o->inputs[i].port != port)
            continue;
        AppSource *s = &f->sources[f->source_count++];
        s->path = o->inputs[i].path;
        int code = open_source(f, s, err);
        if (code)
            return code;
    }
    return 0;
}

void app_feed_close(AppFeed *f) {
    for (int i = 0; i < f->source_count; i++)
        salun_npy_close(&f->sources[i].npy);
    free(f->sources);
    salun_pre_destroy(f->pre);
    *f = (AppFeed){ 0 };
}

/* ---- reading ---- */

static int read_picture(AppFeed *f, const AppSource *s, float *to, SalunError *err) {
    SalunPixels px;
    int code = salun_pixels_read(&px, s->path, (int)f->program->inputs->dim[0], err);
    if (code)
        return code;
    SalunPicture picture = salun_picture_interleaved(px.data, px.channels, px.height, px.width);
    code = salun_pre_apply(f->pre, &picture, s->path, to, err);
    salun_pixels_free(&px);
    return code;
}

/* Image i of a uint8 array: [channels, height, width], channels last when only that fits, or [height, width]. */
static int read_bytes(AppFeed *f, const AppSource *s, int64_t i, float *to, SalunError *err) {
    const int64_t grey[] = { 1, s->npy.dim[1], s->npy.dim[2] }, channels = f->program->inputs->dim[0];
    const int64_t *dim = s->grey ? grey : s->npy.dim + (s->npy.rank - 3);
    const uint8_t *data = (const uint8_t *)s->npy.data + i * dims_count(3, dim);
    bool last = dim[0] != channels && dim[2] == channels;
    SalunPicture picture = last ? salun_picture_interleaved(data, dim[2], dim[0], dim[1]) : salun_picture_planar(data, dim[0], dim[1], dim[2]);
    return salun_pre_apply(f->pre, &picture, s->path, to, err);
}

static int read_wide(const AppFeed *f, const AppSource *s, int64_t i, int32_t *to, SalunError *err) {
    const int64_t count = f->program->inputs[f->port].count, *from = (const int64_t *)s->npy.data + i * count;
    for (int64_t k = 0; k < count; k++) {
        if (from[k] < INT32_MIN || from[k] > INT32_MAX)
            return salun_error(err, SALUN_BAD_INPUT, "%s: %lld does not fit int32", s->path, (long long)from[k]);
        to[k] = (int32_t)from[k];
    }
    return 0;
}

static int read_image(AppFeed *f, const AppSource *s, int64_t i, void *to, SalunError *err) {
    if (s->picture)
        return read_picture(f, s, to, err);
    if (is_bytes(f, &s->npy))
        return read_bytes(f, s, i, to, err);
    if (s->npy.type == SALUN_NPY_I64)
        return read_wide(f, s, i, to, err);
    size_t bytes = app_port_bytes(&f->program->inputs[f->port]);
    memcpy(to, (const char *)s->npy.data + (size_t)i * bytes, bytes);
    return 0;
}

/* The source of the next image. */
static AppSource *next_source(AppFeed *f) {
    while (f->image == f->sources[f->at].count) {
        f->at++;
        f->image = 0;
    }
    return &f->sources[f->at];
}

const void *app_feed_take(AppFeed *f, int64_t n) {
    const AppSource *s = next_source(f);
    if (s->picture || is_bytes(f, &s->npy) || s->npy.type == SALUN_NPY_I64 || s->count - f->image < n)
        return NULL;
    const char *data = (const char *)s->npy.data + (size_t)f->image * app_port_bytes(&f->program->inputs[f->port]);
    f->image += n;
    return data;
}

int app_feed_read(AppFeed *f, int64_t n, void *to, SalunError *err) {
    size_t bytes = app_port_bytes(&f->program->inputs[f->port]);
    for (int64_t k = 0; k < n; k++, f->image++) {
        const AppSource *s = next_source(f);
        int code = read_image(f, s, f->image, (char *)to + (size_t)k * bytes, err);
        if (code)
            return code;
    }
    return salun_map_check(err);
}

const char *app_feed_name(const AppFeed *f, int64_t i, char *text, size_t size) {
    const AppSource *s = f->sources;
    for (; i >= s->count; s++)
        i -= s->count;
    if (s->picture || (s->npy.rank == f->program->inputs[f->port].rank && !s->grey))
        snprintf(text, size, "%s", s->path);
    else
        snprintf(text, size, "%s[%lld]", s->path, (long long)i);
    return text;
}
