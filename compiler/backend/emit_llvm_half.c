/* emit_llvm_half.c - floats of 16 bits in memory: what support/half.h says, as instructions.
 * Processors that convert binary16 by an instruction are asked for it; elsewhere, and for bfloat16, integers do it. x86's own
 * narrowing to bfloat16 takes denormals for zero, so it is not used. */
#include "backend/emit_llvm_kernel.h"

typedef struct { Llvm *l; LLVMBuilderRef b; LLVMTypeRef i32, f32, i16; bool vector; } Half;

static Half half(Llvm *l, bool vector) {
    LLVMTypeRef narrow = vector ? LLVMVectorType(l->i16, (unsigned)l->target->width) : l->i16;
    return (Half){ l, l->builder, vector ? l->i32v : l->i32, vector ? l->f32v : l->f32, narrow, vector };
}

static LLVMValueRef splat(const Half *h, LLVMValueRef one) {
    LLVMValueRef lanes[16];
    for (int i = 0; i < h->l->target->width; i++)
        lanes[i] = one;
    return h->vector ? LLVMConstVector(lanes, (unsigned)h->l->target->width) : one;
}

static LLVMValueRef number(const Half *h, uint32_t bits) { return splat(h, LLVMConstInt(h->l->i32, bits, false)); }
static LLVMValueRef real(const Half *h, double x) { return splat(h, LLVMConstReal(h->l->f32, x)); }
static LLVMValueRef as_int(const Half *h, LLVMValueRef x) { return LLVMBuildBitCast(h->b, x, h->i32, ""); }
static LLVMValueRef as_float(const Half *h, LLVMValueRef x) { return LLVMBuildBitCast(h->b, x, h->f32, ""); }
static LLVMValueRef add(const Half *h, LLVMValueRef x, LLVMValueRef y) { return LLVMBuildAdd(h->b, x, y, ""); }
static LLVMValueRef both(const Half *h, LLVMValueRef x, uint32_t mask) { return LLVMBuildAnd(h->b, x, number(h, mask), ""); }
static LLVMValueRef either(const Half *h, LLVMValueRef x, LLVMValueRef y) { return LLVMBuildOr(h->b, x, y, ""); }
static LLVMValueRef left(const Half *h, LLVMValueRef x, int by) { return LLVMBuildShl(h->b, x, number(h, (uint32_t)by), ""); }
static LLVMValueRef right(const Half *h, LLVMValueRef x, int by) { return LLVMBuildLShr(h->b, x, number(h, (uint32_t)by), ""); }

/* x < bound ? yes : no */
static LLVMValueRef below(const Half *h, LLVMValueRef x, uint32_t bound, LLVMValueRef yes, LLVMValueRef no) {
    return LLVMBuildSelect(h->b, LLVMBuildICmp(h->b, LLVMIntULT, x, number(h, bound), ""), yes, no, "");
}

/* The half of x above bit `bits`, rounded to even there. */
static LLVMValueRef rounded(const Half *h, LLVMValueRef x, int bits) {
    LLVMValueRef odd = both(h, right(h, x, bits), 1), up = add(h, x, number(h, (1u << (bits - 1)) - 1));
    return right(h, add(h, up, odd), bits);
}

static bool has_halves(const Llvm *l) {
    return l->processor == PROCESSOR_AARCH64 || (l->processor == PROCESSOR_X86 && l->target->fma);
}

static LLVMTypeRef half_type(const Half *h) {
    LLVMTypeRef one = LLVMHalfTypeInContext(h->l->context);
    return h->vector ? LLVMVectorType(one, (unsigned)h->l->target->width) : one;
}

static LLVMValueRef from_f16(const Half *h, LLVMValueRef x) {
    LLVMValueRef rest = both(h, x, 0x7fff), sign = left(h, both(h, x, 0x8000), 16);
    LLVMValueRef small = as_int(h, LLVMBuildFMul(h->b, LLVMBuildSIToFP(h->b, rest, h->f32, ""), real(h, 0x1p-24), ""));
    LLVMValueRef normal = add(h, left(h, rest, 13), number(h, 0x38000000)), other = add(h, normal, number(h, 0x38000000));
    other = below(h, rest, 0x7c01, other, either(h, other, number(h, 0x400000)));
    return as_float(h, either(h, sign, below(h, rest, 0x400, small, below(h, rest, 0x7c00, normal, other))));
}

static LLVMValueRef to_f16(const Half *h, LLVMValueRef x) {
    LLVMValueRef u = as_int(h, x), rest = both(h, u, 0x7fffffff), sign = both(h, right(h, u, 16), 0x8000);
    LLVMValueRef lifted = as_int(h, LLVMBuildFAdd(h->b, as_float(h, rest), real(h, 0.5), ""));
    LLVMValueRef small = add(h, lifted, number(h, 0u - 0x3f000000u));
    LLVMValueRef normal = rounded(h, add(h, rest, number(h, 0u - 0x38000000u)), 13);
    LLVMValueRef nan = either(h, number(h, 0x7e00), both(h, right(h, rest, 13), 0x3ff));
    LLVMValueRef other = below(h, rest, 0x7f800001, number(h, 0x7c00), nan);
    return either(h, sign, below(h, rest, 0x38800000, small, below(h, rest, 0x477ff000, normal, other)));
}

static LLVMValueRef to_bf16(const Half *h, LLVMValueRef x) {
    LLVMValueRef u = as_int(h, x), rest = both(h, u, 0x7fffffff);
    return below(h, rest, 0x7f800001, rounded(h, u, 16), either(h, right(h, u, 16), number(h, 0x40)));
}

LLVMValueRef emit_llvm_widen(Llvm *l, Store store, LLVMValueRef x, bool vector) {
    Half h = half(l, vector);
    if (store == STORE_F16 && has_halves(l))
        return LLVMBuildFPExt(h.b, LLVMBuildBitCast(h.b, x, half_type(&h), ""), h.f32, "");
    LLVMValueRef wide = LLVMBuildZExt(h.b, x, h.i32, "");
    return store == STORE_F16 ? from_f16(&h, wide) : as_float(&h, left(&h, wide, 16));
}

LLVMValueRef emit_llvm_narrow(Llvm *l, Store store, LLVMValueRef x, bool vector) {
    Half h = half(l, vector);
    if (store == STORE_F16 && has_halves(l))
        return LLVMBuildBitCast(h.b, LLVMBuildFPTrunc(h.b, x, half_type(&h), ""), h.i16, "");
    return LLVMBuildTrunc(h.b, store == STORE_F16 ? to_f16(&h, x) : to_bf16(&h, x), h.i16, "");
}
