/* emit_llvm_value.c - constants and operations of kernels as instructions.
 *
 * Every result is rounded as kir.def says: no flag that allows anything else is set, products and sums are fused only
 * where the kernel says FMA, and what an instruction of the processor does exactly is asked for by its own name. */
#include "backend/emit_llvm_kernel.h"

#include <assert.h>

/* ---- constants ---- */

static LLVMValueRef repeat(Llvm *l, LLVMValueRef value) {
    LLVMValueRef lanes[16];
    for (int i = 0; i < l->target->width; i++)
        lanes[i] = value;
    return LLVMConstVector(lanes, (unsigned)l->target->width);
}

LLVMValueRef emit_llvm_constant(LlvmKernel *e, const Stm *s) {
    RegType t = e->k->regs[s->dst];
    if (t.elem == ELEM_F16)
        return LLVMConstNull(e->l->f16v);
    LLVMValueRef one = t.elem == ELEM_F32 ? LLVMConstReal(e->l->f32, (double)(float)s->number) : emit_llvm_i32(e->l, s->bits);
    return t.vector ? repeat(e->l, one) : one;
}

LLVMValueRef emit_llvm_iota(Llvm *l, LLVMTypeRef element, int64_t step) {
    LLVMValueRef lanes[16];
    for (int i = 0; i < l->target->width; i++)
        lanes[i] = LLVMConstInt(element, (unsigned long long)(i * step), true);
    return LLVMConstVector(lanes, (unsigned)l->target->width);
}

LLVMValueRef emit_llvm_splat(Llvm *l, LLVMValueRef scalar, const char *name) {
    return emit_llvm_splat_over(l, scalar, LLVMVectorType(LLVMTypeOf(scalar), (unsigned)l->target->width), name);
}

LLVMValueRef emit_llvm_splat_over(Llvm *l, LLVMValueRef scalar, LLVMTypeRef vector, const char *name) {
    LLVMTypeRef zeros = LLVMVectorType(l->i32, LLVMGetVectorSize(vector));
    LLVMValueRef first = LLVMBuildInsertElement(l->builder, LLVMGetPoison(vector), scalar, emit_llvm_i64(l, 0), "");
    return LLVMBuildShuffleVector(l->builder, first, LLVMGetPoison(vector), LLVMConstNull(zeros), name);
}

/* ---- scalars that x86 computes in a vector ---- */

static LLVMValueRef in_lane_0(Llvm *l, LLVMValueRef x) {
    return LLVMBuildInsertElement(l->builder, LLVMConstNull(l->f32x4), x, emit_llvm_i64(l, 0), "");
}

static LLVMValueRef call_1(Llvm *l, const char *intrinsic, LLVMValueRef x, const char *name) {
    return emit_llvm_intrinsic(l, intrinsic, NULL, 0, &x, 1, name);
}

static LLVMValueRef call_typed(Llvm *l, const char *intrinsic, LLVMTypeRef type, LLVMValueRef *args, int count, const char *name) {
    return emit_llvm_intrinsic(l, intrinsic, &type, 1, args, count, name);
}

/* ---- operations that processors do in ways of their own ---- */

static LLVMValueRef rsqrt_x86(Llvm *l, LLVMValueRef x, bool vector, const char *name) {
    if (!vector)
        return LLVMBuildExtractElement(l->builder, call_1(l, "llvm.x86.sse.rsqrt.ss", in_lane_0(l, x), ""), emit_llvm_i64(l, 0), name);
    if (l->target->width == 4)
        return call_1(l, "llvm.x86.sse.rsqrt.ps", x, name);
    if (l->target->width == 8)
        return call_1(l, "llvm.x86.avx.rsqrt.ps.256", x, name);
    LLVMValueRef args[] = { x, LLVMConstNull(l->f32v), LLVMConstInt(l->i16, 0xffff, false) };
    return emit_llvm_intrinsic(l, "llvm.x86.avx512.rsqrt14.ps.512", NULL, 0, args, 3, name);
}

