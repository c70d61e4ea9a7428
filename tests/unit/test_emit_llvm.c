/* Kernels as functions of LLVM give the bits of the evaluator, for every target that runs here and every level; the
 * structs that the back end lays out are those of salun.h.
 *
 *   test_emit_llvm --print TARGET   the functions as they are made, for FileCheck (llvm_operations.check) */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <llvm-c/LLJIT.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/emit_llvm.h"
#include "emit_kernels.h"

static Arena *arena;

/* ---- structs and numbers ---- */

static void check_layout(const char *triple) {
    static const struct { AbiField id; AbiStruct in; size_t offset; const char *name; } fields[] = {
#define FIELD(struct, name, type, count) { ABI_##struct##_##name, ABI_##struct, offsetof(struct##_OF_C, name), #struct "." #name },
#define STRUCT(struct, name)
#define RUN_OF_C SalunRun
#define PLACE_OF_C SalunPlace
#define CALL_OF_C SalunCall
#define ENTRY_OF_C SalunEntry
#define TENSOR_OF_C SalunTensor
#define PORT_OF_C SalunPort
#define PRE_OF_C SalunPreStep
#define AUGMENT_OF_C SalunAugment
#define SCHEDULE_OF_C SalunSchedPart
#define RECIPE_OF_C SalunRecipe
#define PROGRAM_OF_C SalunProgram
#define ERROR_OF_C SalunError
#include "backend/abi.def"
    };
    static const size_t sizes[ABI_STRUCTS] = {
#define FIELD(struct, name, type, count)
#define STRUCT(struct, name) sizeof(name),
#include "backend/abi.def"
    };
    assert_int_equal(ABI_VERSION, SALUN_ABI);
    const char *error = NULL;
    EmitOptions o = { 0 };
    Llvm *l = emit_llvm_new(target_find("portable"), &o, triple, "test");
    LLVMTargetMachineRef machine = emit_llvm_machine(arena, triple, 2, &error);
    assert_null(error);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    for (int i = 0; i < COUNT(fields); i++)
        if (LLVMOffsetOfElement(layout, l->structs[fields[i].in], (unsigned)emit_llvm_field(fields[i].id)) != fields[i].offset)
            fail_msg("%s: %s is not at offset %d", triple, fields[i].name, (int)fields[i].offset);
    for (int i = 0; i < ABI_STRUCTS; i++)
        assert_int_equal(LLVMABISizeOfType(layout, l->structs[i]), sizes[i]);
    LLVMDisposeTargetData(layout);
    LLVMDisposeTargetMachine(machine);
    emit_llvm_free(l);
}

static void layouts(void **state) {
    (void)state;
    check_layout("x86_64-pc-linux-gnu");
    check_layout("aarch64-unknown-linux-gnu");
}

/* The back end writes the compiler's numbers where the runtime reads its own. */
static void numbers(void **state) {
    (void)state;
    static const int pairs[][2] = {
        { SPACE_PARAMS, SALUN_PARAMS }, { SPACE_STATES, SALUN_STATES }, { SPACE_RAW, SALUN_RAW }, { SPACE_GRADS, SALUN_GRADS },
        { SPACE_SLOTS, SALUN_SLOTS }, { SPACE_PREPARED, SALUN_PREPARED }, { SPACE_BLOCK, SALUN_BLOCK }, { SPACE_CONSTANTS, SALUN_CONSTANTS },
        { SPACE_INPUT, SALUN_INPUT }, { SPACE_OUTPUT, SALUN_OUTPUT }, { SPACE_COUNT, SALUN_SPACES },
        { TYPE_F32, SALUN_F32 }, { TYPE_I32, SALUN_I32 }, { TYPE_U8, SALUN_U8 },
        { INIT_ZEROS, SALUN_INIT_ZEROS }, { INIT_CONST, SALUN_INIT_CONST }, { INIT_NORMAL, SALUN_INIT_NORMAL },
        { INIT_TRUNC_NORMAL, SALUN_INIT_TRUNC_NORMAL }, { INIT_UNIFORM, SALUN_INIT_UNIFORM },
        { CONSTRAINT_NONE, SALUN_FREE }, { CONSTRAINT_GREATER, SALUN_GREATER }, { CONSTRAINT_AT_LEAST, SALUN_AT_LEAST }, { CONSTRAINT_BETWEEN, SALUN_BETWEEN },
        { PRE_RESIZE, SALUN_RESIZE }, { PRE_CENTER_CROP, SALUN_CENTER_CROP }, { PRE_NORMALIZE, SALUN_NORMALIZE },
        { AUG_PAD_CROP, SALUN_PAD_CROP }, { AUG_FLIP, SALUN_FLIP },
        { SCHED_CONST, SALUN_SCHED_CONST }, { SCHED_WARMUP, SALUN_SCHED_WARMUP }, { SCHED_COSINE, SALUN_SCHED_COSINE },
        { SCHED_LINEAR, SALUN_SCHED_LINEAR }, { SCHED_STEP, SALUN_SCHED_STEP },
    };
    for (int i = 0; i < COUNT(pairs); i++)
        assert_int_equal(pairs[i][0], pairs[i][1]);
}

