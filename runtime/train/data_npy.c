/* data_npy.c - data sets of .npy files: images float32 [count, ...] or uint8 [count, channels, height, width] (or
 * [count, height, width]), labels int64, int32 or uint8 [count]. Images stay mapped, labels are copied. */
#include "data.h"

#include "npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool data_npy_present(const char *dir) {
    return data_exists(dir, "images.npy") || data_exists(dir, "labels.npy");
}

static int check_images(const SalunNpy *npy, const char *file, SalunError *err) {
    char shape[160];
    salun_shape_text(shape, sizeof shape, npy->rank, npy->dim);
    if (npy->type != SALUN_NPY_F32 && npy->type != SALUN_NPY_U8)
        return salun_error(err, SALUN_BAD_INPUT, "%s: images are float32 or uint8, this is %s", file, salun_npy_type_name(npy->type));
    if (npy->rank >= 1 && npy->dim[0] == 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: holds no images: %s", file, shape);
    if (npy->type == SALUN_NPY_U8 && npy->rank != 4 && npy->rank != 3)
        return salun_error(err, SALUN_BAD_INPUT, "%s: uint8 images are [count, channels, height, width], this is %s", file, shape);
    if (npy->rank < 1 || npy->rank > DATA_RANK + 1 || data_product(npy->dim, npy->rank) < 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: %s are not images: the first size counts them, the others are one image's", file, shape);
    return SALUN_OK;
}

/* Fills part from an array that the set keeps mapped. */
static int read_images(DataSet *set, Images *part, SalunError *err) {
    SalunNpy npy;
    int code = salun_npy_open(&npy, part->images_file, err);
    if (code)
        return code;
    if ((code = check_images(&npy, part->images_file, err))) {
        salun_npy_close(&npy);
        return code;
    }
    part->is_float = npy.type == SALUN_NPY_F32;
    part->count = npy.dim[0];
    part->rank = npy.rank - 1;
    memcpy(part->dim, npy.dim + 1, (size_t)part->rank * sizeof *part->dim);
    if (!part->is_float && part->rank == 2) {
        part->rank = 3;
        part->dim[2] = part->dim[1];
        part->dim[1] = part->dim[0];
        part->dim[0] = 1;
    }
    part->elements = data_product(part->dim, part->rank);
    data_set_images(part, npy.data);
    set->maps[set->map_count++] = npy.map;
    return SALUN_OK;
}

/* A label that int32 cannot hold becomes -1, which no network has. */
static int32_t label_at(const SalunNpy *npy, int64_t i) {
    switch (npy->type) {
    case SALUN_NPY_U8:
        return ((const uint8_t *)npy->data)[i];
    case SALUN_NPY_I32:
        return ((const int32_t *)npy->data)[i];
    default: {
        int64_t v = ((const int64_t *)npy->data)[i];
        return v >= 0 && v <= INT32_MAX ? (int32_t)v : -1;
    }
    }
}

static int copy_labels(DataSet *set, Images *part, const SalunNpy *npy, int64_t classes, SalunError *err) {
    char shape[160];
    const char *file = part->labels_file;
    if (npy->type == SALUN_NPY_F32)
        return salun_error(err, SALUN_BAD_INPUT, "%s: labels are int64, int32 or uint8, this is float32", file);
    bool flat = npy->rank == 1 || (npy->rank == 2 && npy->dim[1] == 1);
    if (!flat || npy->dim[0] != part->count)
        return salun_error(err, SALUN_BAD_INPUT, "%s: labels of shape %s for the %" PRId64 " images of %s", file,
                           salun_shape_text(shape, sizeof shape, npy->rank, npy->dim), part->count, part->images_file);
    int32_t *labels = data_alloc(set, (size_t)part->count * sizeof *labels, err);
    if (!labels)
        return SALUN_NO_SPACE;
    for (int64_t i = 0; i < part->count; i++)
        labels[i] = label_at(npy, i);
    part->labels = labels;
    return data_check_labels(labels, part->count, classes, file, err);
}

static int read_part(DataSet *set, Images *part, const char *images, const char *labels, int64_t classes, SalunError *err) {
    part->images_file = images;
    part->labels_file = labels;
    SalunNpy npy;
    int code = read_images(set, part, err);
    if (code || (code = salun_npy_open(&npy, labels, err)))
        return code;
    code = copy_labels(set, part, &npy, classes, err);
    salun_npy_close(&npy);
    return code;
}

int data_npy_read(DataSet *set, const char *list, int64_t classes, SalunError *err) {
    char *copy = data_alloc(set, strlen(list) + 1, err);
    if (!copy)
        return SALUN_NO_SPACE;
    strcpy(copy, list);
    char *file[5] = { copy };
    int count = 1;
    for (char *c = copy; *c && count < 5; c++)
        if (*c == ',') {
            *c = 0;
            file[count++] = c + 1;
        }
    if (count != 2 && count != 4)
        return salun_error(err, SALUN_BAD_INPUT, "npy:%s: want npy:IMAGES,LABELS or npy:IMAGES,LABELS,TEST_IMAGES,TEST_LABELS", list);
    int code = read_part(set, &set->train, file[0], file[1], classes, err);
    return code || count == 2 ? code : read_part(set, &set->test, file[2], file[3], classes, err);
}

int data_npy_read_dir(DataSet *set, const char *dir, int64_t classes, SalunError *err) {
    static const char *const name[4] = { "images.npy", "labels.npy", "test_images.npy", "test_labels.npy" };
    const char *path[4];
    for (int i = 0; i < 4; i++)
        if (!(path[i] = data_path(set, dir, name[i], err)))
            return SALUN_NO_SPACE;
    int code = read_part(set, &set->train, path[0], path[1], classes, err);
    if (code || (!data_exists(dir, name[2]) && !data_exists(dir, name[3])))
        return code;
    return read_part(set, &set->test, path[2], path[3], classes, err);
}
