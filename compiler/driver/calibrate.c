/* calibrate.c - --calibrate: which values occur where formulas bound nothing, by the interpreter over some images.
 * The images are a .npy file or a picture, or those a data set trains with; at most MAX_IMAGES of them, from its beginning. The
 * weights are those of --weights, or those that are embedded. */
#include "app/app.h"
#include "compile.h"
#include "interp/interp.h"
#include "train/data.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_IMAGES = 32 };
static const double LEFT_OUT = 1e-4;       /* share of an image's values that may lie beyond its range, half on each side */

typedef struct {
    Calibration calibration;               /* first: the pass gives it back */
    Compilation *c;
    const SalunProgram *sizes;
    SalunModel *model;
    Interp *interp;
    float *images; int64_t count;
    SalunError err;
} Calibrator;

/* ---- images ---- */

static int read_files(Calibrator *k, const char *path) {
    AppFile file = { 0, path };
    AppOptions files = { .inputs = &file, .input_count = 1 };
    AppFeed feed = { 0 };
    int code = app_feed_open(&feed, k->sizes, 0, &files, &k->err);
    k->count = feed.count < MAX_IMAGES ? feed.count : MAX_IMAGES;
    for (int64_t i = 0; i < k->count && !code; i++)
        code = app_feed_read(&feed, 1, k->images + i * k->sizes->inputs[0].count, &k->err);
    if (feed.program)
        app_feed_close(&feed);
    return code;
}

static int read_set(Calibrator *k, const char *place) {
    DataSet set = { 0 };
    const SalunPort *port = &k->sizes->inputs[0];
    int code = data_open(&set, place, "", INT32_MAX, &k->err);
    if (code)
        return code;
    const Images *x = &set.train;
    k->count = x->count < MAX_IMAGES ? x->count : MAX_IMAGES;
    SalunPre *pre = x->is_float ? NULL : salun_pre_create(k->sizes, &k->err);
    if (x->elements != port->count && x->is_float)
        code = salun_error(&k->err, SALUN_BAD_INPUT, "%s: the images are not of the size of %s", x->images_file, port->name);
    else if ((!x->is_float && !pre) || (!x->is_float && x->rank != 3))
        code = k->err.code ? k->err.code : salun_error(&k->err, SALUN_BAD_INPUT, "%s: images of bytes need three dimensions", x->images_file);
    for (int64_t i = 0; i < k->count && !code; i++) {
        if (x->is_float) {
            memcpy(k->images + i * port->count, data_image(x, i), (size_t)port->count * sizeof(float));
        } else {
            SalunPicture picture = salun_picture_planar(data_image(x, i), x->dim[0], x->dim[1], x->dim[2]);
            code = salun_pre_apply(pre, &picture, x->images_file, k->images + i * port->count, &k->err);
        }
    }
    if (pre)
        salun_pre_destroy(pre);
    data_close(&set);
    return code;
}

static int read_images(Calibrator *k, const char *place) {
    struct stat s;
    if (k->sizes->input_count != 1 || k->sizes->inputs[0].type != SALUN_F32)
        return salun_error(&k->err, SALUN_BAD_INPUT, "--calibrate is for networks with one input of float32");
    k->images = arena_alloc_array(k->c->arena, MAX_IMAGES, (size_t)k->sizes->inputs[0].count * sizeof(float));
    bool is_set = !strncmp(place, "npy:", 4) || (!stat(place, &s) && S_ISDIR(s.st_mode));
    int code = is_set ? read_set(k, place) : read_files(k, place);
    return code || k->count ? code : salun_error(&k->err, SALUN_BAD_INPUT, "%s: there are no images", place);
}

/* ---- weights ---- */

static int copy_table(Calibrator *k, int space, TableId table) {
    int64_t floats;
    const float *values = salun_table(k->model, space, &floats);
    double *wide = NEW_ARRAY(k->c->arena, double, floats + 1);
    for (int64_t i = 0; i < floats; i++)
        wide[i] = (double)values[i];
    bool fine = !floats || interp_set_table(k->interp, table, 0, wide, floats);
    return fine ? 0 : salun_error(&k->err, SALUN_FAIL, "%s", interp_error(k->interp));
}

static int load_weights(Calibrator *k) {
    const Options *o = k->c->o;
    k->model = salun_create(k->sizes, 1, &k->err);
    int code = k->model ? salun_load_file(k->model, o->weights ? o->weights : o->embed, NULL, NULL, NULL, &k->err) : k->err.code;
    if (code)
        return code;
    k->interp = interp_new(k->c->program, false, 0);
    if (!k->interp)
        return salun_error(&k->err, SALUN_NO_SPACE, "out of memory");
    code = copy_table(k, SALUN_PARAMS, TABLE_PARAMS);
    return code ? code : copy_table(k, SALUN_STATES, TABLE_STATES);
}

/* ---- quantiles ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void see_value(const Interp *it, const Node *x, double *seen) {
    int64_t count = shape_count(&x->shape) / x->shape.dim[0], cut = (int64_t)((double)count * LEFT_OUT / 2);
    double *values = malloc((size_t)count * sizeof *values);
    for (int64_t i = 0; values && i < count; i++)
        values[i] = interp_value(it, x, i);
    if (!values)
        return;
    qsort(values, (size_t)count, sizeof *values, by_value);
    seen[0] = values[cut] < seen[0] ? values[cut] : seen[0];
    seen[1] = values[count - 1 - cut] > seen[1] ? values[count - 1 - cut] : seen[1];
    free(values);
}

static bool see(Calibration *c, const Graph *g, Node *const *nodes, int count, double (*seen)[2]) {
    Calibrator *k = (Calibrator *)c;
    interp_keep(k->interp, true);
    for (int64_t i = 0; i < k->count; i++) {
        int64_t size = k->sizes->inputs[0].count;
        if (!interp_set_input(k->interp, 0, k->images + i * size, TYPE_F32, size) || !interp_run(k->interp, g, 1)) {
            salun_error(&k->err, SALUN_FAIL, "%s", interp_error(k->interp));
            return false;
        }
        for (int j = 0; j < count; j++)
            see_value(k->interp, nodes[j], seen[j]);
    }
    return true;
}

int calibrate_passes(Compilation *c) {
    Calibrator k = { .calibration = { .see = see }, .c = c };
    pass_tables(c->program);
    k.sizes = weights_program(c->arena, c->program);
    int code = load_weights(&k);
    if (!code)
        code = read_images(&k, c->o->calibrate);
    if (!code) {
        c->program->calibration = &k.calibration;
        passes_run(c->program, &c->o->pass);
        c->program->calibration = NULL;
        code = k.err.code;
    }
    if (k.interp)
        interp_destroy(k.interp);
    salun_destroy(k.model);
    return code ? options_fail(code, "%s", k.err.text) : 0;
}
