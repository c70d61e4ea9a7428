/* model.c - a model: its tables, its planned block, and the places of every call resolved to pointers.
 * Everything is allocated here; nothing is allocated while the model runs. */
#include "model.h"

#include "constraint.h"
#include "prepared.h"
#include "random.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, LARGE = 256 << 10, PARTS = 4096 };

/* ---- memory ---- */

#if defined(__SANITIZE_ADDRESS__)
#define MAP_LARGE 0                          /* the allocator's red zones catch kernels that leave their buffer */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MAP_LARGE 0
#endif
#endif
#ifndef MAP_LARGE
#define MAP_LARGE 1
#endif

static size_t round_up(size_t bytes, size_t to) {
    return (bytes + to - 1) / to * to;
}

static bool is_mapped(size_t bytes) {
    return MAP_LARGE && bytes >= LARGE;
}

/* Zeroed memory: large pieces from the system, on huge pages where it has them. The pieces begin on a huge page. */
static void *region_new(size_t bytes) {
    if (!is_mapped(bytes)) {
        void *p = aligned_alloc(SALUN_ALIGN, round_up(bytes, SALUN_ALIGN));
        return p ? memset(p, 0, round_up(bytes, SALUN_ALIGN)) : NULL;
    }
    size_t size = round_up(bytes, HUGE_PAGE);
    char *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    char *at = (char *)round_up((size_t)p, HUGE_PAGE);
    if (at > p)
        munmap(p, (size_t)(at - p));
    if (p + HUGE_PAGE > at)
        munmap(at + size, (size_t)(p + HUGE_PAGE - at));
    madvise(at, size, MADV_HUGEPAGE);
    return at;
}

static void region_free(void *p, size_t bytes) {
    if (!p)
        return;
    if (is_mapped(bytes))
        munmap(p, round_up(bytes, HUGE_PAGE));
    else
        free(p);
}

/* ---- checking the descriptor ---- */

static bool place_fits(const SalunModel *m, const SalunPlace *place, int inputs, int outputs) {
    if (place->offset < 0)
        return false;
    if (place->space >= SALUN_INPUT && place->space < SALUN_OUTPUT)
        return place->space - SALUN_INPUT < inputs;
    if (place->space >= SALUN_OUTPUT && place->space < SALUN_SPACES)
        return place->space - SALUN_OUTPUT < outputs;
    return place->space >= 0 && place->space < SALUN_INPUT && (size_t)place->offset <= m->region_bytes[place->space];
}

static bool tensors_fit(const SalunProgram *p) {
    for (int i = 0; i < p->tensor_count; i++) {
        const SalunTensor *t = &p->tensors[i];
        int64_t room = p->table_floats[t->is_state ? SALUN_STATES : SALUN_PARAMS];
        if (t->offset < 0 || t->count < 0 || t->offset + t->count > room || t->rank < 0 || t->rank > 6)
            return false;
        if (!t->is_state && t->raw_offset >= 0 && t->raw_offset + t->count > p->table_floats[SALUN_RAW])
            return false;
    }
    return true;
}

static bool sizes_fit(const SalunProgram *p) {
    for (int i = 0; i < 5; i++)
        if (p->table_floats[i] < 0)
            return false;
    return p->prepared_bytes >= 0 && p->block_bytes >= 0 && p->scratch_bytes >= 0 && p->constants_bytes >= 0;
}

static int check(const SalunProgram *p, SalunError *err) {
    if (p->abi != SALUN_ABI)
        return salun_error(err, SALUN_FAIL, "the program was compiled for version %u of the runtime, this is version %d", p->abi, SALUN_ABI);
    if (p->batch < 1 || p->piece < 0 || p->piece > p->batch || p->input_count + p->target_count > 8 || p->output_count + 1 > 8 || !sizes_fit(p) || !tensors_fit(p))
        return salun_error(err, SALUN_FAIL, "%s: the compiled program's tables do not fit each other", p->name);
    return 0;
}

/* ---- places ---- */

