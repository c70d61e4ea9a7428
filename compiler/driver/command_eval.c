/* command_eval.c - salunc eval: the plain interpreter over files, read and written by the runtime's own code.
 * With --gradients it runs one training step's forward and backward over all images at once and writes what the
 * parameters' gradients are. */
#include "app/app.h"
#include "compile.h"
#include "interp/interp.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const Options *o;
    Compilation c;
    const SalunProgram *sizes;
    SalunModel *model;                 /* weights, as the runtime read them */
    Interp *interp;
    AppOptions files;
    AppFeed feeds[APP_PORTS];
    AppOutput out;
    void *input[APP_PORTS];
    float *output[APP_PORTS];
    SalunError err;
} Eval;

static int fail_interp(Eval *e) {
    return salun_error(&e->err, SALUN_FAIL, "%s", interp_error(e->interp));
}

/* ---- weights ---- */

static void note(const char *text, void *arg) {
    (void)arg;
    fprintf(stderr, "note: %s\n", text);
}

static int copy_table(Eval *e, int space, TableId table) {
    int64_t floats;
    const float *values = salun_table(e->model, space, &floats);
    double *wide = NEW_ARRAY(e->c.arena, double, floats + 1);
    for (int64_t i = 0; i < floats; i++)
        wide[i] = (double)values[i];
    return floats && !interp_set_table(e->interp, table, 0, wide, floats) ? fail_interp(e) : 0;
}

static int load_weights(Eval *e) {
    e->sizes = weights_program(e->c.arena, e->c.program);
    e->model = salun_create(e->sizes, 1, &e->err);
    if (!e->model)
        return e->err.code;
    int code = salun_load_file(e->model, e->o->weights, NULL, note, NULL, &e->err);
    if (code)
        return code;
    e->interp = interp_new(e->c.program, e->o->use_double, 0);
    if (!e->interp)
        return salun_error(&e->err, SALUN_NO_SPACE, "out of memory");
    if (interp_error(e->interp))
        return fail_interp(e);
    code = copy_table(e, SALUN_PARAMS, TABLE_PARAMS);
    return code ? code : copy_table(e, SALUN_STATES, TABLE_STATES);
}

/* ---- files ---- */

/* FILE or NAME=FILE; the first port without a name. */
static AppFile named_file(const char *text, const SalunPort *ports, int count) {
    for (int i = 0; i < count; i++) {
        size_t length = strlen(ports[i].name);
        if (!strncmp(text, ports[i].name, length) && text[length] == '=')
            return (AppFile){ i, text + length + 1 };
    }
    return (AppFile){ 0, text };
}

static void name_files(Eval *e) {
    const Options *o = e->o;
    e->files.inputs = NEW_ARRAY(e->c.arena, AppFile, o->input_count + 1);
    e->files.outputs = NEW_ARRAY(e->c.arena, AppFile, o->output_count + 1);
    for (int i = 0; i < o->input_count; i++)
        e->files.inputs[e->files.input_count++] = named_file(o->inputs[i], e->sizes->inputs, e->sizes->input_count);
    for (int i = 0; i < o->output_count; i++)
        e->files.outputs[e->files.output_count++] = named_file(o->outputs[i], e->sizes->outputs, e->sizes->output_count);
}

static int open_inputs(Eval *e, int64_t *images) {
    for (int i = 0; i < e->sizes->input_count; i++) {
        int code = app_feed_open(&e->feeds[i], e->sizes, i, &e->files, &e->err);
        if (code)
            return code;
        if (e->feeds[i].count != e->feeds[0].count || !e->feeds[i].count)
            return salun_error(&e->err, SALUN_BAD_INPUT, "input %s has %lld images, input %s %lld", e->sizes->inputs[i].name,
                               (long long)e->feeds[i].count, e->sizes->inputs[0].name, (long long)e->feeds[0].count);
        e->input[i] = arena_alloc_array(e->c.arena, (size_t)e->sizes->batch, app_port_bytes(&e->sizes->inputs[i]));
    }
    *images = e->feeds[0].count;
    return 0;
}

/* ---- running ---- */

static int set_inputs(Eval *e, int64_t n) {
    static const DType types[] = { [SALUN_F32] = TYPE_F32, [SALUN_I32] = TYPE_I32, [SALUN_U8] = TYPE_U8 };
    for (int i = 0; i < e->sizes->input_count; i++) {
        const SalunPort *p = &e->sizes->inputs[i];
        int code = app_feed_read(&e->feeds[i], n, e->input[i], &e->err);
        if (code)
            return code;
        if (!interp_set_input(e->interp, i, e->input[i], types[p->type], n * p->count))
            return fail_interp(e);
    }
    return 0;
}

static int infer_chunk(Eval *e, int64_t n) {
    int code = set_inputs(e, n);
    if (code)
        return code;
    if (!interp_run(e->interp, e->c.program->infer, n))
        return fail_interp(e);
    for (int i = 0; i < e->sizes->output_count; i++) {
        int64_t count;
        const double *y = interp_output(e->interp, i, &count);
        for (int64_t k = 0; k < count; k++)
            e->output[i][k] = (float)y[k];
    }
    return app_output_write(&e->out, e->sizes, n, (void *const *)e->output, &e->err);
}

