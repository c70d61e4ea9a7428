/* run.c - running entry points: their calls in order, the tasks of each on the pool before the next begins. */
#include "model.h"

#include <math.h>

/* Below this a fork and a join (a quarter of a microsecond and more) cost more than they save. It never changes a result. */
#define FORK_FLOPS 2e4

typedef struct { SalunKernel *kernel; void *const *args; const SalunRun *runs; } Job;

static void run_task(void *arg, int thread, int64_t task) {
    const Job *job = arg;
    job->kernel(job->args, &job->runs[thread], task);
}

static int64_t task_count(const SalunCall *c, int64_t n) {
    return c->unit ? c->tasks * ((n + c->unit - 1) / c->unit) : c->tasks;
}

static void run_call(SalunModel *m, const SalunCall *c, void *const *args) {
    int64_t tasks = task_count(c, m->runs->n);
    if (c->flops * (double)tasks < FORK_FLOPS) {
        for (int64_t task = 0; task < tasks; task++)
            c->kernel(args, m->runs, task);
        return;
    }
    Job job = { c->kernel, args, m->runs };
    salun_pool_run(m->pool, run_task, &job, tasks);
}

static void tell_probe(const SalunModel *m, const SalunCall *c, void *const *args) {
    if (c->tap < 0 || c->out < 0)
        return;
    int64_t count = c->out_unit ? c->out_count * m->runs->n : c->out_count;
    m->probe(m->probe_arg, m->program->taps[c->tap], c->name, args[c->out], count);
}

/* Calls [begin, end) of an entry; what they take is added to the times that are asked for. */
static void run_calls(SalunModel *m, int bound, int32_t begin_call, int32_t end_call) {
    const SalunBound *b = &m->bound[bound];
    double *seconds = m->call_seconds[bound];
    uint64_t mode = salun_float_mode(m->flush);
    for (int32_t i = begin_call; i < end_call; i++) {
        const SalunCall *c = &b->entry->calls[i];
        void *const *args = b->args + b->first[i];
        double begin = seconds ? salun_seconds() : 0;
        run_call(m, c, args);
        if (seconds)
            seconds[i] += salun_seconds() - begin;
        if (m->probe)
            tell_probe(m, c, args);
    }
    salun_float_restore(mode);
}

static void begin_times(SalunModel *m, int bound) {
    for (int32_t i = 0; m->call_seconds[bound] && i < m->bound[bound].entry->count; i++)
        m->call_seconds[bound][i] = 0;
}

static void run_entry(SalunModel *m, int bound) {
    begin_times(m, bound);
    run_calls(m, bound, 0, m->bound[bound].entry->count);
}

static void set_n(SalunModel *m, int64_t n) {
    for (int i = 0; i < salun_pool_threads(m->pool); i++) {
        m->runs[i].n = n;
        m->runs[i].batch = (float)n;
    }
}

/* Points the caller's arguments at this run's arrays. */
static int attach(SalunModel *m, const SalunBound *b, int64_t n, const void *const *inputs, void *const *outputs, SalunError *err) {
    if (n < 1 || n > m->program->batch)
        return salun_error(err, SALUN_BAD_INPUT, "%s: n is %lld, it was compiled for 1 to %lld", m->program->name, (long long)n,
                           (long long)m->program->batch);
    for (int64_t i = 0; i < b->input_count; i++) {
        const SalunFixup *f = &b->inputs[i];
        if (!inputs[f->port])
            return salun_error(err, SALUN_BAD_INPUT, "%s: input %d is missing", m->program->name, (int)f->port);
        b->args[f->slot] = (char *)inputs[f->port] + f->offset;
    }
    for (int64_t i = 0; i < b->output_count; i++) {
        const SalunFixup *f = &b->outputs[i];
        if (!outputs[f->port])
            return salun_error(err, SALUN_BAD_INPUT, "%s: output %d is missing", m->program->name, (int)f->port);
        b->args[f->slot] = (char *)outputs[f->port] + f->offset;
    }
    set_n(m, n);
    return 0;
}

static int64_t image_bytes(const SalunPort *port) {
    return port->count * (int64_t)(port->type == SALUN_U8 ? 1 : sizeof(float));
}

/* The caller's arguments of infer, `images` further. */
static void advance(SalunModel *m, const SalunBound *b, int64_t images) {
    for (int64_t i = 0; i < b->input_count; i++)
        b->args[b->inputs[i].slot] = (char *)b->args[b->inputs[i].slot] + images * image_bytes(&m->program->inputs[b->inputs[i].port]);
    for (int64_t i = 0; i < b->output_count; i++)
        b->args[b->outputs[i].slot] = (char *)b->args[b->outputs[i].slot] + images * image_bytes(&m->program->outputs[b->outputs[i].port]);
}

