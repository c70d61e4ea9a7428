/* data.h - data sets of images and class labels, mapped where files hold images as they are.
 *
 * Forms: MNIST's IDX files, plain or .gz; CIFAR-10 and CIFAR-100 in their binary form; .npy files. A data set is
 * a folder, whose form is seen from the files in it, or npy:IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS].
 * Every failure names the file and its cause; its code is SALUN_BAD_INPUT, or SALUN_NO_SPACE without memory. */
#ifndef TRAIN_DATA_H
#define TRAIN_DATA_H

#include "base.h"

enum { DATA_RANK = 6, DATA_FILES = 5 };

typedef struct {
    bool is_float;                     /* float32, taken as it is; else uint8 [channels, height, width] */
    int64_t count;                     /* 0: there are none */
    int rank; int64_t dim[DATA_RANK];  /* of one image */
    int64_t elements;                  /* of one image */
    const unsigned char *file[DATA_FILES];     /* image 0 of every file; row-major */
    int64_t per_file, stride;          /* images of a file; bytes from one image to the next */
    const int32_t *labels;             /* count, each in [0, classes) */
    const char *images_file, *labels_file;
} Images;

typedef struct {
    const char *form;                  /* "mnist", "cifar10", "cifar100", "npy" */
    Images train, test;                /* of one type and shape */
    uint64_t hash[2];                  /* of the content of train and test */
    void *owned[24]; int owned_count;
    SalunMap maps[8]; int map_count;
} DataSet;

static inline const void *data_image(const Images *x, int64_t i) {
    return x->file[i / x->per_file] + i % x->per_file * x->stride;
}

/* Reads spec; `preferred` (the recipe's data, may be "") decides where a folder holds several forms.
 * classes: labels at or above it are refused. On failure nothing stays allocated. */
int data_open(DataSet *set, const char *spec, const char *preferred, int64_t classes, SalunError *err);
void data_close(DataSet *set);

/* Where a recipe's data lies when no --data is given: itself when it is npy:..., else the folder NAME or data/NAME
 * if it exists. NULL: nowhere. */
const char *data_default_place(const char *recipe_data, char *buffer, size_t bytes);

/* ---- for the readers ---- */

/* Memory that data_close frees; NULL with an error when there is none. */
void *data_alloc(DataSet *set, size_t bytes, SalunError *err);
/* dir/name, or name alone without a dir, owned by the set. */
const char *data_path(DataSet *set, const char *dir, const char *name, SalunError *err);
bool data_exists(const char *dir, const char *name);
/* All images one behind the other. Needs count, elements, is_float. */
void data_set_images(Images *x, const void *images);
int data_check_labels(const int32_t *labels, int64_t count, int64_t classes, const char *file, SalunError *err);
/* The product of sizes; -1 where one is not positive or the bytes of so many floats overflow. */
int64_t data_product(const int64_t *size, int count);

/* Whether dir holds any file of the form; the readers then report what is missing. */
bool data_idx_present(const char *dir);
bool data_cifar_present(const char *dir, int kind);
bool data_npy_present(const char *dir);
int data_idx_read(DataSet *set, const char *dir, int64_t classes, SalunError *err);
int data_cifar_read(DataSet *set, const char *dir, int kind, int64_t classes, SalunError *err);    /* kind: 10 or 100 */
/* list: IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS] */
int data_npy_read(DataSet *set, const char *list, int64_t classes, SalunError *err);
int data_npy_read_dir(DataSet *set, const char *dir, int64_t classes, SalunError *err);

#endif
