/* emit_llvm_jit.c - a network as code of this process, while it is already at work.
 *
 * Tables and a stub for every kernel are compiled first, and with them the program begins: it reads data, makes weights. Meanwhile
 * several threads compile kernels, in order of their first call, in chunks that are modules of their own. Who calls a kernel
 * before it is there waits for it. What evaluates a network in training comes last, behind the first steps. */
#include "backend/emit_llvm.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Every chunk costs some milliseconds of its own; many chunks keep all threads at work to the end. */
enum { MOST_THREADS = 16, LEAST_STATEMENTS = 600, CHUNKS_PER_THREAD = 6 };

typedef enum { STAGE_IR, STAGE_PASSES, STAGE_CODE, STAGE_LINK, STAGES } Stage;

typedef struct { int first, count; } Chunk;

struct Loaded {
    Arena *arena;                      /* of the thread that loads; of others only under the lock */
    const Module *m;
    EmitOptions o;
    const char *triple;
    Kernel **order; int *number;       /* kernels as they are needed; the number of each in m->kernels */
    Chunk *chunks; int chunk_count;
    void **entry;                      /* the code of kernel i of m->kernels, NULL: not yet there */
    double begun;

    pthread_mutex_t lock;              /* of all below, and of linking */
    pthread_cond_t changed;
    LlvmLink *link;
    int next, done;                    /* chunks that are taken, that are finished */
    bool stop;
    double milliseconds[STAGES];       /* of processor time */
    pthread_t threads[MOST_THREADS]; int thread_count;
};

/* ---- clocks ---- */

static double clock_of(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* The time since *last, which becomes now. */
static double lap(double *last) {
    double now = clock_of(CLOCK_THREAD_CPUTIME_ID), passed = now - *last;
    *last = now;
    return passed;
}

static void report(const Loaded *p) {
    static const char *const names[STAGES] = { "  ir", "  optimize", "  code", "  link" };
    if (!p->o.report)
        return;
    p->o.report("kernels", clock_of(CLOCK_MONOTONIC) - p->begun);
    for (int i = 0; i < STAGES; i++)
        p->o.report(names[i], p->milliseconds[i]);
}

/* ---- one module ---- */

/* NULL after *error, which lives in a. times may be NULL. */
static LLVMMemoryBufferRef compile(const Loaded *p, Arena *a, const LlvmPart *part, int level, double times[STAGES], const char **error) {
    char *message = NULL;
    LLVMMemoryBufferRef object = NULL;
    double last = clock_of(CLOCK_THREAD_CPUTIME_ID);
    LLVMTargetMachineRef machine = emit_llvm_machine(a, p->triple, level, error);
    Llvm *l = machine ? emit_llvm_build(p->m, &p->o, p->triple, part, error) : NULL;
    times[STAGE_IR] += lap(&last);
    bool done = l && emit_llvm_optimize(l, machine, level, error);
    times[STAGE_PASSES] += lap(&last);
    if (done && LLVMTargetMachineEmitToMemoryBuffer(machine, l->module, LLVMObjectFile, &message, &object)) {
        *error = arena_printf(a, "LLVM: %s", message);
        LLVMDisposeMessage(message);
    }
    if (l)
        emit_llvm_free(l);
    if (machine)
        LLVMDisposeTargetMachine(machine);
    times[STAGE_CODE] += lap(&last);
    return object;
}

/* ---- chunks ---- */

static int64_t count_statements(const Stm *s) {
    int64_t count = 0;
    for (; s; s = s->next)
        count += 1 + count_statements(s->body);
    return count;
}

static void add_entry(Loaded *p, EntryId id, int *count) {
    const Entry *e = &p->m->entry[id];
    for (int i = 0; i < e->count; i++) {
        int at = 0;
        while (at < *count && p->order[at] != e->calls[i].kernel)
            at++;
        if (at == *count)
            p->order[(*count)++] = e->calls[i].kernel;
    }
}

/* In training the first evaluation comes after an epoch. */
static void order_kernels(Loaded *p) {
    static const EntryId order[ENTRY_COUNT] = { ENTRY_TRAIN, ENTRY_FINISH, ENTRY_STEP, ENTRY_UPDATE, ENTRY_PREPARE, ENTRY_INFER };
    int count = 0;
    for (int i = 0; i < ENTRY_COUNT; i++)
        add_entry(p, order[i], &count);
    for (int i = 0; i < count; i++)
        while (p->m->kernels[p->number[i]] != p->order[i])
            p->number[i]++;
}

static void make_chunks(Loaded *p, int threads) {
    int count = p->m->kernel_count;
    int64_t total = 0, filled = 0;
    int64_t *size = NEW_ARRAY(p->arena, int64_t, count + 1);
    for (int i = 0; i < count; i++)
        total += size[i] = count_statements(p->order[i]->body);
    int64_t wanted = total / (threads * CHUNKS_PER_THREAD);
    wanted = wanted < LEAST_STATEMENTS ? LEAST_STATEMENTS : wanted;
    for (int i = 0; i < count; i++) {
        if (!i || filled >= wanted) {
            p->chunks[p->chunk_count++] = (Chunk){ .first = i };
            filled = 0;
        }
        p->chunks[p->chunk_count - 1].count++;
        filled += size[i];
    }
}

/* ---- threads ---- */

/* Called with the lock held. */
static bool publish(Loaded *p, const Chunk *c, LLVMMemoryBufferRef object, const char **error) {
    double last = clock_of(CLOCK_THREAD_CPUTIME_ID);
    if (!emit_llvm_link_add(p->link, object, error))
        return false;
    for (int i = c->first; i < c->first + c->count; i++) {
        void *code = emit_llvm_link_address(p->link, arena_printf(p->arena, "kernel_%s", p->order[i]->name), error);
        if (!code)
            return false;
        __atomic_store_n(&p->entry[p->number[i]], code, __ATOMIC_RELEASE);
    }
    p->milliseconds[STAGE_LINK] += lap(&last);
    pthread_cond_broadcast(&p->changed);
    return true;
}

/* What fails here is the compiler's mistake, for which a thread of the program may be waiting. */
static void compile_chunk(Loaded *p, const Chunk *c) {
    Arena *arena = arena_new(0);
    const char *error = NULL;
    double times[STAGES] = { 0 };
    LlvmPart part = { .kernels = p->order + c->first, .kernel_count = c->count, .apart = true, .unnamed = true };
    LLVMMemoryBufferRef object = compile(p, arena, &part, p->o.level, times, &error);
    pthread_mutex_lock(&p->lock);
    if (!object || !publish(p, c, object, &error)) {
        fprintf(stderr, "salunc: %s\n", error);
        abort();
    }
    for (int i = 0; i < STAGES; i++)
        p->milliseconds[i] += times[i];
    if (++p->done == p->chunk_count)
        report(p);
    pthread_mutex_unlock(&p->lock);
    arena_destroy(arena);
}

static const Chunk *take_chunk(Loaded *p) {
    pthread_mutex_lock(&p->lock);
    const Chunk *c = p->stop || p->next == p->chunk_count ? NULL : &p->chunks[p->next++];
    pthread_mutex_unlock(&p->lock);
    return c;
}

static void *work(void *loaded) {
    for (const Chunk *c; (c = take_chunk(loaded));)
        compile_chunk(loaded, c);
    return NULL;
}

static void *await_kernel(void *loaded, int64_t kernel) {
    Loaded *p = loaded;
    pthread_mutex_lock(&p->lock);
    while (!p->entry[kernel])
        pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return p->entry[kernel];
}

static int thread_count(void) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return processors < 1 ? 1 : processors > MOST_THREADS ? MOST_THREADS : (int)processors;
}

