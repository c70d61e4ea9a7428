/* emit_llvm_memory.c - what kernels read and write. A vector may lie anywhere that its elements may. */
#include "backend/emit_llvm_kernel.h"

/* ---- addresses ---- */

static LLVMTypeRef element_type(const LlvmKernel *e, int buffer) {
    const Buffer *b = &e->k->buffers[buffer];
    return b->store == STORE_U8 ? e->l->i8 : b->store != STORE_WHOLE ? e->l->i16 : b->elem == ELEM_F32 ? e->l->f32 : e->l->i32;
}

static unsigned element_bytes(const LlvmKernel *e, int buffer) { return (unsigned)store_bytes(e->k->buffers[buffer].store); }

static LLVMValueRef pointer(LlvmKernel *e, int buffer) {
    return e->laundered[buffer] ? LLVMBuildLoad2(e->l->builder, e->l->ptr, e->buffer[buffer], e->k->buffers[buffer].name) : e->buffer[buffer];
}

/* p + i elements */
static LLVMValueRef advance(LlvmKernel *e, int buffer, LLVMValueRef p, LLVMValueRef i) {
    LLVMValueRef known = emit_llvm_recall(e, p, i, 0);
    return known ? known : emit_llvm_remember(e, p, i, 0, LLVMBuildGEP2(e->l->builder, element_type(e, buffer), p, &i, 1, ""));
}

/* The part that varies first, so that neighbours share it. */
LLVMValueRef emit_llvm_address(LlvmKernel *e, int buffer, const Index *at) {
    LLVMTypeRef element = element_type(e, buffer);
    LLVMValueRef p = pointer(e, buffer);
    if (at->count) {
        Index varying = *at;
        varying.base = 0;
        p = advance(e, buffer, p, emit_llvm_index(e, &varying, ""));
    }
    if (at->base) {
        LLVMValueRef i = emit_llvm_i64(e->l, at->base);
        p = LLVMBuildGEP2(e->l->builder, element, p, &i, 1, "");
    }
    return p;
}

/* Only accesses of the kernel's own buffers are known not to meet those of others. */
static LLVMValueRef mark(LlvmKernel *e, LLVMValueRef access, int buffer) {
    if (e->scope_list[buffer])
        LLVMSetMetadata(access, e->alias_scope_kind, LLVMMetadataAsValue(e->l->context, e->scope_list[buffer]));
    if (e->noalias_list[buffer])
        LLVMSetMetadata(access, e->noalias_kind, LLVMMetadataAsValue(e->l->context, e->noalias_list[buffer]));
    return access;
}

/* ---- lanes ---- */

/* One bit per lane, set for the first `lanes`; NULL: all are. */
static LLVMValueRef first_lanes(LlvmKernel *e, const Index *lanes) {
    Llvm *l = e->l;
    int width = l->target->width;
    int64_t known;
    if (index_is_const(lanes, &known)) {
        LLVMValueRef bits[16];
        for (int i = 0; i < width; i++)
            bits[i] = LLVMConstInt(l->i1, i < known, false);
        return known >= width ? NULL : LLVMConstVector(bits, (unsigned)width);
    }
    LLVMValueRef low[] = { emit_llvm_index(e, lanes, ""), emit_llvm_i64(l, 0) };
    LLVMValueRef high[] = { emit_llvm_intrinsic(l, "llvm.smax", &l->i64, 1, low, 2, ""), emit_llvm_i64(l, width) };
    LLVMValueRef clamped = LLVMBuildTrunc(l->builder, emit_llvm_intrinsic(l, "llvm.smin", &l->i64, 1, high, 2, ""), l->i32, "");
    return LLVMBuildICmp(l->builder, LLVMIntSGT, emit_llvm_splat(l, clamped, ""), emit_llvm_iota(l, l->i32, 1), "first");
}