static int64_t arg_total(const SalunEntry *e) {
    int64_t total = 0;
    for (int32_t i = 0; i < e->count; i++)
        total += e->calls[i].arg_count;
    return total;
}

static void bind_arg(SalunModel *m, SalunBound *b, int64_t slot, const SalunPlace *place) {
    if (place->space >= SALUN_OUTPUT)
        b->outputs[b->output_count++] = (SalunFixup){ slot, place->space - SALUN_OUTPUT, place->offset };
    else if (place->space >= SALUN_INPUT)
        b->inputs[b->input_count++] = (SalunFixup){ slot, place->space - SALUN_INPUT, place->offset };
    else
        b->args[slot] = (char *)m->region[place->space] + place->offset;
}

/* Resolves all places of an entry. The caller's arrays are left as fixups. */
static int bind(SalunModel *m, SalunBound *b, const SalunEntry *e, int inputs, int outputs, SalunError *err) {
    int64_t total = arg_total(e), slot = 0;
    b->entry = e;
    b->args = calloc((size_t)total + 1, sizeof *b->args);
    b->first = calloc((size_t)e->count + 1, sizeof *b->first);
    b->inputs = calloc((size_t)total + 1, sizeof *b->inputs);
    b->outputs = calloc((size_t)total + 1, sizeof *b->outputs);
    if (!b->args || !b->first || !b->inputs || !b->outputs)
        return salun_error(err, SALUN_NO_SPACE, "out of memory");
    for (int32_t i = 0; i < e->count; i++) {
        const SalunCall *c = &e->calls[i];
        b->first[i] = slot;
        for (int32_t k = 0; k < c->arg_count; k++) {
            if (!place_fits(m, &c->args[k], inputs, outputs))
                return salun_error(err, SALUN_FAIL, "%s: argument %d of call %d (%s) of %s lies outside its table", m->program->name,
                                   (int)k, (int)i, c->name, e->name ? e->name : "an entry");
            bind_arg(m, b, slot++, &c->args[k]);
        }
    }
    return 0;
}

static int bind_all(SalunModel *m, SalunError *err) {
    const SalunProgram *p = m->program;
    int code = bind(m, &m->bound[SALUN_BOUND_PREPARE], &p->prepare, 0, 0, err);
    if (!code)
        code = bind(m, &m->bound[SALUN_BOUND_INFER], &p->infer, p->input_count, p->output_count, err);
    if (!code)
        code = bind(m, &m->bound[SALUN_BOUND_STEP], &p->step, p->input_count + p->target_count, p->output_count + 1, err);
    if (!code)
        code = bind(m, &m->bound[SALUN_BOUND_UPDATE], &p->update, 0, 0, err);
    if (!code)
        code = bind(m, &m->bound[SALUN_BOUND_TRAIN], &p->train, p->input_count + p->target_count, p->output_count + 1, err);
    if (!code)
        code = bind(m, &m->bound[SALUN_BOUND_FINISH], &p->finish, 0, 0, err);
    return code;
}

/* ---- life ---- */

static int allocate(SalunModel *m, SalunError *err) {
    const SalunProgram *p = m->program;
    for (int s = SALUN_PARAMS; s <= SALUN_SLOTS; s++)
        m->region_bytes[s] = (size_t)p->table_floats[s] * sizeof(float);
    m->region_bytes[SALUN_PREPARED] = (size_t)p->prepared_bytes;
    m->region_bytes[SALUN_BLOCK] = (size_t)p->block_bytes;
    m->region_bytes[SALUN_CONSTANTS] = (size_t)p->constants_bytes;
    size_t total = 0;
    for (int s = SALUN_PARAMS; s <= SALUN_BLOCK; s++) {
        total += m->region_bytes[s];
        m->region[s] = region_new(m->region_bytes[s] ? m->region_bytes[s] : SALUN_ALIGN);
        if (!m->region[s])
            return salun_error(err, SALUN_NO_SPACE, "%s: out of memory, %.1f MB are needed and more", p->name, 1e-6 * (double)total);
    }
    m->region[SALUN_CONSTANTS] = (void *)p->constants;
    int threads = salun_pool_threads(m->pool);
    size_t each = round_up((size_t)p->scratch_bytes + 1, 2 * SALUN_ALIGN);
    m->scratch_bytes = each * (size_t)threads;
    m->scratch = region_new(m->scratch_bytes);
    m->runs = calloc((size_t)threads, sizeof *m->runs);
    if (!m->scratch || !m->runs)
        return salun_error(err, SALUN_NO_SPACE, "%s: out of memory for the scratch of %d threads", p->name, threads);
    for (int i = 0; i < threads; i++)
        m->runs[i] = (SalunRun){ .n = 1, .batch = 1, .thread = i, .scratch = (char *)m->scratch + each * (size_t)i };
    return 0;
}

