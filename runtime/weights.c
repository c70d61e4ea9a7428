/* weights.c - weight files into a model and back.
 *
 * Every parameter and state of the network must be in the file under its name with its shape ([] equals [1]), and nothing else;
 * `*.num_batches_tracked` is ignored. F16, BF16 and F64 become float32. A value outside its parameter's constraint is an error.
 * Names that match the glob `allow` are left out on both sides. Everything is checked before the first value is written. */
#include "constraint.h"
#include "model.h"
#include "prepared.h"
#include "safetensors.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void Note(const char *text, void *arg);
typedef struct {
    SalunModel *m;
    const SalunSt *st;
    const char *file, *allow;
    Note *note;
    void *note_arg;
    SalunError *err;
    const void **lent;                       /* by tensor: where prepare reads it in the file; NULL: in the table. NULL: all in tables */
} Load;

enum { CHUNK = 1024 };

static bool allowed(const Load *l, const char *name) {
    return l->allow && fnmatch(l->allow, name, 0) == 0;
}

static bool ignored(const char *name) {
    static const char suffix[] = "num_batches_tracked";
    size_t length = strlen(name), tail = sizeof suffix - 1;
    return length >= tail && !strcmp(name + length - tail, suffix) && (length == tail || name[length - tail - 1] == '.');
}

static bool same_shape(const SalunTensor *t, const SalunStTensor *f) {
    int rank = t->rank, file_rank = f->rank;
    if (rank == 1 && t->dim[0] == 1)
        rank = 0;
    if (file_rank == 1 && f->dim[0] == 1)
        file_rank = 0;
    if (rank != file_rank)
        return false;
    for (int i = 0; i < rank; i++)
        if (t->dim[i] != f->dim[i])
            return false;
    return true;
}

__attribute__((format(printf, 2, 3)))
static void tell(const Load *l, const char *format, ...) {
    char text[512];
    if (!l->note)
        return;
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    l->note(text, l->note_arg);
}

/* ---- names, shapes and types ---- */

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Tensors of the file that the network has not. */
static int find_extra(const Load *l, SalunNames *extra) {
    const SalunProgram *p = l->m->program;
    const char **names = calloc((size_t)p->tensor_count + 1, sizeof *names);
    if (!names)
        return salun_error(l->err, SALUN_NO_SPACE, "%s: out of memory", l->file);
    for (int i = 0; i < p->tensor_count; i++)
        names[i] = p->tensors[i].name;
    qsort(names, (size_t)p->tensor_count, sizeof *names, compare_names);
    for (int i = 0; i < salun_st_count(l->st); i++) {
        const char *name = salun_st_at(l->st, i)->name;
        if (!ignored(name) && !allowed(l, name) && !bsearch(&name, names, (size_t)p->tensor_count, sizeof *names, compare_names))
            salun_names_add(extra, "%s", name);
    }
    free(names);
    return 0;
}

static int check_tensors(const Load *l) {
    const SalunProgram *p = l->m->program;
    SalunNames missing = { 0 }, extra = { 0 }, shapes = { 0 }, types = { 0 };
    for (int i = 0; i < p->tensor_count; i++) {
        const SalunTensor *t = &p->tensors[i];
        const SalunStTensor *f = salun_st_find(l->st, t->name);
        char want[96], have[96];
        if (allowed(l, t->name))
            continue;
        if (!f)
            salun_names_add(&missing, "%s", t->name);
        else if (!same_shape(t, f))
            salun_names_add(&shapes, "%s is %s, not %s", t->name, salun_shape_text(have, sizeof have, f->rank, f->dim),
                            salun_shape_text(want, sizeof want, t->rank, t->dim));
        else if (!salun_st_is_float(f->type))
            salun_names_add(&types, "%s is %s", t->name, salun_st_type_name(f->type));
    }
    int code = find_extra(l, &extra);
    if (code)
        return code;
    if (!(missing.total + extra.total + shapes.total + types.total))
        return 0;
    char text[480] = "";
    struct { const char *what; SalunNames *names; } parts[] = {
        { "missing", &missing }, { "not in the network", &extra }, { "wrong shape", &shapes }, { "not of floating-point numbers", &types },
    };
    for (int i = 0; i < 4; i++) {
        size_t used = strlen(text);
        if (parts[i].names->total)
            snprintf(text + used, sizeof text - used, "%s%s: %s", used ? "; " : "", parts[i].what, salun_names_end(parts[i].names));
    }
    return salun_error(l->err, SALUN_BAD_INPUT, "%s does not fit %s: %s", l->file, p->name, text);
}

