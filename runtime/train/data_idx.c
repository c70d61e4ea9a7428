/* data_idx.c - MNIST's IDX form: a big-endian header (magic 0x00000803 for images [count, height, width],
 * 0x00000801 for labels [count]), then bytes. Source: the description on the MNIST page. Files are called
 * train-images-idx3-ubyte and so on, with a dot in place of the dash before idx, with .gz behind. */
#include "data.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS, FILES };
static const char *const stem[FILES] = { "train-images", "train-labels", "t10k-images", "t10k-labels" };
static const char *const kind[FILES] = { "idx3-ubyte", "idx1-ubyte", "idx3-ubyte", "idx1-ubyte" };

/* The name in dir of one of the four files; false: there is none under any of its names. */
static bool find(const char *dir, int which, char *name, size_t bytes) {
    for (int i = 0; i < 4; i++) {
        snprintf(name, bytes, "%s%c%s%s", stem[which], i & 1 ? '.' : '-', kind[which], i & 2 ? ".gz" : "");
        if (data_exists(dir, name))
            return true;
    }
    return false;
}

bool data_idx_present(const char *dir) {
    char name[64];
    return find(dir, TRAIN_IMAGES, name, sizeof name) || find(dir, TRAIN_LABELS, name, sizeof name);
}

/* An open file, plain or compressed: zlib reads both. */
typedef struct { gzFile file; const char *path; int64_t disk_bytes; } Idx;