/* An estimate of 8 bits and a step. */
static LLVMValueRef rsqrt_aarch64(Llvm *l, LLVMValueRef x, const char *name) {
    LLVMValueRef r = call_typed(l, "llvm.aarch64.neon.frsqrte", l->f32v, &x, 1, "");
    LLVMValueRef args[] = { LLVMBuildFMul(l->builder, x, r, ""), r };
    return LLVMBuildFMul(l->builder, r, call_typed(l, "llvm.aarch64.neon.frsqrts", l->f32v, args, 2, ""), name);
}

static LLVMValueRef rsqrt(Llvm *l, LLVMValueRef x, bool vector, const char *name) {
    if (l->processor == PROCESSOR_X86)
        return rsqrt_x86(l, x, vector, name);
    if (l->processor == PROCESSOR_AARCH64 && vector)
        return rsqrt_aarch64(l, x, name);
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef one = LLVMConstReal(l->f32, 1), root = call_typed(l, "llvm.sqrt", type, &x, 1, "");
    return LLVMBuildFDiv(l->builder, vector ? repeat(l, one) : one, root, name);
}

static LLVMValueRef round_x86(Llvm *l, LLVMValueRef x, bool vector, const char *name) {
    enum { AS_SET = 4 };
    if (!vector)
        return call_1(l, "llvm.x86.sse.cvtss2si", in_lane_0(l, x), name);
    if (l->target->width == 4)
        return call_1(l, "llvm.x86.sse2.cvtps2dq", x, name);
    if (l->target->width == 8)
        return call_1(l, "llvm.x86.avx.cvt.ps2dq.256", x, name);
    LLVMValueRef args[] = { x, LLVMConstNull(l->i32v), LLVMConstInt(l->i16, 0xffff, false), emit_llvm_i32(l, AS_SET) };
    return emit_llvm_intrinsic(l, "llvm.x86.avx512.mask.cvtps2dq.512", NULL, 0, args, 4, name);
}

static LLVMValueRef round_even(Llvm *l, LLVMValueRef x, bool vector, const char *name) {
    LLVMTypeRef types[] = { vector ? l->i32v : l->i32, LLVMTypeOf(x) };
    if (l->processor == PROCESSOR_X86)
        return round_x86(l, x, vector, name);
    if (l->processor == PROCESSOR_AARCH64)
        return emit_llvm_intrinsic(l, "llvm.aarch64.neon.fcvtns", types, 2, &x, 1, name);
    return LLVMBuildFPToSI(l->builder, call_typed(l, "llvm.rint", types[1], &x, 1, ""), types[0], name);
}

/* The sum of products of neighbouring halves of 32 bits, exact: |x| < 2^8, |y| <= 2^7. */
static LLVMValueRef pair_products(Llvm *l, LLVMValueRef x, LLVMValueRef y) {
    static const char *const names[] = { "llvm.x86.sse2.pmadd.wd", "llvm.x86.avx2.pmadd.wd", "llvm.x86.avx512.pmaddw.d.512" };
    LLVMTypeRef halves = LLVMVectorType(l->i16, 2 * (unsigned)l->target->width);
    LLVMValueRef args[] = { LLVMBuildBitCast(l->builder, x, halves, ""), LLVMBuildBitCast(l->builder, y, halves, "") };
    return emit_llvm_intrinsic(l, names[l->target->width / 8], NULL, 0, args, 2, "");
}

static LLVMValueRef shifted(Llvm *l, LLVMOpcode op, LLVMValueRef x, LLVMTypeRef halves, int by) {
    LLVMValueRef bits[32];
    for (int i = 0; i < 2 * l->target->width; i++)
        bits[i] = LLVMConstInt(l->i16, (unsigned)by, false);
    LLVMValueRef count = LLVMConstVector(bits, 2 * (unsigned)l->target->width);
    return LLVMBuildBinOp(l->builder, op, LLVMBuildBitCast(l->builder, x, halves, ""), count, "");
}

