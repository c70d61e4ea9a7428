/* emit_llvm_machine.c - processors as LLVM knows them: triples, instructions, optimization. */
#include "backend/emit_llvm.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <llvm/Config/llvm-config.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- triples ---- */

/* What LLVM 14 does where it is asked, later versions do always. */
#if LLVM_VERSION_MAJOR < 15
#define OPAQUE_POINTERS , "-opaque-pointers"
#else
#define OPAQUE_POINTERS
#endif

static void initialize(void) {
    static const char *const options[] = { "salunc", "-disable-lsr" OPAQUE_POINTERS };
    LLVMParseCommandLineOptions(COUNT(options), options, "");
    LLVMInitializeAllTargetInfos();
    LLVMInitializeAllTargets();
    LLVMInitializeAllTargetMCs();
    LLVMInitializeAllAsmPrinters();
    LLVMInitializeAllAsmParsers();
}

void emit_llvm_initialize(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, initialize);
}

static bool starts_with(const char *text, const char *start) { return !strncmp(text, start, strlen(start)); }

Processor emit_llvm_processor(const char *triple) {
    return starts_with(triple, "x86_64-") ? PROCESSOR_X86 : starts_with(triple, "aarch64-") ? PROCESSOR_AARCH64 : PROCESSOR_OTHER;
}

/* LLVM says that it does not know a processor on stderr, and nowhere else. */
static bool is_processor(LLVMTargetRef target, const char *triple, const char *cpu) {
    FILE *said = tmpfile();
    int kept = said ? dup(STDERR_FILENO) : -1;
    bool silent = true;
    if (kept >= 0) {
        fflush(stderr);
        dup2(fileno(said), STDERR_FILENO);
        LLVMDisposeTargetMachine(LLVMCreateTargetMachine(target, triple, cpu, "", LLVMCodeGenLevelNone, LLVMRelocPIC, LLVMCodeModelDefault));
        silent = lseek(STDERR_FILENO, 0, SEEK_END) <= 0;
        dup2(kept, STDERR_FILENO);
        close(kept);
    }
    if (said)
        fclose(said);
    return silent;
}

const char *emit_llvm_triple(Arena *a, const Target *t, const EmitOptions *o, const char **error) {
    char *text = o->triple ? LLVMNormalizeTargetTriple(o->triple) : LLVMGetDefaultTargetTriple(), *message = NULL;
    const char *triple = arena_strdup(a, text);
    LLVMTargetRef found;
    LLVMDisposeMessage(text);
    emit_llvm_initialize();
    if (LLVMGetTargetFromTriple(triple, &found, &message)) {
        *error = arena_printf(a, "LLVM has no processor %s", triple);
        LLVMDisposeMessage(message);
        return NULL;
    }
    if (o->cpu && !is_processor(found, triple, o->cpu)) {
        *error = arena_printf(a, "--cpu=%s: LLVM knows no such processor for %s", o->cpu, triple);
        return NULL;
    }
    if (t->width == 4 && t->half && emit_llvm_processor(triple) != PROCESSOR_AARCH64) {
        *error = arena_printf(a, "%s is not for %s; --target=portable or fma128 is", t->name, triple);
        return NULL;
    }
    if (t->width > 4 && emit_llvm_processor(triple) != PROCESSOR_X86) {
        *error = arena_printf(a, "%s is not for %s; --target=portable or fma128 is", t->name, triple);
        return NULL;
    }
    return triple;
}

/* The machine of a triple without any instruction that not every processor of its kind has. */
LLVMTargetMachineRef emit_llvm_machine(Arena *a, const char *triple, int level, const char **error) {
    static const LLVMCodeGenOptLevel levels[] = { LLVMCodeGenLevelNone, LLVMCodeGenLevelLess, LLVMCodeGenLevelDefault, LLVMCodeGenLevelAggressive };
    LLVMTargetRef target;
    char *message = NULL;
    emit_llvm_initialize();
    if (LLVMGetTargetFromTriple(triple, &target, &message)) {
        *error = arena_printf(a, "LLVM: %s", message);
        LLVMDisposeMessage(message);
        return NULL;
    }
    const char *cpu = emit_llvm_processor(triple) == PROCESSOR_X86 ? "x86-64" : "generic";
    return LLVMCreateTargetMachine(target, triple, cpu, "", levels[level < 0 || level > 3 ? 3 : level], LLVMRelocPIC, LLVMCodeModelDefault);
}

/* ---- kernels' instructions ---- */

static void add_attribute(Llvm *l, LLVMValueRef function, const char *name, const char *value) {
    LLVMAttributeRef a = LLVMCreateStringAttribute(l->context, name, (unsigned)strlen(name), value, (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, a);
}

void emit_llvm_target_attributes(Llvm *l, LLVMValueRef function) {
    static const char *const features[] = { "+fma,+f16c", "+avx2,+fma,+f16c", "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma,+f16c",
                                            "+avx512vnni,+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma,+f16c",
                                            "+avx512fp16,+avx512vnni,+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma,+f16c" };
    int width = l->target->width;
    if (l->cpu)
        add_attribute(l, function, "tune-cpu", l->cpu);
    if (l->processor == PROCESSOR_AARCH64 && l->target->half)
        add_attribute(l, function, "target-features", "+fullfp16");
    if (l->processor != PROCESSOR_X86 || !l->target->fma)
        return;
    add_attribute(l, function, "target-features", features[width == 16 ? 2 + l->target->dot4 + l->target->half : width == 8]);
    if (width == 16) {
        add_attribute(l, function, "prefer-vector-width", "512");
        add_attribute(l, function, "min-legal-vector-width", "512");
    }
}

/* ---- passes ---- */

bool emit_llvm_verify(Llvm *l, const char **error) {
    char *message = NULL;
    bool broken = LLVMVerifyModule(l->module, LLVMReturnStatusAction, &message);
    if (broken)
        *error = "a module that LLVM's verifier refuses; this is a mistake of the compiler";
    if (broken && message)
        fputs(message, stderr);
    LLVMDisposeMessage(message);
    return !broken;
}

/* Kernels come tiled, unrolled and vectorized, with addresses whose neighbours share what varies. What is left to do is
 * to turn registers in memory into values (even at level 0), to share what is computed twice, and to take out of loops
 * what does not change there. LLVM's own pipelines give the same speed in three times the time, most of it in the
 * strength reduction of loops, which `initialize` switches off. */
#if LLVM_VERSION_MAJOR >= 18
#define COMBINE "instcombine<no-verify-fixpoint>"
#else
#define COMBINE "instcombine"
#endif
static const char values[] = "function(mem2reg)";
static const char pipeline[] = "function(sroa,early-cse<memssa>," COMBINE ",loop-mssa(licm),simplifycfg)";

bool emit_llvm_optimize(Llvm *l, LLVMTargetMachineRef machine, int level, const char **error) {
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    LLVMSetModuleDataLayout(l->module, layout);
    LLVMDisposeTargetData(layout);
    LLVMErrorRef failed = LLVMRunPasses(l->module, level ? pipeline : values, machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (failed) {
        LLVMConsumeError(failed);
        *error = "LLVM's passes failed; this is a mistake of the compiler";
        return false;
    }
    return emit_llvm_verify(l, error);
}
