/* emit_llvm_jit.c - a network as code of this process, through ORC.
 *
 * Shares of the kernels are compiled to objects by several threads, each with a context of its own; ORC links the
 * objects. What they call is found in this process. */
#include "backend/emit_llvm.h"

#include <dlfcn.h>
#include <llvm-c/LLJIT.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { MOST_PARTS = 8, KERNELS_PER_PART = 8 };

struct Loaded { LLVMOrcLLJITRef jit; Arena *arena; };

typedef struct {
    const Module *m;
    const EmitOptions *o;
    const char *triple;
    int part, parts;
    Arena *arena;
    LLVMMemoryBufferRef object;
    const char *error;
    pthread_t thread;
    bool started;
} Share;

/* ---- shares ---- */

static void compile_share(Share *s) {
    char *message = NULL;
    LLVMTargetMachineRef machine = emit_llvm_machine(s->arena, s->triple, s->o->level, &s->error);
    Llvm *l = machine ? emit_llvm_build(s->m, s->o, s->triple, s->part, s->parts, &s->error) : NULL;
    if (l && emit_llvm_optimize(l, machine, s->o->level, &s->error) &&
        LLVMTargetMachineEmitToMemoryBuffer(machine, l->module, LLVMObjectFile, &message, &s->object)) {
        s->error = arena_printf(s->arena, "LLVM: %s", message);
        LLVMDisposeMessage(message);
    }
    if (l)
        emit_llvm_free(l);
    if (machine)
        LLVMDisposeTargetMachine(machine);
}

static void *run_share(void *share) {
    compile_share(share);
    return NULL;
}

static int part_count(const Module *m) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int parts = processors < 1 ? 1 : processors > MOST_PARTS ? MOST_PARTS : (int)processors;
    int useful = (m->kernel_count + KERNELS_PER_PART - 1) / KERNELS_PER_PART;
    return useful < 1 ? 1 : parts < useful ? parts : useful;
}

/* The first error, NULL: none. */
static const char *compile_shares(Share *shares, int parts) {
    const char *error = NULL;
    for (int i = 1; i < parts; i++)
        shares[i].started = pthread_create(&shares[i].thread, NULL, run_share, &shares[i]) == 0;
    for (int i = 0; i < parts; i++)
        if (!shares[i].started)
            compile_share(&shares[i]);
    for (int i = 0; i < parts; i++) {
        if (shares[i].started)
            pthread_join(shares[i].thread, NULL);
        error = error ? error : shares[i].error;
    }
    return error;
}

/* ---- linking ---- */

static const char *take_error(Arena *a, LLVMErrorRef error) {
    char *text = LLVMGetErrorMessage(error);
    const char *copy = arena_printf(a, "LLVM: %s", text);
    LLVMDisposeErrorMessage(text);
    return copy;
}

static bool open_blas(const Module *m, const char **error) {
    static const char *const names[] = { "libopenblas.so.0", "libopenblas.so" };
    for (int i = 0; m->blas && i < COUNT(names); i++)
        if (dlopen(names[i], RTLD_NOW | RTLD_GLOBAL))
            return true;
    if (m->blas)
        *error = arena_printf(m->arena, "--blas=openblas: %s", dlerror());
    return !m->blas;
}

/* Functions that are not among the objects are those of this process. */
static LLVMErrorRef add_process(LLVMOrcLLJITRef jit) {
    LLVMOrcDefinitionGeneratorRef process;
    LLVMErrorRef error = LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, LLVMOrcLLJITGetGlobalPrefix(jit), NULL, NULL);
    if (!error)
        LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(jit), process);
    return error;
}

/* Owns the shares' objects from here on. */
static LLVMErrorRef link_shares(LLVMOrcLLJITRef jit, Share *shares, int parts) {
    LLVMErrorRef error = add_process(jit);
    for (int i = 0; i < parts && !error; i++) {
        error = LLVMOrcLLJITAddObjectFile(jit, LLVMOrcLLJITGetMainJITDylib(jit), shares[i].object);
        shares[i].object = NULL;
    }
    return error;
}

static Loaded *link_program(const Module *m, Share *shares, int parts, const void **program, const char **error) {
    LLVMOrcLLJITRef jit = NULL;
    LLVMOrcExecutorAddress address = 0;
    LLVMErrorRef failed = LLVMOrcCreateLLJIT(&jit, NULL);
    if (!failed)
        failed = link_shares(jit, shares, parts);
    if (!failed)
        failed = LLVMOrcLLJITLookup(jit, &address, arena_printf(m->arena, "%s_program", emit_prefix(m)));
    if (failed) {
        *error = take_error(m->arena, failed);
        if (jit)
            LLVMConsumeError(LLVMOrcDisposeLLJIT(jit));
        return NULL;
    }
    Loaded *loaded = NEW(m->arena, Loaded);
    loaded->jit = jit;
    *program = (const void *)(uintptr_t)address;
    return loaded;
}

/* ---- both ---- */

Loaded *emit_llvm_load_program(const Module *m, const EmitOptions *o, const void **program, const char **error) {
    const char *triple = emit_llvm_triple(m->arena, m->target, o, error);
    Share shares[MOST_PARTS];
    int parts = part_count(m);
    if (!triple || !open_blas(m, error))
        return NULL;
    for (int i = 0; i < parts; i++)
        shares[i] = (Share){ .m = m, .o = o, .triple = triple, .part = i, .parts = parts, .arena = arena_new(0) };
    *error = compile_shares(shares, parts);
    if (*error)
        *error = arena_strdup(m->arena, *error);
    Loaded *loaded = *error ? NULL : link_program(m, shares, parts, program, error);
    for (int i = 0; i < parts; i++) {
        if (shares[i].object)
            LLVMDisposeMemoryBuffer(shares[i].object);
        arena_destroy(shares[i].arena);
    }
    return loaded;
}

void emit_llvm_unload(Loaded *loaded) {
    LLVMConsumeError(LLVMOrcDisposeLLJIT(loaded->jit));
}
