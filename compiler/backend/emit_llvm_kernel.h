/* emit_llvm_kernel.h - one kernel being made: what emit_llvm_kernel.c, emit_llvm_value.c and emit_llvm_memory.c share. */
#ifndef SALUN_BACKEND_EMIT_LLVM_KERNEL_H
#define SALUN_BACKEND_EMIT_LLVM_KERNEL_H

#include "backend/emit_llvm.h"

typedef struct {
    LLVMValueRef value;            /* set once, and used in its block only: a value */
    LLVMValueRef slot;             /* otherwise memory, which LLVM turns into values */
    int sets, scope;               /* how often it is set; the block of the first */
    bool escapes;                  /* used outside of that block */
} LlvmReg;

/* What an index computation gave: base + factor * coef, an offset of a pointer (coef 0). */
typedef struct { LLVMValueRef base, factor; int64_t coef; LLVMValueRef value; } LlvmMemo;

typedef struct {
    Llvm *l;
    const Kernel *k;
    LLVMValueRef function, run;
    LLVMValueRef *var;             /* index variables */
    LlvmReg *reg;
    LLVMValueRef *buffer;          /* pointers; where STM_OPAQUE changes one, memory that holds it */
    bool *laundered, *used;
    LLVMMetadataRef *scope_list, *noalias_list;    /* of each buffer, NULL: none */
    int *scope_end;                /* of every block, in order of the text: the number behind its last inner block */
    int scope_count, scope_cap, scope_next;
    LlvmMemo *memo; int memo_count, memo_cap;      /* of the open blocks: their values are there wherever what follows may use them */
    unsigned alias_scope_kind, noalias_kind, loop_kind;
} LlvmKernel;

LLVMValueRef emit_llvm_index(LlvmKernel *e, const Index *x, const char *name);
/* The value that was made of the same parts before, NULL: none; and remembering one, which is returned. */
LLVMValueRef emit_llvm_recall(const LlvmKernel *e, LLVMValueRef base, LLVMValueRef factor, int64_t coef);
LLVMValueRef emit_llvm_remember(LlvmKernel *e, LLVMValueRef base, LLVMValueRef factor, int64_t coef, LLVMValueRef value);
LLVMTypeRef emit_llvm_type(const Llvm *l, RegType t);
LLVMValueRef emit_llvm_get(LlvmKernel *e, Reg r);

/* emit_llvm_value.c */
LLVMValueRef emit_llvm_constant(LlvmKernel *e, const Stm *s);
LLVMValueRef emit_llvm_operation(LlvmKernel *e, const Stm *s, const char *name);
LLVMValueRef emit_llvm_splat(Llvm *l, LLVMValueRef scalar, const char *name);
LLVMValueRef emit_llvm_splat_over(Llvm *l, LLVMValueRef scalar, LLVMTypeRef vector, const char *name);
LLVMValueRef emit_llvm_iota(Llvm *l, LLVMTypeRef element, int64_t step);

/* emit_llvm_memory.c */
LLVMValueRef emit_llvm_address(LlvmKernel *e, int buffer, const Index *at);
LLVMValueRef emit_llvm_load(LlvmKernel *e, const Stm *s, const char *name);
LLVMValueRef emit_llvm_load_index(LlvmKernel *e, const Stm *s);                /* an integer element, as an index */
void emit_llvm_store(LlvmKernel *e, const Stm *s);                             /* STORE and ADD_TO */

/* emit_llvm_half.c: what memory of 16 bits holds, integers, as floats, and back. */
LLVMValueRef emit_llvm_widen(Llvm *l, Store store, LLVMValueRef x, bool vector);
LLVMValueRef emit_llvm_narrow(Llvm *l, Store store, LLVMValueRef x, bool vector);

#endif
