/* emit_llvm.h - what the files of the LLVM back end share; private to it. Through LLVM's C API, version 14 to 19.
 *
 * An Llvm is one LLVM module being made in a context of its own, so that several can be made at once by several
 * threads. Kernels are functions kernel_NAME over SalunKernel's arguments; only they may use the target's instructions. */
#ifndef SALUN_BACKEND_EMIT_LLVM_H
#define SALUN_BACKEND_EMIT_LLVM_H

#include "backend/backend.h"

#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <llvm-c/TargetMachine.h>

/* ---- structs of salun.h ---- */

enum { ABI_VERSION = 4 };                  /* SALUN_ABI of salun.h, by the same test as the structs */

typedef enum {
#define FIELD(struct, name, type, count)
#define STRUCT(struct, name) ABI_##struct,
#include "backend/abi.def"
    ABI_STRUCTS
} AbiStruct;

typedef enum {
#define FIELD(struct, name, type, count) ABI_##struct##_##name,
#define STRUCT(struct, name)
#include "backend/abi.def"
    ABI_FIELDS
} AbiField;

typedef enum { ABI_TYPE_I8, ABI_TYPE_I32, ABI_TYPE_I64, ABI_TYPE_F32, ABI_TYPE_F64, ABI_TYPE_PTR, ABI_TYPE_ENTRY } AbiType;

typedef enum {
#define CALL(id, name, result, parameters) CALL_##id,
#include "backend/calls.def"
    CALL_COUNT
} CallId;

/* ---- a module of LLVM ---- */

typedef enum { PROCESSOR_X86, PROCESSOR_AARCH64, PROCESSOR_OTHER } Processor;

/* What a module of LLVM holds of a network. */
typedef struct {
    Kernel *const *kernels; int kernel_count;
    bool tables;                       /* the descriptor, its tables, the network's functions */
    bool unnamed;                      /* nobody reads its text: values need no names */
    bool apart;                        /* other modules hold the rest: what they name is exported */
    /* Where the tables stand apart from kernels: the function that stands for kernel i calls what entry[i] holds, or, while it is
     * NULL, what await(context, i) returns. */
    void *const *entry;
    void *(*await)(void *context, int64_t i);
    void *context;
} LlvmPart;

typedef struct {
    Arena *arena;                      /* of this module alone */
    const Target *target;
    const char *triple;
    const char *cpu;                   /* that kernels are tuned for, NULL: none in particular */
    Processor processor;
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMDIBuilderRef debug;
    const SourceFile **files; LLVMMetadataRef *file_nodes; int file_count, file_cap;
    LlvmPart part;

    LLVMTypeRef none, i1, i8, i16, i32, i64, f32, f64, ptr;
    LLVMTypeRef f32v, i32v, i8v, i1v, i64v;        /* the target's vectors */
    LLVMTypeRef f16v;                  /* twice as many lanes */
    LLVMTypeRef f32x4;                 /* what x86's operations on a scalar take */
    LLVMTypeRef kernel_type;
    LLVMTypeRef structs[ABI_STRUCTS];
} Llvm;

/* emit_llvm.c. An empty module for a triple; source: the .snet file, for readers. */
Llvm *emit_llvm_new(const Target *t, const EmitOptions *o, const char *triple, const char *source);
void emit_llvm_free(Llvm *l);
int emit_llvm_field(AbiField f);       /* its number within its struct */
LLVMValueRef emit_llvm_i32(Llvm *l, int64_t value);
LLVMValueRef emit_llvm_i64(Llvm *l, int64_t value);
LLVMValueRef emit_llvm_function(Llvm *l, const char *name, LLVMTypeRef type);   /* its declaration, made when there is none */
/* A call of an intrinsic of LLVM, overloaded by `types`. */
LLVMValueRef emit_llvm_intrinsic(Llvm *l, const char *name, LLVMTypeRef *types, int type_count, LLVMValueRef *args, int arg_count, const char *label);

/* emit_llvm_kernel.c. may_alias: of buffers i and j at [i * buffer_count + j], one of them written, whether they can
 * share memory; NULL: nothing is known. */
LLVMValueRef emit_llvm_kernel(Llvm *l, const Kernel *k, const bool *may_alias);
LLVMValueRef emit_llvm_kernel_name(Llvm *l, const Kernel *k);                  /* the function, declared or defined */

/* emit_llvm_module.c: tables and descriptor; the descriptor. */
LLVMValueRef emit_llvm_module(Llvm *l, const Module *m, const EmitOptions *o);
LLVMValueRef emit_llvm_text(Llvm *l, const char *text);                        /* a constant string; NULL: a null pointer */

/* emit_llvm_api.c: the network's functions over the descriptor, and main. */
void emit_llvm_api(Llvm *l, const Module *m, const EmitOptions *o, LLVMValueRef program);

/* ---- machines: emit_llvm_machine.c ---- */

/* Options of LLVM and its machines, once; before any context is made. */
void emit_llvm_initialize(void);
/* The triple that o asks for, for the target t; NULL after *error. */
const char *emit_llvm_triple(Arena *a, const Target *t, const EmitOptions *o, const char **error);
Processor emit_llvm_processor(const char *triple);
LLVMTargetMachineRef emit_llvm_machine(Arena *a, const char *triple, int level, const char **error);
void emit_llvm_target_attributes(Llvm *l, LLVMValueRef function);              /* the target's instructions, for kernels only */
bool emit_llvm_verify(Llvm *l, const char **error);
bool emit_llvm_optimize(Llvm *l, LLVMTargetMachineRef machine, int level, const char **error);

/* emit_llvm_stub.c: the function that stands for a kernel of another module; its address may be needed before it is there. */
LLVMValueRef emit_llvm_stub(Llvm *l, const Module *m, const Kernel *k);

/* ---- emit_llvm_link.c: objects as code of this process; used by one thread at a time ---- */

typedef struct LlvmLink LlvmLink;

/* Registered with gdb, and with perf as profile says. NULL after *error; errors live in `arena`. */
LlvmLink *emit_llvm_link_new(Arena *arena, Profile profile, const char **error);
/* Takes the object over. */
bool emit_llvm_link_add(LlvmLink *k, LLVMMemoryBufferRef object, const char **error);
/* Of a function or table of an object that was added; NULL after *error. */
void *emit_llvm_link_address(LlvmLink *k, const char *name, const char **error);
void emit_llvm_link_free(LlvmLink *k);

/* emit_llvm_jit.c */
Loaded *emit_llvm_load_program(const Module *m, const EmitOptions *o, const void **program, const char **error);
void emit_llvm_unload(Loaded *loaded);

/* The part of a network as a module of LLVM. NULL after *error. */
Llvm *emit_llvm_build(const Module *m, const EmitOptions *o, const char *triple, const LlvmPart *part, const char **error);

#endif
