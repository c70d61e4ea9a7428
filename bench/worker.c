/* worker.c - a compiled network as a contender: it loads once, and then runs whenever it is asked to.
 *
 * usage: worker WEIGHTS IMAGES OUTPUT N THREADS infer|step
 * IMAGES holds N images as float32 and, for `step`, IMAGES.labels N labels as int32; OUTPUT gets the first run's logits, or its
 * loss, as float32. A step is forward, backward and update on the same images again and again; loading data is left out.
 * Then it prints "ready" and runs in turns (turns.h), as the other contenders do.
 * Compiled with -DPROGRAM=NAME_program and linked with the network's object and library salun. Exit codes: salun.h. */
#include "salun.h"
#include "turns.h"

#include <string.h>

extern const SalunProgram PROGRAM;

#define LEARNING_RATE 1e-4f

typedef struct {
    const SalunProgram *program;
    SalunModel *model;
    int step;                                /* 0: inference */
    int64_t n;
    const void *inputs[8];
    void *outputs[8];
} Worker;

static void check(int code, const SalunError *err) {
    if (code) {
        fprintf(stderr, "worker: %s\n", err->text);
        exit(code);
    }
}

static void *allocate(int64_t bytes) {
    void *p = calloc(1, (size_t)bytes);
    if (!p)
        exit(SALUN_NO_SPACE);
    return p;
}

static void *read_file(const char *path, int64_t bytes) {
    void *data = allocate(bytes);
    FILE *f = fopen(path, "rb");
    if (!f || fread(data, 1, (size_t)bytes, f) != (size_t)bytes) {
        fprintf(stderr, "worker: %s: not %lld bytes\n", path, (long long)bytes);
        exit(SALUN_BAD_INPUT);
    }
    fclose(f);
    return data;
}

static void write_file(const char *path, const void *data, int64_t bytes) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, (size_t)bytes, f) != (size_t)bytes || fclose(f))
        exit(SALUN_NO_SPACE);
}

static void run_once(void *worker) {
    Worker *w = worker;
    SalunError err;
    if (!w->step) {
        check(salun_infer(w->model, w->n, w->inputs, w->outputs, &err), &err);
        return;
    }
    check(salun_train_step(w->model, w->n, w->inputs, w->outputs, LEARNING_RATE, &err), &err);
}

static void open_ports(Worker *w, const char *images) {
    const SalunProgram *p = w->program;
    char path[4096];
    snprintf(path, sizeof path, "%s.labels", images);
    w->inputs[0] = read_file(images, w->n * p->inputs[0].count * (int64_t)sizeof(float));
    if (w->step) {
        w->inputs[1] = read_file(path, w->n * (int64_t)sizeof(int32_t));
        w->outputs[0] = allocate(sizeof(float));
    }
    for (int i = 0; i < p->output_count; i++)
        w->outputs[w->step + i] = allocate(w->n * p->outputs[i].count * (int64_t)sizeof(float));
}

static int serve(const SalunProgram *p, int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: worker WEIGHTS IMAGES OUTPUT N THREADS infer|step\n");
        return SALUN_BAD_INPUT;
    }
    SalunError err = { .code = 0 };
    Worker w = { .program = p, .n = atoll(argv[4]), .step = !strcmp(argv[6], "step"), .model = salun_create(p, atoi(argv[5]), &err) };
    check(w.model ? 0 : err.code, &err);
    check(salun_load_file(w.model, argv[1], NULL, NULL, NULL, &err), &err);
    open_ports(&w, argv[2]);
    run_once(&w);
    write_file(argv[3], w.outputs[0], w.step ? (int64_t)sizeof(float) : w.n * p->outputs[0].count * (int64_t)sizeof(float));
    puts("ready");
    fflush(stdout);
    int served = turns_serve(run_once, &w);
    salun_destroy(w.model);
    return served ? SALUN_OK : SALUN_NO_SPACE;
}

/* The object of a training program may bring a main of its own, which ends up here. */
int salun_main_train(const SalunProgram *p, int argc, char **argv) {
    return serve(p, argc, argv);
}

__attribute__((weak)) int main(int argc, char **argv) {
    return serve(&PROGRAM, argc, argv);
}