/* Bytes 0 and 2 of every lane, then bytes 1 and 3, as halves. */
static LLVMValueRef dot4_x86(Llvm *l, LLVMValueRef x, LLVMValueRef y, LLVMValueRef sum, const char *name) {
    LLVMTypeRef halves = LLVMVectorType(l->i16, 2 * (unsigned)l->target->width);
    if (l->target->dot4) {
        LLVMValueRef args[] = { sum, x, y };
        return emit_llvm_intrinsic(l, "llvm.x86.avx512.vpdpbusd.512", NULL, 0, args, 3, name);
    }
    LLVMValueRef even_x = shifted(l, LLVMLShr, shifted(l, LLVMShl, x, halves, 8), halves, 8);
    LLVMValueRef even_y = shifted(l, LLVMAShr, shifted(l, LLVMShl, y, halves, 8), halves, 8);
    LLVMValueRef even = pair_products(l, even_x, even_y);
    LLVMValueRef odd = pair_products(l, shifted(l, LLVMLShr, x, halves, 8), shifted(l, LLVMAShr, y, halves, 8));
    return LLVMBuildAdd(l->builder, sum, LLVMBuildAdd(l->builder, even, odd, ""), name);
}

static LLVMValueRef dot4(Llvm *l, LLVMValueRef x, LLVMValueRef y, LLVMValueRef sum, bool vector, const char *name) {
    if (vector && l->processor == PROCESSOR_X86)
        return dot4_x86(l, x, y, sum, name);
    for (int k = 0; k < 32; k += 8) {
        LLVMValueRef by[] = { LLVMConstInt(l->i32, (unsigned)k, false), LLVMConstInt(l->i32, (unsigned)(24 - k), false) };
        LLVMValueRef top = LLVMConstInt(l->i32, 24, false), mask = LLVMConstInt(l->i32, 255, false);
        LLVMValueRef a = LLVMBuildAnd(l->builder, LLVMBuildLShr(l->builder, x, vector ? repeat(l, by[0]) : by[0], ""), vector ? repeat(l, mask) : mask, "");
        LLVMValueRef b = LLVMBuildShl(l->builder, y, vector ? repeat(l, by[1]) : by[1], "");
        b = LLVMBuildAShr(l->builder, b, vector ? repeat(l, top) : top, "");
        sum = LLVMBuildAdd(l->builder, sum, LLVMBuildMul(l->builder, a, b, ""), k == 24 ? name : "");
    }
    return sum;
}

/* ---- operations that LLVM has in parts ---- */

static LLVMValueRef fused(Llvm *l, LLVMValueRef x, LLVMValueRef y, LLVMValueRef z, bool negated, const char *name) {
    LLVMBuilderRef b = l->builder;
    if (l->target->fma) {
        LLVMValueRef args[] = { negated ? LLVMBuildFNeg(b, x, "") : x, y, z };
        return call_typed(l, "llvm.fma", LLVMTypeOf(x), args, 3, name);
    }
    LLVMValueRef product = LLVMBuildFMul(b, x, y, "");
    return negated ? LLVMBuildFSub(b, z, product, name) : LLVMBuildFAdd(b, product, z, name);
}

static LLVMValueRef choose(Llvm *l, LLVMRealPredicate compare, LLVMValueRef x, LLVMValueRef y, const char *name) {
    return LLVMBuildSelect(l->builder, LLVMBuildFCmp(l->builder, compare, x, y, ""), x, y, name);
}

static LLVMValueRef high_product(Llvm *l, LLVMValueRef x, LLVMValueRef y, bool vector, const char *name) {
    LLVMBuilderRef b = l->builder;
    LLVMTypeRef wide = vector ? l->i64v : l->i64;
    LLVMValueRef bits = LLVMConstInt(l->i64, 32, false);
    LLVMValueRef wide_x = LLVMBuildZExt(b, x, wide, ""), wide_y = LLVMBuildZExt(b, y, wide, "");
    LLVMValueRef product = LLVMBuildMul(b, wide_x, wide_y, "");
    return LLVMBuildTrunc(b, LLVMBuildLShr(b, product, vector ? repeat(l, bits) : bits, ""), vector ? l->i32v : l->i32, name);
}

