/* data_cifar.c - CIFAR-10 and CIFAR-100 in their binary form: records of one label byte (CIFAR-100: coarse, then
 * fine label) and 3072 bytes, the red, green and blue planes of 32 x 32. Source: the description on the CIFAR page.
 * The files lie in the folder itself or in the one that the archive unpacks to. */
#include "data.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PIXELS = 3 * 32 * 32 };

typedef struct {
    const char *archive, *test;
    const char *train[5]; int train_count;
    int label_bytes;                   /* the last of them is the label */
} Layout;

static const Layout layouts[2] = {
    { "cifar-10-batches-bin", "test_batch.bin",
      { "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin" }, 5, 1 },
    { "cifar-100-binary", "test.bin", { "train.bin" }, 1, 2 },
};

static const Layout *layout_of(int kind) {
    return &layouts[kind == 100];
}

static bool present_in(const char *dir, const Layout *layout) {
    for (int i = 0; i < layout->train_count; i++)
        if (data_exists(dir, layout->train[i]))
            return true;
    return false;
}

bool data_cifar_present(const char *dir, int kind) {
    const Layout *layout = layout_of(kind);
    char sub[4096];
    snprintf(sub, sizeof sub, "%s/%s", dir, layout->archive);
    return present_in(dir, layout) || present_in(sub, layout);
}

/* The records of a file that the set keeps mapped. */
static int map_file(DataSet *set, const char *path, const Layout *layout, const unsigned char **data, int64_t *records, SalunError *err) {
    int64_t bytes = PIXELS + layout->label_bytes;
    SalunMap map;
    int code = salun_map(&map, path, err);
    if (code)
        return code;
    set->maps[set->map_count++] = map;
    *data = map.data;
    *records = (int64_t)map.size / bytes;
    if (map.size == 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: the file is empty", path);
    if ((int64_t)map.size % bytes)
        return salun_error(err, SALUN_BAD_INPUT, "%s: %zu bytes are not a whole number of records of %" PRId64 " bytes", path, map.size, bytes);
    return SALUN_OK;
}

/* One file of as many images as the others of its part. */
static int read_file(DataSet *set, Images *part, const char *dir, const char *const *names, int files, int f, const Layout *layout,
                     int64_t classes, SalunError *err) {
    const char *path = data_path(set, dir, names[f], err);
    const unsigned char *data = NULL;
    int64_t records = 0;
    int code = path ? map_file(set, path, layout, &data, &records, err) : SALUN_NO_SPACE;
    if (code)
        return code;
    part->images_file = part->labels_file = path;
    if (f == 0) {
        part->per_file = records;
        part->labels = data_alloc(set, (size_t)(files * records) * sizeof *part->labels, err);
        if (!part->labels)
            return SALUN_NO_SPACE;
    }
    if (records != part->per_file)
        return salun_error(err, SALUN_BAD_INPUT, "%s: %" PRId64 " images, but %s holds %" PRId64, path, records, names[0], part->per_file);
    int32_t *labels = (int32_t *)part->labels + f * records;
    for (int64_t i = 0; i < records; i++)
        labels[i] = data[i * part->stride + layout->label_bytes - 1];
    part->file[f] = data + layout->label_bytes;
    return data_check_labels(labels, records, classes, path, err);
}

static int read_part(DataSet *set, Images *part, const char *dir, const char *const *names, int files, const Layout *layout,
                     int64_t classes, SalunError *err) {
    part->rank = 3;
    part->dim[0] = 3;
    part->dim[1] = part->dim[2] = 32;
    part->elements = PIXELS;
    part->stride = PIXELS + layout->label_bytes;
    for (int f = 0; f < files; f++) {
        int code = read_file(set, part, dir, names, files, f, layout, classes, err);
        if (code)
            return code;
    }
    part->count = files * part->per_file;
    return SALUN_OK;
}

int data_cifar_read(DataSet *set, const char *dir, int kind, int64_t classes, SalunError *err) {
    const Layout *layout = layout_of(kind);
    if (!present_in(dir, layout) && !(dir = data_path(set, dir, layout->archive, err)))
        return SALUN_NO_SPACE;
    int code = read_part(set, &set->train, dir, layout->train, layout->train_count, layout, classes, err);
    if (code || !data_exists(dir, layout->test))
        return code;
    return read_part(set, &set->test, dir, &layout->test, 1, layout, classes, err);
}