int salun_prepare(SalunModel *m, SalunError *err) {
    (void)err;
    if (!m->prepared_file && !m->lean)
        run_entry(m, SALUN_BOUND_PREPARE);
    m->prepared = true;
    return 0;
}

int salun_infer(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, SalunError *err) {
    int code = attach(m, &m->bound[SALUN_BOUND_INFER], n, inputs, outputs, err);
    if (code)
        return code;
    if (!m->prepared)
        salun_prepare(m, err);
    int64_t piece = m->program->piece ? m->program->piece : n;
    begin_times(m, SALUN_BOUND_INFER);
    for (int64_t at = 0; at < n; at += piece) {
        if (at)
            advance(m, &m->bound[SALUN_BOUND_INFER], piece);
        set_n(m, n - at < piece ? n - at : piece);
        run_calls(m, SALUN_BOUND_INFER, 0, m->program->infer.count);
    }
    return 0;
}

int salun_step(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, SalunError *err) {
    if (!m->program->step.count)
        return salun_error(err, SALUN_FAIL, "%s was not compiled for training", m->program->name);
    int code = attach(m, &m->bound[SALUN_BOUND_STEP], n, inputs, outputs, err);
    if (code)
        return code;
    run_entry(m, SALUN_BOUND_STEP);
    salun_touch(m);
    return 0;
}

static void set_rate(SalunModel *m, float lr) {
    for (int i = 0; i < salun_pool_threads(m->pool); i++)
        m->runs[i].lr = lr;
}

int salun_update(SalunModel *m, float lr, SalunError *err) {
    if (!m->program->update.count)
        return salun_error(err, SALUN_FAIL, "%s was not compiled for training", m->program->name);
    set_rate(m, lr);
    run_entry(m, SALUN_BOUND_UPDATE);
    salun_set_step(m, m->runs->step_count + 1);
    salun_touch(m);
    return 0;
}

/* The calls of entry train up to the one that leaves the loss. */
static int32_t calls_to_loss(const SalunEntry *e) {
    for (int32_t i = 0; i < e->count; i++)
        for (int32_t k = 0; k < e->calls[i].arg_count; k++)
            if (e->calls[i].args[k].space == SALUN_OUTPUT)
                return i + 1;
    return 0;
}

static int ask(SalunModel *m, void *const *outputs, SalunGate *gate, void *arg, SalunError *err) {
    float loss = *(const float *)outputs[0];
    if (!isfinite(loss))
        return salun_error(err, SALUN_FAIL, "%s: the loss is %g", m->program->name, (double)loss);
    return gate ? gate(arg, err) : 0;
}

int salun_train_gated(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, float lr, SalunGate *gate, void *arg,
                      SalunError *err) {
    const SalunEntry *train = &m->program->train;
    if (!train->count) {
        int code = salun_step(m, n, inputs, outputs, err);
        if (!code)
            code = ask(m, outputs, gate, arg, err);
        return code ? code : salun_update(m, lr, err);
    }
    int32_t known = calls_to_loss(train);
    int code = attach(m, &m->bound[SALUN_BOUND_TRAIN], n, inputs, outputs, err);
    if (code)
        return code;
    set_rate(m, lr);
    salun_touch(m);
    begin_times(m, SALUN_BOUND_TRAIN);
    run_calls(m, SALUN_BOUND_TRAIN, 0, known);
    if ((code = ask(m, outputs, gate, arg, err)))
        return code;
    run_calls(m, SALUN_BOUND_TRAIN, known, train->count);
    run_entry(m, SALUN_BOUND_FINISH);
    salun_set_step(m, m->runs->step_count + 1);
    return 0;
}

int salun_train_step(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, float lr, SalunError *err) {
    return salun_train_gated(m, n, inputs, outputs, lr, NULL, NULL, err);
}

void salun_set_step(SalunModel *m, uint32_t step) {
    for (int i = 0; i < salun_pool_threads(m->pool); i++) {
        m->runs[i].step_count = step;
        m->runs[i].step = (float)step;
    }
}

void salun_set_seed(SalunModel *m, uint64_t seed) {
    for (int i = 0; i < salun_pool_threads(m->pool); i++) {
        m->runs[i].seed[0] = (uint32_t)seed;
        m->runs[i].seed[1] = (uint32_t)(seed >> 32);
    }
}

void salun_set_smoothing(SalunModel *m, float smoothing) {
    for (int i = 0; i < salun_pool_threads(m->pool); i++)
        m->runs[i].smoothing = smoothing;
}

void salun_set_probe(SalunModel *m, SalunProbe *probe, void *arg) {
    m->probe = probe;
    m->probe_arg = arg;
}

void salun_set_profile(SalunModel *m, int bound, double *seconds) {
    m->call_seconds[bound] = seconds;
}
