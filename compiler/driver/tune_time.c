/* tune_time.c - timing for --tune. The whole network is compiled into this process once for every algorithm, all convolutions by
 * it that can be, and each kernel call is timed where it stands: with the caches as its neighbours leave them, weights that were
 * last read a run ago, all threads. The ways take turns, and one has a model at a time. Of a call the least of all runs counts;
 * a problem's time is that of all calls that its group became, in the mean over equal layers. */
#include "compile.h"
#include "model.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 3, LEAST_RUNS = 2, MAX_PORTS = 8 };
static const double round_seconds = 0.3;

/* The network with one algorithm. */
typedef struct {
    ConvAlgorithm algorithm;
    Options o;
    Compilation c;
    InMemory p;
    double *least[ENTRY_COUNT];        /* seconds of each call; NULL: not timed */
} Way;

typedef struct {
    const bool *wanted;                /* by entry */
    int threads;
    float *values[2];                  /* initial parameters and states, of the first model for all; NULL: not drawn yet */
    int steps, done;                   /* of the bar */
    bool terminal;
} Session;

/* ---- the bar ---- */

static void show(Session *s, const char *algorithm, const char *what) {
    enum { WIDTH = 24 };
    int filled = s->done * WIDTH / s->steps;
    if (s->terminal)
        fprintf(stderr, "\rtune [%.*s>%*s] %3d %%  %s %s\033[K", filled, "========================", WIDTH - filled, "", s->done * 100 / s->steps,
                algorithm, what);
    s->done++;
}

static void clear(const Session *s) {
    if (s->terminal)
        fputs("\r\033[K", stderr);
}

/* ---- a program ---- */

static int way_open(Way *w, const Options *o, bool training, ConvAlgorithm algorithm) {
    w->algorithm = algorithm;
    w->o = *o;
    w->o.arena = arena_new(0);
    w->o.conv = algorithm;
    w->o.tune = NULL;
    w->o.time = w->o.pass.time = false;
    w->o.pass.dump_count = 0;
    w->c = compilation_new(&w->o);
    w->c.diag->out = NULL;
    w->p.backend = files_backend(&w->o, NULL);
    if (!w->p.backend)
        return SALUN_BAD_INPUT;
    if (!compile_module(&w->c, training))
        return w->c.code;
    return memory_load(&w->c, &w->p);
}

static void way_close(Way *w) {
    memory_unload(&w->p);
    if (w->o.arena)
        arena_destroy(w->o.arena);
}

/* ---- a model and its arrays ---- */

typedef struct { SalunModel *m; void *inputs[MAX_PORTS], *outputs[MAX_PORTS + 1]; } Running;

static void *make_array(const SalunPort *port, int64_t images, int *code) {
    int64_t count = port->count * images;
    int size = port->type == SALUN_U8 ? 1 : 4;
    float *x = calloc((size_t)(count ? count : 1), (size_t)size);
    *code = x ? *code : SALUN_NO_SPACE;
    uint32_t bits = 1;
    for (int64_t i = 0; x && port->type == SALUN_F32 && i < count; i++) {
        bits = bits * 1664525u + 1013904223u;
        x[i] = (float)(bits >> 8) / (float)(1 << 23) - 1;
    }
    return x;
}

/* Drawing large networks' values takes longer than running them: once is enough. */
static int set_values(Session *s, SalunModel *m, SalunError *err) {
    static const int spaces[] = { SALUN_PARAMS, SALUN_STATES };
    if (!s->values[0])
        salun_init(m, 1);
    for (int i = 0; i < COUNT(spaces); i++) {
        int64_t floats;
        float *table = salun_table(m, spaces[i], &floats);
        size_t bytes = (size_t)floats * sizeof *table;
        bool drawn = !s->values[i];
        if (drawn)
            s->values[i] = malloc(bytes ? bytes : 1);
        if (!s->values[i])
            return salun_error(err, SALUN_NO_SPACE, "out of memory");
        if (bytes)
            memcpy(drawn ? s->values[i] : table, drawn ? table : s->values[i], bytes);
    }
    salun_touch(m);
    return 0;
}