/* Pointers to the lanes of a strided access. Offsets have 32 bits where they fit, which is what processors gather by. */
static LLVMValueRef lane_pointers(LlvmKernel *e, const Stm *s, LLVMValueRef p) {
    bool near = s->stride < (1 << 26) && s->stride > -(1 << 26);
    LLVMValueRef offsets = emit_llvm_iota(e->l, near ? e->l->i32 : e->l->i64, s->stride);
    return LLVMBuildGEP2(e->l->builder, element_type(e, s->buffer), p, &offsets, 1, "");
}

static LLVMValueRef all_lanes(Llvm *l) { return LLVMConstAllOnes(l->i1v); }

/* ---- bytes and elements ---- */

static LLVMTypeRef memory_type(const LlvmKernel *e, const Stm *s) {
    const Buffer *b = &e->k->buffers[s->buffer];
    bool vector = s->access != ACCESS_SCALAR && s->access != ACCESS_SPLAT;
    if (!vector)
        return element_type(e, s->buffer);
    return b->store != STORE_WHOLE ? LLVMVectorType(element_type(e, s->buffer), (unsigned)e->l->target->width)
           : b->elem == ELEM_F32 ? e->l->f32v : e->l->i32v;
}

/* What was read, as a register holds it. */
static LLVMValueRef widen(LlvmKernel *e, const Stm *s, LLVMValueRef x, bool vector) {
    const Buffer *b = &e->k->buffers[s->buffer];
    if (b->store == STORE_WHOLE)
        return x;
    if (b->store != STORE_U8)
        return emit_llvm_widen(e->l, b->store, x, vector);
    LLVMValueRef i = LLVMBuildZExt(e->l->builder, x, vector ? e->l->i32v : e->l->i32, "");
    return b->elem == ELEM_F32 ? LLVMBuildSIToFP(e->l->builder, i, vector ? e->l->f32v : e->l->f32, "") : i;
}

static LLVMValueRef narrow(LlvmKernel *e, const Stm *s, LLVMValueRef x, bool vector) {
    const Buffer *b = &e->k->buffers[s->buffer];
    if (b->store == STORE_WHOLE)
        return x;
    if (b->store != STORE_U8)
        return emit_llvm_narrow(e->l, b->store, x, vector);
    if (b->elem == ELEM_F32)
        x = LLVMBuildFPToSI(e->l->builder, x, vector ? e->l->i32v : e->l->i32, "");
    return LLVMBuildTrunc(e->l->builder, x, vector ? e->l->i8v : e->l->i8, "");
}

/* ---- loads ---- */

static LLVMValueRef load_masked(LlvmKernel *e, const Stm *s, LLVMValueRef p, LLVMValueRef mask, const char *name) {
    Llvm *l = e->l;
    LLVMTypeRef type = memory_type(e, s), types[] = { type, l->ptr };
    LLVMValueRef args[] = { p, emit_llvm_i32(l, element_bytes(e, s->buffer)), mask, LLVMConstNull(type) };
    return mark(e, emit_llvm_intrinsic(l, "llvm.masked.load", types, 2, args, 4, name), s->buffer);
}

static LLVMValueRef load_strided(LlvmKernel *e, const Stm *s, LLVMValueRef p, LLVMValueRef mask, const char *name) {
    Llvm *l = e->l;
    LLVMTypeRef type = memory_type(e, s), types[] = { type, LLVMVectorType(l->ptr, (unsigned)l->target->width) };
    LLVMValueRef args[] = { lane_pointers(e, s, p), emit_llvm_i32(l, element_bytes(e, s->buffer)), mask ? mask : all_lanes(l), LLVMConstNull(type) };
    return mark(e, emit_llvm_intrinsic(l, "llvm.masked.gather", types, 2, args, 4, name), s->buffer);
}

static LLVMValueRef load_raw(LlvmKernel *e, const Stm *s, const char *name) {
    LLVMValueRef p = emit_llvm_address(e, s->buffer, &s->index);
    LLVMValueRef mask = s->access == ACCESS_MASKED || s->access == ACCESS_STRIDED ? first_lanes(e, &s->lanes) : NULL;
    if (s->access == ACCESS_STRIDED)
        return load_strided(e, s, p, mask, name);
    if (mask)
        return load_masked(e, s, p, mask, name);
    LLVMValueRef x = LLVMBuildLoad2(e->l->builder, memory_type(e, s), p, name);
    LLVMSetAlignment(x, element_bytes(e, s->buffer));
    return mark(e, x, s->buffer);
}

