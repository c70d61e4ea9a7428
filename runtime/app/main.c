/* main.c - the program around a compiled network: salun_main_infer. */
#include "app/app.h"
#include "model.h"
#include "random.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { DEFAULT_TOP = 5 };

typedef struct {
    const SalunProgram *p;
    AppOptions o;
    SalunModel *m;
    AppFeed feeds[APP_PORTS];
    void *in[APP_PORTS], *out[APP_PORTS];    /* one batch of every input and output; pages that nothing is read into cost nothing */
    const void *given[APP_PORTS];            /* the batch that infer reads: in, or where a file has it */
    AppLabels labels;
    int64_t images;
} App;

static void note(const char *text, void *arg) {
    const App *a = arg;
    fprintf(stderr, "%s: note: %s\n", a->o.argv0, text);
}

/* ---- setting up ---- */

static bool measuring(const App *a) {
    return a->o.bench > 0 || a->o.profile;
}

static int load_weights(App *a, SalunError *err) {
    const SalunProgram *p = a->p;
    if (!(a->o.weights || p->weights) || a->o.allow)      /* else every tensor comes from the file */
        salun_init(a->m, p->recipe ? p->recipe->seed : 0);
    if (a->o.weights)
        return salun_load_file(a->m, a->o.weights, a->o.allow, note, a, err);
    if (p->weights)
        return salun_load_memory(a->m, p->weights, (size_t)(p->weights_end - p->weights), "embedded weights", a->o.allow, note, a, err);
    if (measuring(a)) {
        note("no --weights: measuring with initial values", a);
        return 0;
    }
    return salun_error(err, SALUN_BAD_INPUT, "no weights are embedded: give --weights FILE");
}

static int open_feeds(App *a, SalunError *err) {
    for (int i = 0; i < a->p->input_count; i++) {
        int code = app_feed_open(&a->feeds[i], a->p, i, &a->o, err);
        if (code)
            return code;
        if (i && a->feeds[i].count != a->feeds[0].count)
            return salun_error(err, SALUN_BAD_INPUT, "%lld images for input %s, but %lld for %s", (long long)a->feeds[0].count,
                               a->p->inputs[0].name, (long long)a->feeds[i].count, a->p->inputs[i].name);
    }
    a->images = a->feeds[0].count;
    return 0;
}

static int allocate(App *a, SalunError *err) {
    bool whole = true;
    for (int i = 0; i < a->p->input_count; i++)
        whole = (a->given[i] = a->in[i] = calloc((size_t)a->p->batch, app_port_bytes(&a->p->inputs[i]) + 1)) && whole;
    for (int i = 0; i < a->p->output_count; i++)
        whole = (a->out[i] = calloc((size_t)a->p->batch, app_port_bytes(&a->p->outputs[i]) + 1)) && whole;
    return whole ? 0 : salun_error(err, SALUN_NO_SPACE, "out of memory for a batch of %lld images", (long long)a->p->batch);
}

static int read_batch(App *a, int64_t n, SalunError *err) {
    int code = 0;
    for (int i = 0; i < a->p->input_count && !code; i++) {
        const void *there = app_feed_take(&a->feeds[i], n);
        a->given[i] = there ? there : a->in[i];
        if (!there)
            code = app_feed_read(&a->feeds[i], n, a->in[i], err);
    }
    return code;
}

/* ---- measuring ---- */

/* Inputs for measuring without --input: standard normal numbers, like a normalized picture. */
static void fill_random(const App *a) {
    const SalunPort *port = a->p->inputs;
    uint32_t key[2] = { 0, 0 }, block[4];
    if (port->type != SALUN_F32)
        return;
    for (int64_t i = 0; i < a->p->batch * port->count; i++) {
        uint32_t counter[4] = { (uint32_t)i, (uint32_t)(i >> 32), 0, 0 };
        salun_philox(counter, key, block);
        ((float *)a->in[0])[i] = (float)salun_normal(block);
    }
}

static int measure(App *a, SalunError *err) {
    int64_t n = a->images && a->images < a->p->batch ? a->images : a->p->batch;
    int code = a->images ? read_batch(a, n, err) : 0;
    if (code)
        return code;
    if (!a->images)
        fill_random(a);
    double seconds = a->o.bench > 0 ? a->o.bench : 1;
    code = (a->o.profile ? app_profile : app_bench)(a->m, n, a->given, a->out, seconds, err);
    return code ? code : salun_map_check(err);
}

/* ---- classifying ---- */

typedef struct { bool on, drawn; double begin, last; } Bar;