/* ---- kernels ---- */

/* The estimate alone has no bits that are defined. */
static Kernel *estimates(const Target *t) {
    Kernel *k = kernel_new(arena, t, MATH_FAST, "estimates", (Span){ 0 });
    kb_arg(k, "x", ELEM_F32, false, 64, "");
    kb_arg(k, "y", ELEM_F32, true, 64, "");
    kb_store(k, ACCESS_VECTOR, 1, index_const(0), kb_op(k, KOP_RSQRT_EST, kb_load(k, ACCESS_VECTOR, 0, index_const(0)), NO_REG, NO_REG));
    kb_store(k, ACCESS_SCALAR, 1, index_const(32), kb_op(k, KOP_RSQRT_EST, kb_load(k, ACCESS_SCALAR, 0, index_const(32)), NO_REG, NO_REG));
    kernel_finish(k);
    return k;
}

enum { KERNELS = 6 };

static void make_kernels(const Target *t, Kernel **k) {
    k[0] = kernel_of_operations(arena, t, false);
    k[1] = kernel_of_operations(arena, t, true);
    k[2] = kernel_of_accesses(arena, t);
    k[3] = kernel_of_statements(arena, t);
    k[4] = kernel_of_halves(arena, t);
    k[5] = estimates(t);
}

/* Buffers of the test never overlap: every kernel is made with all that can be said of them. */
static Llvm *make_module(const Target *t, Kernel *const *kernels, const char *triple) {
    EmitOptions o = { 0 };
    Llvm *l = emit_llvm_new(t, &o, triple, "test");
    const char *error = NULL;
    l->part.apart = true;
    for (int i = 0; i < KERNELS; i++)
        emit_llvm_kernel(l, kernels[i], NEW_ARRAY(arena, bool, 256));
    LLVMDIBuilderFinalize(l->debug);
    assert_true(emit_llvm_verify(l, &error));
    return l;
}

static LLVMMemoryBufferRef compile(const Target *t, Kernel *const *kernels, const char *triple, int level) {
    const char *error = NULL;
    char *message = NULL;
    LLVMMemoryBufferRef object = NULL;
    Llvm *l = make_module(t, kernels, triple);
    LLVMTargetMachineRef machine = emit_llvm_machine(arena, triple, level, &error);
    assert_non_null(machine);
    assert_true(emit_llvm_optimize(l, machine, level, &error));
    assert_int_equal(LLVMTargetMachineEmitToMemoryBuffer(machine, l->module, LLVMObjectFile, &message, &object), 0);
    LLVMDisposeTargetMachine(machine);
    emit_llvm_free(l);
    return object;
}

static void check_estimates(SalunKernel *kernel) {
    float x[64], y[64];
    void *args[] = { x, y };
    SalunRun run = { .n = 1 };
    for (int i = 0; i < 64; i++)
        x[i] = ldexpf(1.0f + (float)i / 64, i - 32);
    kernel(args, &run, 0);
    for (int i = 0; i <= 32; i += i < 3 ? 1 : 29)
        assert_true(fabs(y[i] * sqrt((double)x[i]) - 1) < 0x1p-11);
}