/* Inputs, then targets, all of class 0; the loss before the outputs, which inference has alone. */
static int running_open(Running *r, const SalunProgram *p, Session *s, SalunError *err) {
    static const SalunPort loss = { .type = SALUN_F32, .count = 1 };
    int code = 0, inputs = 0;
    *r = (Running){ .m = salun_create(p, s->threads, err) };
    if (!r->m)
        return err->code;
    code = set_values(s, r->m, err);
    if (code)
        return code;
    for (int i = 0; i < p->input_count; i++)
        r->inputs[inputs++] = make_array(&p->inputs[i], p->batch, &code);
    for (int i = 0; i < p->target_count; i++)
        r->inputs[inputs++] = make_array(&p->targets[i], p->batch, &code);
    r->outputs[0] = make_array(&loss, 1, &code);
    for (int i = 0; i < p->output_count; i++)
        r->outputs[1 + i] = make_array(&p->outputs[i], p->batch, &code);
    if (code)
        salun_error(err, code, "out of memory");
    return code;
}

static void running_close(Running *r) {
    salun_destroy(r->m);
    for (int i = 0; i < MAX_PORTS; i++)
        free(r->inputs[i]);
    for (int i = 0; i <= MAX_PORTS; i++)
        free(r->outputs[i]);
}

static int run_once(Running *r, EntryId entry, SalunError *err) {
    const void *const *inputs = (const void *const *)r->inputs;
    int64_t n = salun_program(r->m)->batch;
    return entry == ENTRY_STEP ? salun_step(r->m, n, inputs, r->outputs, err) : salun_infer(r->m, n, inputs, r->outputs + 1, err);
}

/* ---- timing ---- */

static const int bound_of[ENTRY_COUNT] = { SALUN_BOUND_PREPARE, SALUN_BOUND_INFER, SALUN_BOUND_STEP, SALUN_BOUND_UPDATE, SALUN_BOUND_TRAIN,
                                           SALUN_BOUND_FINISH };

/* Everything once, so that nothing is being compiled any more when times are taken. */
static int warm_up(Running *r, SalunError *err) {
    const SalunProgram *p = salun_program(r->m);
    int code = run_once(r, ENTRY_INFER, err);
    if (!code && p->step.count)
        code = run_once(r, ENTRY_STEP, err);
    if (!code && p->update.count)
        code = salun_update(r->m, 0, err);
    return code;
}

static int time_entry(Running *r, const Way *w, EntryId entry, SalunError *err) {
    int count = w->c.module->entry[entry].count, code = 0;
    double *seconds = malloc(((size_t)count + 1) * sizeof *seconds), *least = w->least[entry];
    if (!seconds)
        return salun_error(err, SALUN_NO_SPACE, "out of memory");
    salun_set_profile(r->m, bound_of[entry], seconds);
    double end = salun_seconds() + round_seconds;
    for (int run = 0; !code && (run < LEAST_RUNS || salun_seconds() < end); run++) {
        code = run_once(r, entry, err);
        for (int i = 0; i < count; i++)
            least[i] = least[i] > 0 && least[i] < seconds[i] ? least[i] : seconds[i];
    }
    salun_set_profile(r->m, bound_of[entry], NULL);
    free(seconds);
    return code;
}

/* Round 0 only warms up. */
static int take_turn(Session *s, Way *w, int round) {
    SalunError err = { .code = 0 };
    Running r = { .m = NULL };
    int code = running_open(&r, w->p.program, s, &err);
    if (!code) {
        s->threads = salun_pool_threads(r.m->pool);
        code = round ? 0 : warm_up(&r, &err);
    }
    for (int e = 0; !code && round && e < ENTRY_COUNT; e++)
        if (s->wanted[e])
            code = time_entry(&r, w, (EntryId)e, &err);
    running_close(&r);
    return code ? options_fail(code, "--tune: %s", err.text) : 0;
}