static int idx_open(Idx *x, const char *path, SalunError *err) {
    struct stat st;
    *x = (Idx){ .path = path };
    if (stat(path, &st) != 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return salun_error(err, SALUN_BAD_INPUT, "%s: not a regular file", path);
    x->disk_bytes = st.st_size;
    x->file = gzopen(path, "rb");
    if (!x->file)
        return salun_error(err, SALUN_BAD_INPUT, "%s: %s", path, errno ? strerror(errno) : "no memory");
    gzbuffer(x->file, 1 << 17);
    return SALUN_OK;
}

/* Exactly so many bytes. */
static int idx_read(Idx *x, void *out, int64_t bytes, SalunError *err) {
    unsigned char *p = out;
    while (bytes > 0) {
        int got = gzread(x->file, p, bytes < (1 << 30) ? (unsigned)bytes : 1u << 30);
        if (got < 0) {
            int code;
            return salun_error(err, SALUN_BAD_INPUT, "%s: %s", x->path, gzerror(x->file, &code));
        }
        if (got == 0)
            return salun_error(err, SALUN_BAD_INPUT, "%s: the file ends %" PRId64 " bytes before what its header promises", x->path, bytes);
        p += got;
        bytes -= got;
    }
    return SALUN_OK;
}

/* The file must end here; a compressed one has its checksum compared by that. */
static int idx_end(Idx *x, SalunError *err) {
    unsigned char byte;
    int got = gzread(x->file, &byte, 1), code;
    if (got > 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: the file is longer than its header says", x->path);
    const char *text = gzerror(x->file, &code);
    return got == 0 && code == Z_OK ? SALUN_OK : salun_error(err, SALUN_BAD_INPUT, "%s: %s", x->path, text);
}

/* Reads the header: rank sizes into dim; returns by *total the bytes that follow. */
static int idx_header(Idx *x, int rank, int64_t *dim, int64_t *total, SalunError *err) {
    unsigned char head[16];
    int code = idx_read(x, head, 4, err);
    if (code)
        return code;
    if (head[0] || head[1] || head[2] != 8 || head[3] != rank)
        return salun_error(err, SALUN_BAD_INPUT, "%s: begins with %02x %02x %02x %02x, but an IDX file of %s begins with 00 00 08 %02x", x->path,
                           head[0], head[1], head[2], head[3], rank == 3 ? "images" : "labels", rank);
    if ((code = idx_read(x, head, 4 * rank, err)))
        return code;
    for (int i = 0; i < rank; i++)
        dim[i] = (int64_t)head[4 * i] << 24 | head[4 * i + 1] << 16 | head[4 * i + 2] << 8 | head[4 * i + 3];
    *total = data_product(dim, rank);
    if (*total < 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: %s", x->path, dim[0] == 0 ? "holds no images" : "the header's sizes make no sense");
    /* deflate shrinks by at most 1032, so that a lying header cannot ask for unbounded memory */
    int64_t most = gzdirect(x->file) ? x->disk_bytes : x->disk_bytes * 1032;
    if (*total > most)
        return salun_error(err, SALUN_BAD_INPUT, "%s: the header promises %" PRId64 " bytes, more than the file of %" PRId64 " can hold",
                           x->path, *total, x->disk_bytes);
    return SALUN_OK;
}

/* All of one file: rank sizes and their bytes, owned by the set. */
static int read_array(DataSet *set, const char *path, int rank, int64_t *dim, unsigned char **bytes, SalunError *err) {
    Idx x;
    int64_t total = 0;
    int code = idx_open(&x, path, err);
    if (code)
        return code;
    code = idx_header(&x, rank, dim, &total, err);
    if (!code && !(*bytes = data_alloc(set, (size_t)total, err)))
        code = SALUN_NO_SPACE;
    if (!code)
        code = idx_read(&x, *bytes, total, err);
    if (!code)
        code = idx_end(&x, err);
    gzclose(x.file);
    return code;
}

static int read_images(DataSet *set, Images *images, SalunError *err) {
    int64_t dim[3];
    unsigned char *bytes = NULL;
    int code = read_array(set, images->images_file, 3, dim, &bytes, err);
    if (code)
        return code;
    images->count = dim[0];
    images->rank = 3;
    images->dim[0] = 1;
    images->dim[1] = dim[1];
    images->dim[2] = dim[2];
    images->elements = dim[1] * dim[2];
    data_set_images(images, bytes);
    return SALUN_OK;
}

static int read_labels(DataSet *set, Images *images, int64_t classes, SalunError *err) {
    int64_t count;
    unsigned char *bytes = NULL;
    int code = read_array(set, images->labels_file, 1, &count, &bytes, err);
    if (code)
        return code;
    if (count != images->count)
        return salun_error(err, SALUN_BAD_INPUT, "%s: %" PRId64 " labels for the %" PRId64 " images of %s", images->labels_file, count,
                           images->count, images->images_file);
    int32_t *labels = data_alloc(set, (size_t)count * sizeof *labels, err);
    if (!labels)
        return SALUN_NO_SPACE;
    for (int64_t i = 0; i < count; i++)
        labels[i] = bytes[i];
    images->labels = labels;
    return data_check_labels(labels, count, classes, images->labels_file, err);
}

/* images: TRAIN_IMAGES or TEST_IMAGES; the labels' file follows it in the table */
static int read_part(DataSet *set, Images *part, const char *dir, int images, int64_t classes, SalunError *err) {
    for (int i = 0; i < 2; i++) {
        char name[64];
        if (!find(dir, images + i, name, sizeof name))
            return salun_error(err, SALUN_BAD_INPUT, "%s: %s-%s is missing", dir, stem[images + i], kind[images + i]);
        const char *path = data_path(set, dir, name, err);
        if (!path)
            return SALUN_NO_SPACE;
        *(i ? &part->labels_file : &part->images_file) = path;
    }
    int code = read_images(set, part, err);
    return code ? code : read_labels(set, part, classes, err);
}

int data_idx_read(DataSet *set, const char *dir, int64_t classes, SalunError *err) {
    char name[64];
    int code = read_part(set, &set->train, dir, TRAIN_IMAGES, classes, err);
    if (code || (!find(dir, TEST_IMAGES, name, sizeof name) && !find(dir, TEST_LABELS, name, sizeof name)))
        return code;
    return read_part(set, &set->test, dir, TEST_IMAGES, classes, err);
}
