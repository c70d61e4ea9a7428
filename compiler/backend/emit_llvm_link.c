/* emit_llvm_link.c - objects become code of this process, by ORC; gdb and perf are told.
 *
 * What objects call is found in this process. gdb hears of every object (its JIT interface); perf of functions alone by
 * /tmp/perf-PID.map, or of functions and lines by a file that `perf inject --jit` reads ($JITDUMPDIR, else $HOME,
 * /.debug/jit). */
#include "backend/emit_llvm.h"

#include <llvm-c/ExecutionEngine.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Object.h>
#include <llvm-c/OrcEE.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LISTENERS = 2 };

struct LlvmLink {
    Arena *arena;
    LLVMOrcLLJITRef jit;
    LLVMJITEventListenerRef listener[LISTENERS];
    int listener_count;
    FILE *map;
};

/* ---- ORC ---- */

static bool fail(LlvmLink *k, LLVMErrorRef failed, const char **error) {
    if (!failed)
        return false;
    char *text = LLVMGetErrorMessage(failed);
    *error = arena_printf(k->arena, "LLVM: %s", text);
    LLVMDisposeErrorMessage(text);
    return true;
}

static LLVMOrcObjectLayerRef make_layer(void *context, LLVMOrcExecutionSessionRef session, const char *triple) {
    LlvmLink *k = context;
    (void)triple;
    LLVMOrcObjectLayerRef layer = LLVMOrcCreateRTDyldObjectLinkingLayerWithSectionMemoryManager(session);
    for (int i = 0; i < k->listener_count; i++)
        LLVMOrcRTDyldObjectLinkingLayerRegisterJITEventListener(layer, k->listener[i]);
    return layer;
}

static bool make_jit(LlvmLink *k, const char **error) {
    LLVMOrcDefinitionGeneratorRef process;
    LLVMOrcLLJITBuilderRef builder = LLVMOrcCreateLLJITBuilder();
    LLVMOrcLLJITBuilderSetObjectLinkingLayerCreator(builder, make_layer, k);
    if (fail(k, LLVMOrcCreateLLJIT(&k->jit, builder), error))
        return false;
    if (fail(k, LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, LLVMOrcLLJITGetGlobalPrefix(k->jit), NULL, NULL), error))
        return false;
    LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(k->jit), process);
    return true;
}

/* ---- gdb and perf ---- */

static bool open_listeners(LlvmLink *k, Profile profile, const char **error) {
    k->listener[k->listener_count++] = LLVMCreateGDBRegistrationListener();
    if (profile == PROFILE_MAP) {
        const char *path = arena_printf(k->arena, "/tmp/perf-%ld.map", (long)getpid());
        k->map = fopen(path, "w");
        *error = arena_printf(k->arena, "--perf=map: %s cannot be written", path);
        return k->map != NULL;
    }
    if (profile == PROFILE_DUMP) {
        LLVMJITEventListenerRef perf = LLVMCreatePerfJITEventListener();
        *error = "--perf=dump: this LLVM was built without it; --perf=map tells perf the names of kernels";
        if (!perf)
            return false;
        k->listener[k->listener_count++] = perf;
    }
    return true;
}

/* Addresses, sizes and names of an object's functions, in the form of perf's map files. */
static bool write_map(LlvmLink *k, LLVMMemoryBufferRef object, const char **error) {
    char *message = NULL;
    LLVMBinaryRef binary = LLVMCreateBinary(object, NULL, &message);
    if (!binary) {
        *error = arena_printf(k->arena, "LLVM: %s", message);
        LLVMDisposeMessage(message);
        return false;
    }
    LLVMSymbolIteratorRef s = LLVMObjectFileCopySymbolIterator(binary);
    bool done = true;
    for (; done && !LLVMObjectFileIsSymbolIteratorAtEnd(binary, s); LLVMMoveToNextSymbol(s)) {
        const char *name = LLVMGetSymbolName(s);
        unsigned long size = (unsigned long)LLVMGetSymbolSize(s);
        if (strncmp(name, "kernel_", 7) || !size)
            continue;
        void *address = emit_llvm_link_address(k, name, error);
        done = address != NULL;
        fprintf(k->map, "%lx %lx %s\n", (unsigned long)(uintptr_t)address, size, name);
    }
    fflush(k->map);
    LLVMDisposeSymbolIterator(s);
    LLVMDisposeBinary(binary);
    return done;
}

/* ---- all ---- */

LlvmLink *emit_llvm_link_new(Arena *arena, Profile profile, const char **error) {
    LlvmLink *k = NEW(arena, LlvmLink);
    k->arena = arena;
    if (open_listeners(k, profile, error) && make_jit(k, error))
        return k;
    emit_llvm_link_free(k);
    return NULL;
}

bool emit_llvm_link_add(LlvmLink *k, LLVMMemoryBufferRef object, const char **error) {
    LLVMMemoryBufferRef copy = NULL;
    if (k->map)
        copy = LLVMCreateMemoryBufferWithMemoryRangeCopy(LLVMGetBufferStart(object), LLVMGetBufferSize(object), "kernels");
    bool done = !fail(k, LLVMOrcLLJITAddObjectFile(k->jit, LLVMOrcLLJITGetMainJITDylib(k->jit), object), error);
    if (copy) {
        done = done && write_map(k, copy, error);
        LLVMDisposeMemoryBuffer(copy);
    }
    return done;
}

void *emit_llvm_link_address(LlvmLink *k, const char *name, const char **error) {
    LLVMOrcExecutorAddress address = 0;
    return fail(k, LLVMOrcLLJITLookup(k->jit, &address, name), error) ? NULL : (void *)(uintptr_t)address;
}

void emit_llvm_link_free(LlvmLink *k) {
    if (k->jit)
        LLVMConsumeError(LLVMOrcDisposeLLJIT(k->jit));
    if (k->map)
        fclose(k->map);
}