SalunModel *salun_create(const SalunProgram *p, int threads, SalunError *err) {
    if (check(p, err) || salun_cpu_check(p, err))
        return NULL;
    SalunModel *m = calloc(1, sizeof *m);
    if (!m) {
        salun_error(err, SALUN_NO_SPACE, "out of memory");
        return NULL;
    }
    m->program = p;
    m->flush = p->numeric && strstr(p->numeric, "fast");
    m->pool = salun_pool_create(threads, m->flush, err);
    if (!m->pool || allocate(m, err) || bind_all(m, err)) {
        salun_destroy(m);
        return NULL;
    }
    if (p->recipe) {
        salun_set_smoothing(m, (float)p->recipe->smoothing);
        salun_set_seed(m, p->recipe->seed);
    }
    return m;
}

void salun_destroy(SalunModel *m) {
    if (!m)
        return;
    salun_pool_destroy(m->pool);
    salun_prepared_drop(m);
    for (int s = SALUN_PARAMS; s <= SALUN_BLOCK; s++)
        region_free(m->region[s], m->region_bytes[s] ? m->region_bytes[s] : SALUN_ALIGN);
    region_free(m->scratch, m->scratch_bytes);
    for (int i = 0; i < SALUN_BOUNDS; i++) {
        free(m->bound[i].args);
        free(m->bound[i].first);
        free(m->bound[i].inputs);
        free(m->bound[i].outputs);
    }
    free(m->runs);
    free(m);
}

const SalunProgram *salun_program(const SalunModel *m) {
    return m->program;
}

float *salun_table(SalunModel *m, int space, int64_t *floats) {
    bool there = space >= SALUN_PARAMS && space <= SALUN_SLOTS && m->program->table_floats[space] > 0 && !m->prepared_file && !m->lean;
    if (floats)
        *floats = there ? m->program->table_floats[space] : 0;
    return there ? m->region[space] : NULL;
}

void salun_touch(SalunModel *m) {
    m->prepared = false;
}

/* ---- initial values ---- */

typedef struct { const SalunTensor *tensor; float *value; uint64_t seed; } InitJob;

static void init_task(void *arg, int thread, int64_t task) {
    const InitJob *job = arg;
    int64_t begin = task * PARTS, end = begin + PARTS < job->tensor->count ? begin + PARTS : job->tensor->count;
    (void)thread;
    salun_init_part(job->tensor, job->seed, job->value, begin, end);
}

void salun_init(SalunModel *m, uint64_t seed) {
    const SalunProgram *p = m->program;
    uint64_t mode = salun_float_mode(false);
    salun_prepared_drop(m);
    m->lean = false;
    for (int i = 0; i < p->tensor_count; i++) {
        const SalunTensor *t = &p->tensors[i];
        InitJob job = { t, (float *)m->region[t->is_state ? SALUN_STATES : SALUN_PARAMS] + t->offset, seed };
        salun_pool_run(m->pool, init_task, &job, (t->count + PARTS - 1) / PARTS);
    }
    salun_constraint_invert(p, m->region[SALUN_PARAMS], m->region[SALUN_RAW]);
    salun_float_restore(mode);
    salun_touch(m);
}