/* ---- values ---- */

static int check_constraint(const Load *l, const SalunTensor *t, const SalunStTensor *f) {
    float value[CHUNK];
    char constraint[64];
    for (int64_t at = 0; at < t->count; at += CHUNK) {
        int64_t count = t->count - at < CHUNK ? t->count - at : CHUNK;
        salun_st_floats(f, at, count, value);
        for (int64_t i = 0; i < count; i++)
            if (!salun_constraint_holds(t, value[i]))
                return salun_error(l->err, SALUN_BAD_INPUT, "%s: %s holds %g (element %lld), but must be %s", l->file, t->name, value[i],
                                   (long long)(at + i), salun_constraint_text(t, constraint, sizeof constraint));
    }
    return 0;
}

static int check_values(const Load *l) {
    const SalunProgram *p = l->m->program;
    for (int i = 0; i < p->tensor_count; i++) {
        const SalunTensor *t = &p->tensors[i];
        if (t->constraint == SALUN_FREE || allowed(l, t->name))
            continue;
        int code = check_constraint(l, t, salun_st_find(l->st, t->name));
        if (code)
            return code;
    }
    return 0;
}

/* What stays in the file: F32 that only prepare reads, for models whose tables nobody asks for. Whole vectors may be read behind
 * the last number, so the file goes on for one. Needs room for tensor_count values; false: the tables are needed. */
static bool choose_lent(const Load *l, const void **lent, bool *read) {
    const SalunProgram *p = l->m->program;
    const unsigned char *end = NULL;
    if (!salun_infer_reads(p, read))
        return false;
    for (int i = 0; i < salun_st_count(l->st); i++) {
        const SalunStTensor *f = salun_st_at(l->st, i);
        end = !end || f->data + f->bytes > end ? f->data + f->bytes : end;
    }
    for (int i = 0; i < p->tensor_count; i++) {
        const SalunTensor *t = &p->tensors[i];
        const SalunStTensor *f = salun_st_find(l->st, t->name);
        bool fits = f->type == SALUN_ST_F32 && (uintptr_t)f->data % sizeof(float) == 0 && (size_t)(end - f->data) >= f->bytes + SALUN_ALIGN;
        lent[i] = fits && !read[i] && t->constraint == SALUN_FREE && t->raw_offset < 0 ? f->data : NULL;
    }
    return true;
}

static uint32_t wild_bits(const float *value, int64_t count) {
    uint32_t wild = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &value[i], sizeof bits);
        wild |= (bits & 0x7f800000) == 0x7f800000;
    }
    return wild;
}

/* Copies in pieces that stay in cache until they are looked at. Returns whether all are finite. */
static bool copy_tensor(const SalunStTensor *f, float *value) {
    uint32_t wild = 0;
    for (int64_t at = 0; at < f->count; at += CHUNK) {
        int64_t count = f->count - at < CHUNK ? f->count - at : CHUNK;
        salun_st_floats(f, at, count, value + at);
        wild |= wild_bits(value + at, count);
    }
    return !wild;
}

typedef struct { const Load *l; bool *wild; } Copy;