static void start(Loaded *p, int threads) {
    if (threads > p->chunk_count)
        threads = p->chunk_count;
    while (p->thread_count < threads && pthread_create(&p->threads[p->thread_count], NULL, work, p) == 0)
        p->thread_count++;
    if (!p->thread_count)
        work(p);
}

/* ---- all ---- */

static bool open_blas(const Module *m, const char **error) {
    static const char *const names[] = { "libopenblas.so.0", "libopenblas.so" };
    for (int i = 0; m->blas && i < COUNT(names); i++)
        if (dlopen(names[i], RTLD_NOW | RTLD_GLOBAL))
            return true;
    if (m->blas)
        *error = arena_printf(m->arena, "--blas=openblas: %s", dlerror());
    return !m->blas;
}

static Loaded *new_loaded(const Module *m, const EmitOptions *o, const char *triple) {
    Arena *arena = arena_new(0);
    Loaded *p = NEW(arena, Loaded);
    p->arena = arena;
    p->m = m;
    p->o = *o;
    p->triple = triple;
    p->begun = clock_of(CLOCK_MONOTONIC);
    p->order = NEW_ARRAY(arena, Kernel *, m->kernel_count + 1);
    p->number = NEW_ARRAY(arena, int, m->kernel_count + 1);
    p->chunks = NEW_ARRAY(arena, Chunk, m->kernel_count + 1);
    p->entry = NEW_ARRAY(arena, void *, m->kernel_count + 1);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    return p;
}

/* Tables and stubs; NULL after *error. */
static const void *load_tables(Loaded *p, const char **error) {
    double times[STAGES] = { 0 };
    LlvmPart part = { .tables = true, .apart = true, .unnamed = true, .entry = p->entry, .await = await_kernel, .context = p };
    LLVMMemoryBufferRef object = compile(p, p->m->arena, &part, 0, times, error);
    pthread_mutex_lock(&p->lock);
    const void *program = object && emit_llvm_link_add(p->link, object, error)
                        ? emit_llvm_link_address(p->link, arena_printf(p->arena, "%s_program", emit_prefix(p->m)), error) : NULL;
    if (!program)
        *error = arena_strdup(p->m->arena, *error);
    pthread_mutex_unlock(&p->lock);
    return program;
}

Loaded *emit_llvm_load_program(const Module *m, const EmitOptions *o, const void **program, const char **error) {
    const char *triple = emit_llvm_triple(m->arena, m->target, o, error);
    if (!triple || !open_blas(m, error))
        return NULL;
    Loaded *p = new_loaded(m, o, triple);
    int threads = thread_count();
    order_kernels(p);
    make_chunks(p, threads);
    p->link = emit_llvm_link_new(p->arena, o->profile, error);
    if (!p->link)
        *error = arena_strdup(m->arena, *error);
    else
        start(p, threads);
    *program = p->link ? load_tables(p, error) : NULL;
    if (*program)
        return p;
    emit_llvm_unload(p);
    return NULL;
}

void emit_llvm_unload(Loaded *p) {
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->thread_count; i++)
        pthread_join(p->threads[i], NULL);
    if (p->link)
        emit_llvm_link_free(p->link);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    arena_destroy(p->arena);
}