static void show(Bar *b, int64_t done, int64_t total) {
    double now = salun_seconds();
    if (!b->on || now - b->begin < 0.5 || now - b->last < 0.1)
        return;
    double rate = (double)done / (now - b->begin);
    fprintf(stderr, "\r%lld of %lld images, %.1f images/s, %.0f s left\033[K", (long long)done, (long long)total, rate,
            (double)(total - done) / rate);
    b->last = now;
    b->drawn = true;
}

static void clear(const Bar *b) {
    if (b->drawn)
        fprintf(stderr, "\r\033[K");
}

static void print_batch(const App *a, int64_t first, int64_t n, int top) {
    int64_t count = a->p->outputs->count;
    char name[4200];
    for (int64_t i = 0; i < n; i++)
        app_print_top(stdout, app_feed_name(&a->feeds[0], first + i, name, sizeof name), (const float *)a->out[0] + i * count, count, top,
                      &a->labels);
}

static int run_batches(App *a, AppOutput *out, int top, SalunError *err) {
    int code = 0;
    bool quiet = top && isatty(STDOUT_FILENO);
    Bar bar = { .on = isatty(STDERR_FILENO) && !quiet, .begin = salun_seconds() };
    for (int64_t done = 0; done < a->images && !code;) {
        int64_t n = a->images - done < a->p->batch ? a->images - done : a->p->batch;
        code = read_batch(a, n, err);
        if (!code)
            code = salun_infer(a->m, n, a->given, a->out, err);
        if (!code)
            code = salun_map_check(err);     /* weights that are mapped */
        if (!code)
            code = app_output_write(out, a->p, n, a->out, err);
        if (!code && top)
            print_batch(a, done, n, top);
        done += n;
        show(&bar, done, a->images);
    }
    clear(&bar);
    return code;
}

static int classify(App *a, SalunError *err) {
    const SalunPort *scores = a->p->outputs;
    int top = a->o.top ? a->o.top : a->o.output_count ? 0 : DEFAULT_TOP;
    AppOutput out;
    int code = 0;
    if (top && (!a->p->output_count || scores->rank != 1 || scores->type != SALUN_F32))
        return salun_error(err, SALUN_BAD_INPUT, "%s gives no scores of classes: give --output FILE", a->p->name);
    if (a->o.labels && !top)
        return salun_error(err, SALUN_BAD_INPUT, "--labels is for --top");
    if (a->o.labels)
        code = app_labels_read(&a->labels, a->o.labels, scores->count, err);
    if (code)
        return code;
    code = app_output_open(&out, a->p, &a->o, a->images, err);
    if (!code)
        code = run_batches(a, &out, top, err);
    if (!code)
        code = app_output_commit(&out, err);
    app_output_abort(&out);
    return code;
}

static int run(App *a, SalunError *err) {
    a->m = salun_create(a->p, a->o.threads, err);
    if (!a->m)
        return err->code;
    a->m->infer_only = true;
    int code = load_weights(a, err);
    if (!code)
        code = open_feeds(a, err);
    if (!code)
        code = allocate(a, err);
    if (!code)
        code = salun_prepare(a->m, err);
    if (!code && a->o.prepare)
        code = salun_save_prepared(a->m, a->o.prepare, err);
    if (code || (a->o.prepare && !a->o.input_count && !measuring(a)))
        return code;
    return measuring(a) ? measure(a, err) : classify(a, err);
}

static void finish(App *a) {
    for (int i = 0; i < APP_PORTS; i++) {
        app_feed_close(&a->feeds[i]);
        free(a->in[i]);
        free(a->out[i]);
    }
    app_labels_free(&a->labels);
    app_options_free(&a->o);
    salun_destroy(a->m);
}

int salun_main_infer(const SalunProgram *p, int argc, char **argv) {
    App a = { .p = p };
    SalunError err = { "", SALUN_OK };
    salun_occupy_standard();
    salun_map_guard();
    signal(SIGXFSZ, SIG_IGN);                /* a size limit is a write that fails */
    int code = app_options_parse(&a.o, p, argc, argv, &err);
    if (!code && a.o.help)
        app_help(stdout, p, a.o.argv0);
    else if (!code)
        code = run(&a, &err);
    if (!code && (fflush(stdout) || ferror(stdout)))
        code = salun_error(&err, SALUN_NO_SPACE, "writing to standard output failed");
    if (code)
        fprintf(stderr, "%s: error: %s\n", a.o.argv0, err.text);
    finish(&a);
    return code;
}