static int infer_all(Eval *e) {
    int64_t images = 0;
    int code = open_inputs(e, &images);
    if (!code)
        code = app_output_open(&e->out, e->sizes, &e->files, images, &e->err);
    for (int i = 0; i < e->sizes->output_count && !code; i++)
        e->output[i] = NEW_ARRAY(e->c.arena, float, e->sizes->batch * e->sizes->outputs[i].count);
    for (int64_t at = 0; at < images && !code; at += e->sizes->batch)
        code = infer_chunk(e, images - at < e->sizes->batch ? images - at : e->sizes->batch);
    return code ? code : app_output_commit(&e->out, &e->err);
}

static int set_labels(Eval *e, int64_t n) {
    SalunNpy npy;
    int code = salun_npy_open(&npy, e->o->labels, &e->err);
    if (code)
        return code;
    int32_t *labels = NEW_ARRAY(e->c.arena, int32_t, n + 1);
    if (npy.count != n || (npy.type != SALUN_NPY_I32 && npy.type != SALUN_NPY_I64 && npy.type != SALUN_NPY_U8))
        code = salun_error(&e->err, SALUN_BAD_INPUT, "%s: %lld labels of an integer type are needed", e->o->labels, (long long)n);
    for (int64_t i = 0; i < n && !code; i++)
        labels[i] = npy.type == SALUN_NPY_I64 ? (int32_t)((const int64_t *)npy.data)[i]
                  : npy.type == SALUN_NPY_I32 ? ((const int32_t *)npy.data)[i] : ((const uint8_t *)npy.data)[i];
    salun_npy_close(&npy);
    if (!code && !interp_set_input(e->interp, e->sizes->input_count, labels, TYPE_I32, n))
        code = fail_interp(e);
    return code;
}

static int save_gradients(Eval *e) {
    int64_t floats;
    float *values = salun_table(e->model, SALUN_GRADS, &floats);
    double *wide = NEW_ARRAY(e->c.arena, double, floats + 1);
    if (floats && !interp_get_table(e->interp, TABLE_GRADS, 0, wide, floats))
        return fail_interp(e);
    for (int64_t i = 0; i < floats; i++)
        values[i] = (float)wide[i];
    return salun_save_file(e->model, SALUN_GRADS, e->o->gradients, &e->err);
}

static int gradients(Eval *e) {
    int64_t n = 0;
    int code = open_inputs(e, &n);
    if (!code && n > e->sizes->batch)
        code = salun_error(&e->err, SALUN_BAD_INPUT, "%lld images; --batch %lld is too small for their gradient", (long long)n,
                           (long long)e->sizes->batch);
    if (!code)
        code = set_inputs(e, n);
    if (!code)
        code = set_labels(e, n);
    if (code)
        return code;
    interp_set_seed(e->interp, e->c.program->recipe.seed);
    if (!interp_run(e->interp, e->c.program->step, n))
        return fail_interp(e);
    int64_t count;
    printf("loss %.9g\n", interp_output(e->interp, 0, &count)[0]);
    return save_gradients(e);
}

static void close_all(Eval *e) {
    for (int i = 0; i < APP_PORTS; i++)
        if (e->feeds[i].program)
            app_feed_close(&e->feeds[i]);
    app_output_abort(&e->out);
    interp_destroy(e->interp);
    salun_destroy(e->model);
}

static int run(Eval *e) {
    int code = load_weights(e);
    if (code)
        return code;
    name_files(e);
    return e->o->gradients ? gradients(e) : infer_all(e);
}

static int check_options(const Options *o) {
    if (!o->weights || !o->input_count || (!o->output_count && !o->gradients))
        return options_fail(SALUN_BAD_INPUT, "--weights, --input and --output are needed; usage: %s", o->command->usage);
    if (!o->labels != !o->gradients)
        return options_fail(SALUN_BAD_INPUT, "--labels and --gradients belong together");
    return o->gradients && o->output_count ? options_fail(SALUN_BAD_INPUT, "--gradients and --output exclude each other") : 0;
}

/* A gradient is taken over all images at once: as many as the first file holds. What part of its name is an input's, the network
 * says; its errors are reported then. */
static bool batch_from_file(Options *o, int *code) {
    Compilation c = compilation_new(o);
    SalunNpy npy;
    if (!compile_build(&c, true)) {
        *code = compilation_end(&c);
        return false;
    }
    const SalunProgram *sizes = weights_program(o->arena, c.program);
    if (salun_npy_open(&npy, named_file(o->inputs[0], sizes->inputs, sizes->input_count).path, NULL))
        return true;
    o->build.batch = npy.rank ? npy.dim[0] : 1;
    salun_npy_close(&npy);
    return true;
}

int command_eval(Options *o) {
    int code = check_options(o);
    if (code)
        return code;
    if (o->gradients && !o->build.batch && !batch_from_file(o, &code))
        return code;
    Eval e = { .o = o, .c = compilation_new(o) };
    o->pass.level = 0;
    if (!compile_passes(&e.c, o->gradients != NULL))
        return compilation_end(&e.c);
    code = run(&e);
    close_all(&e);
    return code ? options_fail(code, "%s", e.err.text) : 0;
}