static int time_ways(Session *s, Way *ways, int count) {
    char what[32];
    int code = 0;
    for (int round = 0; round <= ROUNDS; round++)
        for (int i = 0; !code && i < count; i++) {
            snprintf(what, sizeof what, round ? "round %d of %d" : "warms up", round, ROUNDS);
            show(s, conv_algorithm_text[ways[i].algorithm], what);
            code = take_turn(s, &ways[i], round);
        }
    return code;
}

/* ---- from calls to problems ---- */

typedef struct { TuningRow row; int instances; } Problem;

static double group_seconds(const Way *w, const ConvDecision *d) {
    const Entry *e = &w->c.module->entry[d->entry];
    double seconds = 0;
    for (int i = 0; i < e->count; i++)
        seconds += e->calls[i].group == d->group ? w->least[d->entry][i] : 0;
    return seconds;
}

static void collect(const Way *w, const Table *problems) {
    const Module *m = w->c.module;
    for (int i = 0; i < m->decision_count; i++) {
        const ConvDecision *d = &m->decisions[i];
        Problem *p = d->chosen == w->algorithm ? table_get(problems, d->key) : NULL;
        if (p)
            p->row.time[w->algorithm] += 1e6 * group_seconds(w, d) / p->instances;
    }
}

static ConvAlgorithm fastest(const TuningRow *row) {
    int best = CONV_AUTO;
    for (int i = CONV_AUTO + 1; i < CONV_ALGORITHMS; i++)
        if (row->time[i] > 0 && (best == CONV_AUTO || row->time[i] < row->time[best]))
            best = i;
    return (ConvAlgorithm)best;
}

static Table *find_problems(const Compilation *c, bool wanted[ENTRY_COUNT]) {
    Table *problems = table_new(c->arena);
    for (int i = 0; i < c->module->decision_count; i++) {
        const ConvDecision *d = &c->module->decisions[i];
        Problem *p = d->timed ? NULL : table_get(problems, d->key);
        if (d->timed)
            continue;
        if (!p) {
            p = NEW(c->arena, Problem);
            p->row.key = d->key;
            table_set(problems, d->key, p);
        }
        p->instances++;
        wanted[d->entry] = true;
    }
    return problems;
}

static int open_ways(Session *s, Compilation *c, bool training, Way *ways, int *count) {
    int code = 0;
    for (int i = CONV_AUTO + 1; !code && i < CONV_ALGORITHMS; i++) {
        Way *w = &ways[(*count)++];
        show(s, conv_algorithm_text[i], "is compiled");
        code = way_open(w, c->o, training, (ConvAlgorithm)i);
        for (int e = 0; !code && e < ENTRY_COUNT; e++)
            if (s->wanted[e])
                w->least[e] = NEW_ARRAY(c->arena, double, w->c.module->entry[e].count + 1);
    }
    return code;
}

int tune_time(Compilation *c, bool training, int *threads, TuningRow **rows, int *count) {
    Way ways[CONV_ALGORITHMS] = { { .least = { NULL } } };
    bool wanted[ENTRY_COUNT] = { false };
    const Table *problems = find_problems(c, wanted);
    Session s = { .wanted = wanted, .threads = *threads, .steps = (CONV_ALGORITHMS - 1) * (ROUNDS + 2), .terminal = isatty(STDERR_FILENO) };
    int way_count = 0, code = open_ways(&s, c, training, ways, &way_count);
    if (!code)
        code = time_ways(&s, ways, way_count);
    clear(&s);
    for (int i = 0; !code && i < way_count; i++)
        collect(&ways[i], problems);
    for (int i = 0; i < way_count; i++)
        way_close(&ways[i]);
    free(s.values[0]);
    free(s.values[1]);
    *threads = s.threads;
    *rows = NEW_ARRAY(c->arena, TuningRow, problems->count + 1);
    *count = 0;
    for (const TableEntry *e = problems->first; !code && e; e = e->next) {
        Problem *p = e->value;
        p->row.choice = fastest(&p->row);
        (*rows)[(*count)++] = p->row;
    }
    return code;
}