/* Lanes first .. first + count of a vector. */
static LLVMValueRef lanes_of(Llvm *l, LLVMValueRef x, int first, int count) {
    LLVMValueRef mask[16];
    for (int i = 0; i < count; i++)
        mask[i] = emit_llvm_i32(l, first + i);
    return LLVMBuildShuffleVector(l->builder, x, LLVMGetPoison(LLVMTypeOf(x)), LLVMConstVector(mask, (unsigned)count), "");
}

/* The lower or the upper halves in turn. */
static LLVMValueRef zip(Llvm *l, LLVMValueRef x, LLVMValueRef y, bool upper, const char *name) {
    LLVMValueRef mask[16];
    int width = l->target->width;
    for (int i = 0; i < width; i++)
        mask[i] = emit_llvm_i32(l, i / 2 + i % 2 * width + upper * width / 2);
    return LLVMBuildShuffleVector(l->builder, x, y, LLVMConstVector(mask, (unsigned)width), name);
}

/* The upper half added to the lower half until one lane is left. */
static LLVMValueRef across(Llvm *l, LLVMValueRef x, bool sum, const char *name) {
    for (int half = l->target->width / 2; half >= 1; half /= 2) {
        LLVMValueRef low = lanes_of(l, x, 0, half), high = lanes_of(l, x, half, half);
        x = sum ? LLVMBuildFAdd(l->builder, low, high, "") : choose(l, LLVMRealOGT, low, high, "");
    }
    return LLVMBuildExtractElement(l->builder, x, emit_llvm_i64(l, 0), name);
}

/* Lane by lane, for LLVM to see what it is where the numbers are constants. */
static LLVMValueRef take_lanes(Llvm *l, LLVMValueRef x, LLVMValueRef y, const char *name) {
    LLVMValueRef r = LLVMGetPoison(LLVMTypeOf(x));
    for (int i = 0; i < l->target->width; i++) {
        LLVMValueRef from = LLVMBuildExtractElement(l->builder, y, emit_llvm_i64(l, i), "");
        LLVMValueRef lane = LLVMBuildExtractElement(l->builder, x, from, "");
        r = LLVMBuildInsertElement(l->builder, r, lane, emit_llvm_i64(l, i), i + 1 < l->target->width ? "" : name);
    }
    return r;
}

static LLVMValueRef take(Llvm *l, LLVMValueRef x, LLVMValueRef y, const char *name) {
    static const char *const names[] = { "llvm.x86.avx.vpermilvar.ps", "llvm.x86.avx2.permps", "llvm.x86.avx512.permvar.sf.512" };
    LLVMValueRef args[] = { x, y };
    if (l->processor != PROCESSOR_X86 || !l->target->fma)
        return take_lanes(l, x, y, name);
    return emit_llvm_intrinsic(l, names[l->target->width / 8], NULL, 0, args, 2, name);
}

/* ---- the table ---- */

typedef enum { BINARY, FLOATS_COMPARED, INTEGERS_COMPARED } Family;
typedef struct { KOp op; Family family; int code; } Row;
static const Row rows[] = {
    { KOP_FADD, BINARY, LLVMFAdd }, { KOP_FSUB, BINARY, LLVMFSub }, { KOP_FMUL, BINARY, LLVMFMul }, { KOP_FDIV, BINARY, LLVMFDiv },
    { KOP_FLT, FLOATS_COMPARED, LLVMRealOLT }, { KOP_FLE, FLOATS_COMPARED, LLVMRealOLE }, { KOP_FEQ, FLOATS_COMPARED, LLVMRealOEQ },
    { KOP_ILT, INTEGERS_COMPARED, LLVMIntSLT }, { KOP_IEQ, INTEGERS_COMPARED, LLVMIntEQ },
    { KOP_MAND, BINARY, LLVMAnd }, { KOP_MOR, BINARY, LLVMOr },
    { KOP_IADD, BINARY, LLVMAdd }, { KOP_ISUB, BINARY, LLVMSub }, { KOP_IMUL, BINARY, LLVMMul },
    { KOP_IAND, BINARY, LLVMAnd }, { KOP_IOR, BINARY, LLVMOr }, { KOP_IXOR, BINARY, LLVMXor },
    { KOP_ISHL, BINARY, LLVMShl }, { KOP_ISHR, BINARY, LLVMLShr }, { KOP_ISAR, BINARY, LLVMAShr },
};