/* A task is one tensor. */
static void copy_task(void *arg, int thread, int64_t task) {
    const Copy *c = arg;
    const SalunTensor *t = &c->l->m->program->tensors[task];
    (void)thread;
    if (allowed(c->l, t->name))
        return;
    if (c->l->lent && c->l->lent[task]) {
        c->wild[task] = wild_bits(c->l->lent[task], t->count);
        return;
    }
    uint64_t mode = salun_float_mode(false);
    float *table = c->l->m->region[t->is_state ? SALUN_STATES : SALUN_PARAMS];
    c->wild[task] = !copy_tensor(salun_st_find(c->l->st, t->name), table + t->offset);
    salun_float_restore(mode);
}

static void tell_conversions(const Load *l) {
    const SalunProgram *p = l->m->program;
    int converted[SALUN_ST_TYPES] = { 0 };
    for (int i = 0; i < p->tensor_count; i++)
        if (!allowed(l, p->tensors[i].name))
            converted[salun_st_find(l->st, p->tensors[i].name)->type]++;
    for (int i = 0; i < SALUN_ST_TYPES; i++)
        if (converted[i] && i != SALUN_ST_F32)
            tell(l, "%s: %d tensor%s converted from %s to F32", l->file, converted[i], converted[i] == 1 ? "" : "s",
                 salun_st_type_name((SalunStType)i));
}

/* Writes the tables; everything else was checked. */
static int copy_values(const Load *l) {
    const SalunProgram *p = l->m->program;
    SalunNames kept = { 0 }, wild = { 0 };
    Copy copy = { l, calloc((size_t)p->tensor_count + 1, sizeof *copy.wild) };
    if (!copy.wild)
        return salun_error(l->err, SALUN_NO_SPACE, "%s: out of memory", l->file);
    salun_pool_run(l->m->pool, copy_task, &copy, p->tensor_count);
    for (int i = 0; i < p->tensor_count; i++)
        if (allowed(l, p->tensors[i].name))
            salun_names_add(&kept, "%s", p->tensors[i].name);
        else if (copy.wild[i])
            salun_names_add(&wild, "%s", p->tensors[i].name);
    free(copy.wild);
    tell_conversions(l);
    if (kept.total)
        tell(l, "%s: not loaded, left at the initial value: %s", l->file, salun_names_end(&kept));
    if (wild.total)
        tell(l, "%s: holds values that are not finite: %s", l->file, salun_names_end(&wild));
    return 0;
}

static int fill_tables(const Load *l) {
    salun_prepared_drop(l->m);
    int code = copy_values(l);
    if (code)
        return code;
    l->m->lean = false;
    uint64_t mode = salun_float_mode(false);
    salun_constraint_invert(l->m->program, l->m->region[SALUN_PARAMS], l->m->region[SALUN_RAW]);
    salun_float_restore(mode);
    salun_touch(l->m);
    if (!l->lent)
        return 0;
    salun_prepare_from(l->m, l->lent);
    l->m->lean = true;
    return 0;
}

/* Fills what infer reads beside PREPARED, and prepares from where the file lies. */
static int fill_lean(Load *l) {
    size_t room = (size_t)l->m->program->tensor_count + 1;
    const void **lent = calloc(room, sizeof *lent);
    bool *read = calloc(room, sizeof *read);
    int code = SALUN_NO_SPACE;
    if (lent && read) {
        l->lent = choose_lent(l, lent, read) ? lent : NULL;
        code = fill_tables(l);
    } else {
        salun_error(l->err, code, "%s: out of memory", l->file);
    }
    free(lent);
    free(read);
    return code;
}

static int load(Load *l) {
    int code = check_tensors(l);
    if (!code)
        code = check_values(l);
    if (code)
        return code;
    return l->m->infer_only && !l->allow ? fill_lean(l) : fill_tables(l);
}

/* ---- prepared weights (prepared.h) ---- */

static int no_glob(const char *name, SalunError *err) {
    return salun_error(err, SALUN_BAD_INPUT, "%s: prepared weights are all or none: no tensor can be left out", name);
}

