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

/* Maps one file and counts its records. */
static int map_file(SalunMap *map, const char *path, const Layout *layout, int64_t *records, SalunError *err) {
    int64_t bytes = PIXELS + layout->label_bytes;
    int code = salun_map(map, path, err);
    if (code)
        return code;
    *records = (int64_t)map->size / bytes;
    if (map->size == 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: the file is empty", path);
    if ((int64_t)map->size % bytes)
        return salun_error(err, SALUN_BAD_INPUT, "%s: %zu bytes are not a whole number of records of %" PRId64 " bytes", path, map->size, bytes);
    return SALUN_OK;
}

static int read_part(DataSet *set, Images *part, const char *dir, const char *const *names, int files, const Layout *layout,
                     int64_t classes, SalunError *err) {
    uint8_t *images = NULL;
    int32_t *labels = NULL;
    int64_t each = 0;
    for (int f = 0; f < files; f++) {
        SalunMap map = { .data = NULL };
        int64_t records = 0;
        const char *path = data_path(set, dir, names[f], err);
        int code = path ? map_file(&map, path, layout, &records, err) : SALUN_NO_SPACE;
        if (!code && f > 0 && records != each)
            code = salun_error(err, SALUN_BAD_INPUT, "%s: %" PRId64 " images, but %s holds %" PRId64, path, records, names[0], each);
        if (!code && f == 0) {
            each = records;
            images = data_alloc(set, (size_t)(files * each) * PIXELS, err);
            labels = data_alloc(set, (size_t)(files * each) * sizeof *labels, err);
            code = images && labels ? SALUN_OK : SALUN_NO_SPACE;
        }
        for (int64_t i = 0; !code && i < records; i++) {
            const unsigned char *record = map.data + i * (PIXELS + layout->label_bytes);
            labels[f * each + i] = record[layout->label_bytes - 1];
            memcpy(images + (f * each + i) * PIXELS, record + layout->label_bytes, PIXELS);
        }
        if (!code)
            code = data_check_labels(labels + f * each, records, classes, path, err);
        salun_unmap(&map);
        if (code)
            return code;
        part->images_file = part->labels_file = path;
    }
    part->count = files * each;
    part->rank = 3;
    part->dim[0] = 3;
    part->dim[1] = part->dim[2] = 32;
    part->elements = PIXELS;
    part->images = images;
    part->labels = labels;
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