static LLVMValueRef by_table(Llvm *l, KOp op, LLVMValueRef x, LLVMValueRef y, const char *name) {
    for (int i = 0; i < COUNT(rows); i++) {
        if (rows[i].op != op)
            continue;
        switch (rows[i].family) {
        case BINARY: return LLVMBuildBinOp(l->builder, (LLVMOpcode)rows[i].code, x, y, name);
        case FLOATS_COMPARED: return LLVMBuildFCmp(l->builder, (LLVMRealPredicate)rows[i].code, x, y, name);
        case INTEGERS_COMPARED: return LLVMBuildICmp(l->builder, (LLVMIntPredicate)rows[i].code, x, y, name);
        }
    }
    return NULL;
}

LLVMValueRef emit_llvm_operation(LlvmKernel *e, const Stm *s, const char *name) {
    Llvm *l = e->l;
    LLVMValueRef arg[3] = { NULL };
    for (int i = 0; i < kop_info[s->op].args; i++)
        arg[i] = emit_llvm_get(e, s->arg[i]);
    LLVMValueRef x = arg[0], y = arg[1], z = arg[2], simple = by_table(l, s->op, x, y, name);
    bool vector = e->k->regs[s->arg[0]].vector;
    LLVMTypeRef result = emit_llvm_type(l, e->k->regs[s->dst]);
    if (simple)
        return simple;
    switch (s->op) {
    case KOP_MOVE: return x;
    case KOP_FMA: return fused(l, x, y, z, false, name);
    case KOP_FNMA: return fused(l, x, y, z, true, name);
    case KOP_FSQRT: return call_typed(l, "llvm.sqrt", result, &x, 1, name);
    case KOP_RSQRT_EST: return rsqrt(l, x, vector, name);
    case KOP_FNEG: return LLVMBuildFNeg(l->builder, x, name);
    case KOP_FABS: return call_typed(l, "llvm.fabs", result, &x, 1, name);
    case KOP_FMIN: return choose(l, LLVMRealOLT, x, y, name);
    case KOP_FMAX: return choose(l, LLVMRealOGT, x, y, name);
    case KOP_MNOT: return LLVMBuildNot(l->builder, x, name);
    case KOP_SELECT: return LLVMBuildSelect(l->builder, x, y, z, name);
    case KOP_ROUND: return round_even(l, x, vector, name);
    case KOP_I2F: return LLVMBuildSIToFP(l->builder, x, result, name);
    case KOP_BITS:
    case KOP_FLOAT: return LLVMBuildBitCast(l->builder, x, result, name);
    case KOP_IMULHI: return high_product(l, x, y, vector, name);
    case KOP_DOT4: return dot4(l, x, y, z, vector, name);
    case KOP_SPLAT: return emit_llvm_splat(l, x, name);
    case KOP_ZIP_LOW: return zip(l, x, y, false, name);
    case KOP_ZIP_HIGH: return zip(l, x, y, true, name);
    case KOP_TAKE: return take(l, x, y, name);
    case KOP_HFMA: return call_typed(l, "llvm.fma", result, arg, 3, name);
    case KOP_HLOW: return LLVMBuildFPExt(l->builder, lanes_of(l, x, 0, l->target->width), l->f32v, name);
    case KOP_HHIGH: return LLVMBuildFPExt(l->builder, lanes_of(l, x, l->target->width, l->target->width), l->f32v, name);
    case KOP_HSUM: return across(l, x, true, name);
    case KOP_HMAX: return across(l, x, false, name);
    default: assert(!"an operation without a form in LLVM"); return NULL;
    }
}