/* Where path is a prepared file, the model keeps it mapped. Returns whether it is one. */
static bool load_prepared(SalunModel *m, const char *path, const char *allow, SalunError *err, int *code) {
    SalunMap map;
    *code = salun_map(&map, path, err);
    if (*code)
        return true;
    bool is = salun_is_prepared(map.data, map.size);
    if (is)
        *code = allow ? no_glob(path, err) : salun_prepared_use(m, map.data, map.size, path, err);
    if (is && !*code)
        m->prepared_map = map;
    else
        salun_unmap(&map);
    return is;
}

/* What is part of the program stays where it is; else a copy. */
static int copy_prepared(SalunModel *m, const void *data, size_t bytes, const char *name, SalunError *err) {
    if (data == m->program->weights)
        return salun_prepared_use(m, data, bytes, name, err);
    int code = salun_prepared_check(m->program, data, bytes, name, err);
    if (code)
        return code;
    void *copy = aligned_alloc(SALUN_ALIGN, bytes);        /* a whole number of pages */
    if (!copy)
        return salun_error(err, SALUN_NO_SPACE, "%s: out of memory", name);
    code = salun_prepared_use(m, memcpy(copy, data, bytes), bytes, name, err);
    if (code)
        free(copy);
    else
        m->prepared_copy = copy;
    return code;
}

/* ---- loading ---- */

int salun_load_file(SalunModel *m, const char *path, const char *allow, Note *note, void *arg, SalunError *err) {
    SalunError mine = { .code = SALUN_FAIL };
    err = err ? err : &mine;
    int code;
    if (load_prepared(m, path, allow, err, &code))
        return code;
    SalunSt *st = salun_st_open(path, err);
    if (!st)
        return err->code;
    code = load(&(Load){ m, st, path, allow, note, arg, err, NULL });
    if (!code)
        code = salun_map_check(err);
    salun_st_close(st);
    return code;
}

int salun_load_memory(SalunModel *m, const void *data, size_t bytes, const char *name, const char *allow, Note *note, void *arg,
                      SalunError *err) {
    SalunError mine = { .code = SALUN_FAIL };
    err = err ? err : &mine;
    if (salun_is_prepared(data, bytes))
        return allow ? no_glob(name, err) : copy_prepared(m, data, bytes, name, err);
    SalunSt *st = salun_st_memory(data, bytes, name, err);
    if (!st)
        return err->code;
    int code = load(&(Load){ m, st, name, allow, note, arg, err, NULL });
    salun_st_close(st);
    return code;
}

/* ---- saving ---- */

int salun_save_file(const SalunModel *m, int space, const char *path, SalunError *err) {
    const SalunProgram *p = m->program;
    if (m->prepared_file || m->lean)
        return salun_error(err, SALUN_FAIL, "%s: weights that were prepared cannot be saved as parameters", path);
    if ((space != SALUN_PARAMS && space != SALUN_GRADS) || (space == SALUN_GRADS && !p->table_floats[SALUN_GRADS]))
        return salun_error(err, SALUN_FAIL, "%s: %s has no such table to save", path, p->name);
    SalunStOut *out = calloc((size_t)p->tensor_count + 1, sizeof *out);
    if (!out)
        return salun_error(err, SALUN_NO_SPACE, "%s: out of memory", path);
    int count = 0;
    for (int i = 0; i < p->tensor_count; i++) {
        const SalunTensor *t = &p->tensors[i];
        if (t->is_state && space == SALUN_GRADS)
            continue;
        out[count] = (SalunStOut){ .name = t->name, .type = SALUN_ST_F32, .rank = t->rank };
        memcpy(out[count].dim, t->dim, (size_t)t->rank * sizeof *t->dim);
        out[count++].data = (const float *)m->region[t->is_state ? SALUN_STATES : space] + t->offset;
    }
    const char *metadata[] = { "format", "pt", "network", p->name };
    int code = salun_st_save(path, out, count, metadata, 4, err);
    free(out);
    return code;
}