static void check_target(const Target *t, int level) {
    Kernel *kernels[KERNELS];
    LLVMOrcLLJITRef jit;
    const char *error = NULL, *triple = emit_llvm_triple(arena, t, &(EmitOptions){ 0 }, &error);
    make_kernels(t, kernels);
    LLVMMemoryBufferRef object = compile(t, kernels, triple, level);
    if (!target_runs_here(t)) {
        print_message("%s: compiled, not run on this processor\n", t->name);
        LLVMDisposeMemoryBuffer(object);
        return;
    }
    assert_null(LLVMOrcCreateLLJIT(&jit, NULL));
    LLVMOrcDefinitionGeneratorRef process;
    assert_null(LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, LLVMOrcLLJITGetGlobalPrefix(jit), NULL, NULL));
    LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(jit), process);
    assert_null(LLVMOrcLLJITAddObjectFile(jit, LLVMOrcLLJITGetMainJITDylib(jit), object));
    for (int i = 0; i < KERNELS; i++) {
        LLVMOrcExecutorAddress address;
        assert_null(LLVMOrcLLJITLookup(jit, &address, arena_printf(arena, "kernel_%s", kernels[i]->name)));
        SalunKernel *compiled = (SalunKernel *)(uintptr_t)address;
        const char *why = i + 1 < KERNELS ? kernel_compare(arena, kernels[i], compiled) : NULL;
        if (why)
            fail_msg("%s, level %d: %s", t->name, level, why);
        if (i + 1 == KERNELS)
            check_estimates(compiled);
    }
    LLVMConsumeError(LLVMOrcDisposeLLJIT(jit));
    print_message("%s, level %d: equal to the evaluator\n", t->name, level);
}

static void all_targets(void **state) {
    (void)state;
    int count;
    const Target *targets = target_list(&count);
    for (int i = 0; i < count; i++)
        for (int level = 0; level <= 3; level++)
            if (targets[i].width > 4 || !targets[i].half)          /* that one is for aarch64 */
                check_target(&targets[i], level);
}

/* For another processor: an object comes out; tests/run/cross.sh runs networks. */
static void other_processor(void **state) {
    (void)state;
    static const char *const names[] = { "portable", "fma128", "neonfp16" };
    for (int i = 0; i < COUNT(names); i++) {
        const Target *t = target_find(names[i]);
        Kernel *kernels[KERNELS];
        make_kernels(t, kernels);
        const char *error = NULL, *triple = emit_llvm_triple(arena, t, &(EmitOptions){ .triple = "aarch64-linux-gnu" }, &error);
        LLVMDisposeMemoryBuffer(compile(t, kernels, triple, 2));
    }
}

static char *print_module(const Target *t) {
    Kernel *kernels[KERNELS];
    const char *error = NULL, *triple = emit_llvm_triple(arena, t, &(EmitOptions){ .triple = "x86_64-linux-gnu" }, &error);
    make_kernels(t, kernels);
    Llvm *l = make_module(t, kernels, triple);
    char *text = LLVMPrintModuleToString(l->module);
    emit_llvm_free(l);
    return text;
}

static void same_text_twice(void **state) {
    (void)state;
    char *a = print_module(target_find("avx2")), *b = print_module(target_find("avx2"));
    assert_string_equal(a, b);
    LLVMDisposeMessage(a);
    LLVMDisposeMessage(b);
}

static int setup(void **state) {
    (void)state;
    arena = arena_new(0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    arena_destroy(arena);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(layouts), cmocka_unit_test(numbers), cmocka_unit_test(all_targets),
                                        cmocka_unit_test(other_processor), cmocka_unit_test(same_text_twice) };
    if (argc == 3 && !strcmp(argv[1], "--print")) {
        arena = arena_new(0);
        char *text = print_module(target_find(argv[2]));
        fputs(text, stdout);
        LLVMDisposeMessage(text);
        arena_destroy(arena);
        return 0;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
