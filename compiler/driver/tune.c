/* tune.c - --tune: the file that keeps which algorithm was the fastest. What it holds is taken, what it lacks is timed and added,
 * so that a complete file makes the same program on every machine and times nothing. */
#include "base.h"
#include "compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the file ---- */

/* models/net.snet -> models/net.tune */
static const char *path_beside(Arena *a, const char *network) {
    size_t length = strlen(network), ending = strlen(".snet");
    bool cut = length > ending && !strcmp(network + length - ending, ".snet");
    return arena_printf(a, "%.*s.tune", (int)(cut ? length - ending : length), network);
}

static bool fail(Compilation *c, int code) {
    c->code = code;
    return false;
}

static TuningSection *own_section(const Compilation *c) {
    return tuning_section(c->tuning, c->o->target->name, c->o->math);
}

static bool check_threads(Compilation *c) {
    const TuningSection *s = own_section(c);
    if (!s || !c->o->tune_threads || s->threads == c->o->tune_threads)
        return true;
    diag_error(c->diag, s->span, "these times were taken with %d thread%s, --tune-threads asks for %d", s->threads, s->threads == 1 ? "" : "s",
               c->o->tune_threads);
    diag_help(c->diag, "--tune=FILE names another file, for times of another kind");
    return false;
}

bool tune_open(Compilation *c) {
    const Options *o = c->o;
    const char *error = NULL;
    if (c->tuning)
        return true;
    c->tuning = tuning_new(c->arena);
    c->tuning_path = o->tune[0] ? o->tune : path_beside(c->arena, o->files[0]);
    if (access(c->tuning_path, F_OK) && errno == ENOENT) {
        if (o->command->run != command_explain)
            return true;
        options_fail(SALUN_BAD_INPUT, "%s: there is no such file; `salunc %s --tune` makes it", c->tuning_path, o->files[0]);
        return fail(c, SALUN_BAD_INPUT);
    }
    SourceFile *source = source_read(c->arena, c->tuning_path, &error);
    if (!source) {
        options_fail(SALUN_BAD_INPUT, "%s: %s", c->tuning_path, error);
        return fail(c, SALUN_BAD_INPUT);
    }
    tuning_read(c->tuning, source, c->diag);
    return (diag_errors(c->diag) == 0 && check_threads(c)) || fail(c, SALUN_BAD_INPUT);
}

static int write_file(Compilation *c) {
    Writer *w = writer_new(c->arena);
    tuning_print(w, c->tuning);
    return output_write(c->tuning_path, w->data, w->length);
}

/* ---- this machine ---- */

/* What the kernel calls the processor, in printable characters. */
static const char *processor_name(Arena *a) {
    char line[256], name[128] = "";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && !name[0] && fgets(line, sizeof line, f))
        if (!strncmp(line, "model name", 10) && strchr(line, ':'))
            snprintf(name, sizeof name, "%s", strchr(line, ':') + 1 + strspn(strchr(line, ':') + 1, " "));
    if (f)
        fclose(f);
    name[strcspn(name, "\n")] = 0;
    for (char *p = name; *p; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
            *p = '?';
    return name[0] ? arena_strdup(a, name) : "a processor without a name";
}

/* Times may be taken here and belong to the others of the file. */
static int check_machine(Compilation *c, int missing) {
    const Options *o = c->o;
    const TuningSection *s = own_section(c);
    SalunError err;
    if (o->triple || (o->target->cpu & ~target_find("native")->cpu))
        return options_fail(SALUN_BAD_INPUT, "--tune: code for %s cannot be timed on this machine, and %s holds no times for %d of its convolutions",
                            o->triple ? o->triple : o->target->name, c->tuning_path, missing);
    if (s && strcmp(s->processor, processor_name(c->arena))) {
        diag_error(c->diag, s->span, "these times are of another processor than this, and %d convolution%s of the network %s not among them",
                   missing, missing == 1 ? "" : "s", missing == 1 ? "is" : "are");
        diag_help(c->diag, "time them there, or with --tune=FILE all of them here, in a file of its own");
        return SALUN_BAD_INPUT;
    }
    return salun_sink_try(c->tuning_path, &err) ? options_fail(err.code, "%s", err.text) : 0;
}

/* ---- completing it ---- */

static int count_missing(const Compilation *c) {
    Table *keys = table_new(c->arena);
    for (int i = 0; i < c->module->decision_count; i++)
        if (!c->module->decisions[i].timed)
            table_set(keys, c->module->decisions[i].key, keys);
    return keys->count;
}

int tune_complete(Compilation *c, bool training, bool *timed) {
    int missing = count_missing(c), count = 0, code;
    TuningRow *rows = NULL;
    if (!missing || c->o->command->run == command_explain)
        return 0;
    code = check_machine(c, missing);
    TuningSection *s = own_section(c);
    int threads = s ? s->threads : c->o->tune_threads;
    double start = compile_clock();
    if (!code)
        code = tune_time(c, training, &threads, &rows, &count);
    if (code)
        return code;
    if (!s)
        s = tuning_add_section(c->tuning, c->o->target->name, c->o->math, threads, processor_name(c->arena));
    for (int i = 0; i < count; i++)
        tuning_add(s, rows[i]);
    *timed = true;
    code = write_file(c);
    if (!code)
        fprintf(stderr, "note: timed %d convolution%s with %d thread%s in %.1f s; the times are kept in %s\n", count, count == 1 ? "" : "s", threads,
                threads == 1 ? "" : "s", 1e-3 * (compile_clock() - start), c->tuning_path);
    return code;
}
