/* emit_llvm_stub.c - what the tables of a program in memory name while its kernels are still being compiled.
 *
 * A stub jumps to the kernel; before the kernel is there, it waits for it. The addresses of this process are constants. */
#include "backend/emit_llvm.h"

static LLVMValueRef address(Llvm *l, const void *p) {
    return LLVMConstIntToPtr(emit_llvm_i64(l, (int64_t)(intptr_t)p), l->ptr);
}

static LLVMValueRef await(Llvm *l, int kernel) {
    LLVMTypeRef types[] = { l->ptr, l->i64 };
    LLVMValueRef args[] = { address(l, l->part.context), emit_llvm_i64(l, kernel) };
    return LLVMBuildCall2(l->builder, LLVMFunctionType(l->ptr, types, 2, false), address(l, (const void *)(intptr_t)l->part.await), args, 2, "");
}

static void make_body(Llvm *l, LLVMValueRef f, int kernel) {
    enum { POINTER_BYTES = 8 };
    LLVMBuilderRef b = l->builder;
    LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(l->context, f, "entry"), wait = LLVMAppendBasicBlockInContext(l->context, f, "wait");
    LLVMBasicBlockRef run = LLVMAppendBasicBlockInContext(l->context, f, "run");
    LLVMPositionBuilderAtEnd(b, entry);
    LLVMValueRef there = LLVMBuildLoad2(b, l->ptr, address(l, &l->part.entry[kernel]), "there");
    LLVMSetOrdering(there, LLVMAtomicOrderingAcquire);
    LLVMSetAlignment(there, POINTER_BYTES);
    LLVMBuildCondBr(b, LLVMBuildIsNull(b, there, ""), wait, run);
    LLVMPositionBuilderAtEnd(b, wait);
    LLVMValueRef late = await(l, kernel);
    LLVMBuildBr(b, run);
    LLVMPositionBuilderAtEnd(b, run);
    LLVMValueRef target = LLVMBuildPhi(b, l->ptr, "kernel");
    LLVMAddIncoming(target, (LLVMValueRef[]){ there, late }, (LLVMBasicBlockRef[]){ entry, wait }, 2);
    LLVMValueRef args[] = { LLVMGetParam(f, 0), LLVMGetParam(f, 1), LLVMGetParam(f, 2) };
    LLVMSetTailCall(LLVMBuildCall2(b, l->kernel_type, target, args, COUNT(args), ""), true);
    LLVMBuildRetVoid(b);
}

LLVMValueRef emit_llvm_stub(Llvm *l, const Module *m, const Kernel *k) {
    const char *name = arena_printf(l->arena, "enter_%s", k->name);
    LLVMValueRef f = LLVMGetNamedFunction(l->module, name);
    if (f)
        return f;
    int kernel = 0;
    while (m->kernels[kernel] != k)
        kernel++;
    f = emit_llvm_function(l, name, l->kernel_type);
    LLVMSetLinkage(f, LLVMInternalLinkage);
    make_body(l, f, kernel);
    return f;
}
