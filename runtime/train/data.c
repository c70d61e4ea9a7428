/* data.c - finding a data set's form, reading it by the form's reader, and what the readers share. */
#include "data.h"

#include "hash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void *data_alloc(DataSet *set, size_t bytes, SalunError *err) {
    void *p = set->owned_count < (int)(sizeof set->owned / sizeof *set->owned) ? malloc(bytes ? bytes : 1) : NULL;
    if (p)
        set->owned[set->owned_count++] = p;
    else
        salun_error(err, SALUN_NO_SPACE, "no memory for %zu bytes of the data set", bytes);
    return p;
}

const char *data_path(DataSet *set, const char *dir, const char *name, SalunError *err) {
    size_t bytes = (dir ? strlen(dir) : 0) + strlen(name) + 2;
    char *p = data_alloc(set, bytes, err);
    if (p)
        snprintf(p, bytes, "%s%s%s", dir ? dir : "", dir ? "/" : "", name);
    return p;
}

bool data_exists(const char *dir, const char *name) {
    char path[4096];
    struct stat st;
    int length = snprintf(path, sizeof path, "%s/%s", dir, name);
    return length < (int)sizeof path && stat(path, &st) == 0;
}

void data_set_images(Images *x, const void *images) {
    x->file[0] = images;
    x->per_file = x->count;
    x->stride = x->elements * (int64_t)(x->is_float ? sizeof(float) : 1);
}

int data_check_labels(const int32_t *labels, int64_t count, int64_t classes, const char *file, SalunError *err) {
    for (int64_t i = 0; i < count; i++)
        if (labels[i] < 0 || labels[i] >= classes)
            return salun_error(err, SALUN_BAD_INPUT, "%s: image %" PRId64 " has label %d, but the network has classes 0 to %" PRId64,
                               file, i, labels[i], classes - 1);
    return SALUN_OK;
}

int64_t data_product(const int64_t *size, int count) {
    int64_t product = 1;
    for (int i = 0; i < count; i++)
        if (size[i] <= 0 || __builtin_mul_overflow(product, size[i], &product))
            return -1;
    return product <= INT64_MAX / (int64_t)sizeof(float) ? product : -1;
}

static uint64_t content_hash(const Images *x) {
    uint64_t h = HASH_START;
    if (x->count == 0)
        return h;
    h = hash_word(h, (uint64_t)x->is_float);
    h = hash_word(h, (uint64_t)x->count);
    for (int i = 0; i < x->rank; i++)
        h = hash_word(h, (uint64_t)x->dim[i]);
    int64_t bytes = x->elements * (int64_t)(x->is_float ? sizeof(float) : 1);
    int64_t at_once = bytes == x->stride ? x->per_file : 1;
    HashStream stream = hash_begin(h);
    for (int64_t i = 0; i < x->count; i += at_once)
        hash_add(&stream, data_image(x, i), (size_t)(at_once * bytes));
    h = hash_end(&stream);
    return hash_bytes(h, x->labels, (size_t)x->count * sizeof *x->labels);
}

enum { MNIST, CIFAR10, CIFAR100, NPY, FORMS };

static int read_form(DataSet *set, int form, const char *dir, int64_t classes, SalunError *err) {
    switch (form) {
    case MNIST:
        return data_idx_read(set, dir, classes, err);
    case CIFAR10:
    case CIFAR100:
        return data_cifar_read(set, dir, form == CIFAR10 ? 10 : 100, classes, err);
    default:
        return data_npy_read_dir(set, dir, classes, err);
    }
}

static int read_dir(DataSet *set, const char *dir, const char *preferred, int64_t classes, SalunError *err) {
    struct stat st;
    if (stat(dir, &st) != 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return salun_error(err, SALUN_BAD_INPUT, "%s: not a folder; .npy files are given as npy:IMAGES,LABELS", dir);
    static const char *const name[FORMS] = { "mnist", "cifar10", "cifar100", "npy" };
    const bool present[FORMS] = { data_idx_present(dir), data_cifar_present(dir, 10), data_cifar_present(dir, 100), data_npy_present(dir) };
    int found = -1;
    SalunNames forms = { .total = 0 };
    for (int i = 0; i < FORMS; i++) {
        if (!present[i])
            continue;
        salun_names_add(&forms, "%s", name[i]);
        if (found < 0 || strcmp(name[i], preferred) == 0)
            found = i;
    }
    if (found < 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: no data set here: neither train-images-idx3-ubyte (MNIST), data_batch_1.bin "
                           "(CIFAR-10), train.bin (CIFAR-100) nor images.npy", dir);
    if (forms.total > 1 && strcmp(name[found], preferred) != 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: holds data sets of several forms, %s; give each a folder", dir, salun_names_end(&forms));
    set->form = name[found];
    return read_form(set, found, dir, classes, err);
}

static const char *kind_text(const Images *x, char *text, size_t bytes) {
    size_t used = (size_t)snprintf(text, bytes, "%s", x->is_float ? "float32" : "uint8");
    salun_shape_text(text + used, bytes - used, x->rank, x->dim);
    return text;
}

static int check_parts(const DataSet *set, SalunError *err) {
    const Images *a = &set->train, *b = &set->test;
    char ta[160], tb[160];
    if (b->count == 0 || (a->is_float == b->is_float && a->rank == b->rank && memcmp(a->dim, b->dim, sizeof a->dim) == 0))
        return SALUN_OK;
    return salun_error(err, SALUN_BAD_INPUT, "%s: images of %s, but those of %s are %s", b->images_file, kind_text(b, tb, sizeof tb),
                       a->images_file, kind_text(a, ta, sizeof ta));
}

int data_open(DataSet *set, const char *spec, const char *preferred, int64_t classes, SalunError *err) {
    *set = (DataSet){ .form = "npy" };
    int code = strncmp(spec, "npy:", 4) == 0 ? data_npy_read(set, spec + 4, classes, err)
                                              : read_dir(set, spec, preferred, classes, err);
    if (!code)
        code = check_parts(set, err);
    if (code) {
        data_close(set);
        return code;
    }
    set->hash[0] = content_hash(&set->train);
    set->hash[1] = content_hash(&set->test);
    if ((code = salun_map_check(err)))
        data_close(set);
    return code;
}

void data_close(DataSet *set) {
    for (int i = 0; i < set->owned_count; i++)
        free(set->owned[i]);
    for (int i = 0; i < set->map_count; i++)
        salun_unmap(&set->maps[i]);
    *set = (DataSet){ .form = "" };
}

const char *data_default_place(const char *recipe_data, char *buffer, size_t bytes) {
    if (!recipe_data || !*recipe_data)
        return NULL;
    if (strncmp(recipe_data, "npy:", 4) == 0 || data_exists(".", recipe_data))
        return recipe_data;
    snprintf(buffer, bytes, "data/%s", recipe_data);
    return data_exists("data", recipe_data) ? buffer : NULL;
}