/* A vector of binary16: all of it, or one element in all lanes. */
static LLVMValueRef load_halves(LlvmKernel *e, const Stm *s, const char *name) {
    Llvm *l = e->l;
    bool splat = s->access == ACCESS_SPLAT;
    LLVMTypeRef type = splat ? LLVMHalfTypeInContext(l->context) : l->f16v;
    LLVMValueRef x = LLVMBuildLoad2(l->builder, type, emit_llvm_address(e, s->buffer, &s->index), splat ? "" : name);
    LLVMSetAlignment(x, element_bytes(e, s->buffer));
    mark(e, x, s->buffer);
    return splat ? emit_llvm_splat_over(l, x, l->f16v, name) : x;
}

LLVMValueRef emit_llvm_load(LlvmKernel *e, const Stm *s, const char *name) {
    if (e->k->buffers[s->buffer].elem == ELEM_F16)
        return load_halves(e, s, name);
    bool splat = s->access == ACCESS_SPLAT, vector = s->access != ACCESS_SCALAR && !splat;
    LLVMValueRef x = widen(e, s, load_raw(e, s, splat ? "" : name), vector);
    return splat ? emit_llvm_splat(e->l, x, name) : x;
}

LLVMValueRef emit_llvm_load_index(LlvmKernel *e, const Stm *s) {
    const Buffer *b = &e->k->buffers[s->buffer];
    LLVMValueRef x = LLVMBuildLoad2(e->l->builder, element_type(e, s->buffer), emit_llvm_address(e, s->buffer, &s->begin), "");
    mark(e, x, s->buffer);
    if (b->store == STORE_U8)
        return LLVMBuildZExt(e->l->builder, x, e->l->i64, e->k->vars[s->var]);
    return LLVMBuildSExt(e->l->builder, x, e->l->i64, e->k->vars[s->var]);
}

/* ---- stores ---- */

void emit_llvm_store(LlvmKernel *e, const Stm *s) {
    Llvm *l = e->l;
    bool vector = s->access != ACCESS_SCALAR;
    LLVMValueRef x = emit_llvm_get(e, s->arg[0]);
    if (s->kind == STM_ADD_TO) {
        LLVMValueRef before = widen(e, s, load_raw(e, s, ""), vector);
        x = LLVMBuildBinOp(l->builder, e->k->buffers[s->buffer].elem == ELEM_F32 ? LLVMFAdd : LLVMAdd, before, x, "");
    }
    x = narrow(e, s, x, vector);
    LLVMValueRef p = emit_llvm_address(e, s->buffer, &s->index), bytes = emit_llvm_i32(l, element_bytes(e, s->buffer));
    LLVMValueRef mask = s->access == ACCESS_MASKED || s->access == ACCESS_STRIDED ? first_lanes(e, &s->lanes) : NULL;
    if (s->access == ACCESS_STRIDED) {
        LLVMTypeRef types[] = { memory_type(e, s), LLVMVectorType(l->ptr, (unsigned)l->target->width) };
        LLVMValueRef args[] = { x, lane_pointers(e, s, p), bytes, mask ? mask : all_lanes(l) };
        mark(e, emit_llvm_intrinsic(l, "llvm.masked.scatter", types, 2, args, 4, ""), s->buffer);
    } else if (mask) {
        LLVMTypeRef types[] = { memory_type(e, s), l->ptr };
        LLVMValueRef args[] = { x, p, bytes, mask };
        mark(e, emit_llvm_intrinsic(l, "llvm.masked.store", types, 2, args, 4, ""), s->buffer);
    } else {
        LLVMValueRef store = LLVMBuildStore(l->builder, x, p);
        LLVMSetAlignment(store, element_bytes(e, s->buffer));
        mark(e, store, s->buffer);
    }
}
