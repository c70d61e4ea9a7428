/* emit_llvm_kernel.c - one kernel as one function.
 *
 * A register that is set once and used in its own block is a value; any other lives in memory of the function, which
 * LLVM's first pass turns into values. Loops say that they are to be left as they are: register tiles, their order and
 * what is kept in the cache are chosen before. Buffers that no call lets overlap are told apart by scopes. */
#include "backend/emit_llvm_kernel.h"

#include <stdio.h>
#include <string.h>

/* ---- where registers are set and used ---- */

static bool sets_register(const Stm *s) {
    return s->kind == STM_CONST || s->kind == STM_IOTA || s->kind == STM_FROM_INDEX || s->kind == STM_RUN || s->kind == STM_OP ||
           s->kind == STM_LOAD;
}

static int new_scope(LlvmKernel *e) {
    ARENA_PUSH(e->l->arena, e->scope_end, e->scope_count, e->scope_cap, 0);
    return e->scope_count - 1;
}

static void note_set(LlvmKernel *e, Reg r, int scope) {
    if (!e->reg[r].sets++)
        e->reg[r].scope = scope;
}

/* Blocks are met in the same order by every walk over the kernel. */
static void find_sets(LlvmKernel *e, const Stm *list, int scope) {
    for (const Stm *s = list; s; s = s->next) {
        if (sets_register(s))
            note_set(e, s->dst, scope);
        if (s->kind == STM_OPAQUE)
            e->laundered[s->buffer] = true;
        if (s->kind == STM_LOOP || s->kind == STM_IF)
            find_sets(e, s->body, new_scope(e));
    }
    e->scope_end[scope] = e->scope_count;
}

static void note_use(LlvmKernel *e, Reg r, int scope) {
    if (r >= 0 && (scope < e->reg[r].scope || scope >= e->scope_end[e->reg[r].scope]))
        e->reg[r].escapes = true;
}

static void find_uses(LlvmKernel *e, const Stm *list, int scope) {
    for (const Stm *s = list; s; s = s->next) {
        int args = s->kind == STM_OP ? kop_info[s->op].args : s->kind == STM_STORE || s->kind == STM_ADD_TO;
        for (int i = 0; i < args; i++)
            note_use(e, s->arg[i], scope);
        if (s->buffer >= 0)
            e->used[s->buffer] = true;
        if (s->kind == STM_PRODUCT)
            e->used[s->product->a] = e->used[s->product->b] = e->used[s->product->c] = true;
        if (s->kind == STM_LOOP || s->kind == STM_IF)
            find_uses(e, s->body, ++e->scope_next);
    }
}

/* ---- parts ---- */

LLVMTypeRef emit_llvm_type(const Llvm *l, RegType t) {
    if (t.elem == ELEM_MASK)
        return t.vector ? l->i1v : l->i1;
    if (t.elem == ELEM_I32)
        return t.vector ? l->i32v : l->i32;
    if (t.elem == ELEM_F16)
        return l->f16v;
    return t.vector ? l->f32v : l->f32;
}

LLVMValueRef emit_llvm_get(LlvmKernel *e, Reg r) {
    const LlvmReg *reg = &e->reg[r];
    return reg->slot ? LLVMBuildLoad2(e->l->builder, emit_llvm_type(e->l, e->k->regs[r]), reg->slot, "") : reg->value;
}

/* Register tiles ask for the same few values again and again; the last ones are enough. */
LLVMValueRef emit_llvm_recall(const LlvmKernel *e, LLVMValueRef base, LLVMValueRef factor, int64_t coef) {
    enum { LOOK_BACK = 64 };
    for (int i = e->memo_count - 1; i >= 0 && i >= e->memo_count - LOOK_BACK; i--)
        if (e->memo[i].base == base && e->memo[i].factor == factor && e->memo[i].coef == coef)
            return e->memo[i].value;
    return NULL;
}

LLVMValueRef emit_llvm_remember(LlvmKernel *e, LLVMValueRef base, LLVMValueRef factor, int64_t coef, LLVMValueRef value) {
    LlvmMemo memo = { base, factor, coef, value };
    ARENA_PUSH(e->l->arena, e->memo, e->memo_count, e->memo_cap, memo);
    return value;
}

/* base + factor * coef; base may be NULL. */
static LLVMValueRef add_term(LlvmKernel *e, LLVMValueRef base, LLVMValueRef factor, int64_t coef, const char *name) {
    LLVMBuilderRef b = e->l->builder;
    if (!base && coef == 1)
        return factor;
    LLVMValueRef known = emit_llvm_recall(e, base, factor, coef);
    if (known)
        return known;
    LLVMValueRef term = coef == 1 ? factor : LLVMBuildNSWMul(b, factor, emit_llvm_i64(e->l, coef), "");
    return emit_llvm_remember(e, base, factor, coef, base ? LLVMBuildNSWAdd(b, base, term, name) : term);
}

LLVMValueRef emit_llvm_index(LlvmKernel *e, const Index *x, const char *name) {
    LLVMBuilderRef b = e->l->builder;
    LLVMValueRef sum = NULL;
    for (int i = 0; i < x->count; i++)
        sum = add_term(e, sum, e->var[x->term[i].var], x->term[i].coef, i + 1 == x->count && !x->base ? name : "");
    if (!sum)
        return emit_llvm_i64(e->l, x->base);
    return x->base ? LLVMBuildNSWAdd(b, sum, emit_llvm_i64(e->l, x->base), name) : sum;
}

/* The names of the C back end: s float, v vector of floats, i integer, w vector of integers, m mask, p vector mask. */
static const char *reg_name(LlvmKernel *e, Reg r, char *text, size_t size) {
    static const char letter[2][4] = { { 's', 'i', 'm', 'h' }, { 'v', 'w', 'p', 'h' } };
    RegType t = e->k->regs[r];
    snprintf(text, size, "%c%d", letter[t.vector][t.elem], r);
    return text;
}

static LLVMValueRef run_field(LlvmKernel *e, AbiField field, int element, LLVMTypeRef type, const char *name) {
    Llvm *l = e->l;
    LLVMValueRef p = LLVMBuildStructGEP2(l->builder, l->structs[ABI_RUN], e->run, (unsigned)emit_llvm_field(field), "");
    if (element) {
        LLVMValueRef at = emit_llvm_i64(l, element);
        p = LLVMBuildGEP2(l->builder, type, p, &at, 1, "");
    }
    return LLVMBuildLoad2(l->builder, type, p, name);
}

/* ---- statements that set ---- */

static LLVMValueRef run_scalar(LlvmKernel *e, RunScalar s, const char *name) {
    static const struct { AbiField field; int element; bool whole; } scalars[RUN_SCALARS] = {
        [RUN_BATCH] = { ABI_RUN_batch, 0, false }, [RUN_STEP] = { ABI_RUN_step, 0, false }, [RUN_LR] = { ABI_RUN_lr, 0, false },
        [RUN_SMOOTHING] = { ABI_RUN_smoothing, 0, false }, [RUN_STEP_COUNT] = { ABI_RUN_step_count, 0, true },
        [RUN_SEED0] = { ABI_RUN_seed, 0, true }, [RUN_SEED1] = { ABI_RUN_seed, 1, true },
    };
    return run_field(e, scalars[s].field, scalars[s].element, scalars[s].whole ? e->l->i32 : e->l->f32, name);
}

static LLVMValueRef value_of(LlvmKernel *e, const Stm *s, const char *name) {
    switch (s->kind) {
    case STM_CONST: return emit_llvm_constant(e, s);
    case STM_IOTA: return emit_llvm_iota(e->l, e->l->i32, 1);
    case STM_FROM_INDEX: return LLVMBuildTrunc(e->l->builder, emit_llvm_index(e, &s->index, ""), e->l->i32, name);
    case STM_RUN: return run_scalar(e, s->scalar, name);
    case STM_OP: return emit_llvm_operation(e, s, name);
    default: return emit_llvm_load(e, s, name);
    }
}

static void emit_set(LlvmKernel *e, const Stm *s) {
    char name[16];
    LlvmReg *r = &e->reg[s->dst];
    LLVMValueRef value = value_of(e, s, reg_name(e, s->dst, name, sizeof name));
    if (r->slot)
        LLVMBuildStore(e->l->builder, value, r->slot);
    else
        r->value = value;
}

/* floor(a / d), a mod d for positive d. */
static LLVMValueRef divide(LlvmKernel *e, const Stm *s, LLVMValueRef a, LLVMValueRef d, const char *name) {
    Llvm *l = e->l;
    LLVMValueRef zero = emit_llvm_i64(l, 0), rest = LLVMBuildSRem(l->builder, a, d, "");
    LLVMValueRef below = LLVMBuildICmp(l->builder, LLVMIntSLT, rest, zero, "");
    if (s->index_op == INDEX_MOD)
        return LLVMBuildNSWAdd(l->builder, rest, LLVMBuildSelect(l->builder, below, d, zero, ""), name);
    LLVMValueRef quotient = LLVMBuildSDiv(l->builder, a, d, ""), correction = LLVMBuildSExt(l->builder, below, l->i64, "");
    return LLVMBuildNSWAdd(l->builder, quotient, correction, name);
}

static void emit_index_set(LlvmKernel *e, const Stm *s) {
    Llvm *l = e->l;
    const char *name = e->k->vars[s->var];
    if (s->index_op == INDEX_LOAD) {
        e->var[s->var] = emit_llvm_load_index(e, s);
        return;
    }
    LLVMValueRef args[] = { emit_llvm_index(e, &s->begin, name), NULL };
    if (s->index_op != INDEX_AFFINE)
        args[1] = emit_llvm_index(e, &s->end, "");
    switch (s->index_op) {
    case INDEX_DIV:
    case INDEX_MOD: e->var[s->var] = divide(e, s, args[0], args[1], name); break;
    case INDEX_MIN: e->var[s->var] = emit_llvm_intrinsic(l, "llvm.smin", &l->i64, 1, args, 2, name); break;
    case INDEX_MAX: e->var[s->var] = emit_llvm_intrinsic(l, "llvm.smax", &l->i64, 1, args, 2, name); break;
    default: e->var[s->var] = args[0]; break;
    }
}

/* ---- statements that do ---- */

static void emit_prefetch(LlvmKernel *e, const Stm *s) {
    Llvm *l = e->l;
    int locality = s->value >= 1 && s->value <= 3 ? 4 - s->value : 3;
    LLVMValueRef args[] = { emit_llvm_address(e, s->buffer, &s->index), emit_llvm_i32(l, 0), emit_llvm_i32(l, locality), emit_llvm_i32(l, 1) };
    emit_llvm_intrinsic(l, "llvm.prefetch", &l->ptr, 1, args, 4, "");
}

/* The pointer passes through an empty instruction: what was known of its address is forgotten. */
static void emit_opaque(LlvmKernel *e, const Stm *s) {
    static const char constraints[] = "=r,0";
    Llvm *l = e->l;
    LLVMTypeRef type = LLVMFunctionType(l->ptr, &l->ptr, 1, false);
    LLVMValueRef launder = LLVMGetInlineAsm(type, "", 0, (char *)constraints, sizeof constraints - 1, true, false, LLVMInlineAsmDialectATT, false);
    LLVMValueRef before = LLVMBuildLoad2(l->builder, l->ptr, e->buffer[s->buffer], "");
    LLVMBuildStore(l->builder, LLVMBuildCall2(l->builder, type, launder, &before, 1, e->k->buffers[s->buffer].name), e->buffer[s->buffer]);
}

static LLVMValueRef buffer_start(LlvmKernel *e, int buffer) {
    Index zero = { 0 };
    return emit_llvm_address(e, buffer, &zero);
}

/* By CBLAS, row-major. */
static void emit_product(LlvmKernel *e, const Product *p) {
    enum { ROW_MAJOR = 101, AS_IS = 111, TRANSPOSED = 112, ARGUMENTS = 14 };
    Llvm *l = e->l;
    LLVMTypeRef i = l->i32, f = l->f32, v = l->ptr, types[ARGUMENTS] = { i, i, i, i, i, i, f, v, i, v, i, f, v, i };
    LLVMTypeRef type = LLVMFunctionType(l->none, types, ARGUMENTS, false);
    LLVMValueRef m = LLVMBuildTrunc(l->builder, emit_llvm_index(e, &p->m, ""), i, ""), k = LLVMBuildTrunc(l->builder, emit_llvm_index(e, &p->k, ""), i, "");
    LLVMValueRef a_start = buffer_start(e, p->a), b_start = buffer_start(e, p->b), c_start = buffer_start(e, p->c);
    LLVMValueRef args[ARGUMENTS] = {
        emit_llvm_i32(l, ROW_MAJOR), emit_llvm_i32(l, p->a_transposed ? TRANSPOSED : AS_IS), emit_llvm_i32(l, p->b_transposed ? TRANSPOSED : AS_IS),
        m, emit_llvm_i32(l, p->n), k, LLVMConstReal(f, 1), a_start, emit_llvm_i32(l, p->lda),
        b_start, emit_llvm_i32(l, p->ldb), LLVMConstReal(f, 0), c_start, emit_llvm_i32(l, p->ldc),
    };
    LLVMBuildCall2(l->builder, type, emit_llvm_function(l, "cblas_sgemm", type), args, ARGUMENTS, "");
}

/* ---- loops and conditions ---- */

static LLVMMetadataRef loop_property(Llvm *l, const char *name, LLVMValueRef value) {
    LLVMMetadataRef parts[] = { LLVMMDStringInContext2(l->context, name, strlen(name)), value ? LLVMValueAsMetadata(value) : NULL };
    return LLVMMDNodeInContext2(l->context, parts, value ? 2 : 1);
}

/* A loop is known by a node that names itself first; what follows keeps LLVM from unrolling, vectorizing and splitting it. */
static LLVMValueRef loop_properties(Llvm *l) {
    LLVMMetadataRef self = LLVMTemporaryMDNode(l->context, NULL, 0);
    LLVMMetadataRef parts[] = {
        self, loop_property(l, "llvm.loop.mustprogress", NULL), loop_property(l, "llvm.loop.unroll.disable", NULL),
        loop_property(l, "llvm.loop.unroll_and_jam.disable", NULL),
        loop_property(l, "llvm.loop.vectorize.enable", LLVMConstInt(l->i1, 0, false)),
        loop_property(l, "llvm.loop.distribute.enable", LLVMConstInt(l->i1, 0, false)),
        loop_property(l, "llvm.loop.licm_versioning.disable", NULL),
    };
    LLVMMetadataRef node = LLVMMDNodeInContext2(l->context, parts, COUNT(parts));
    LLVMMetadataReplaceAllUsesWith(self, node);
    return LLVMMetadataAsValue(l->context, node);
}

static LLVMBasicBlockRef new_block(LlvmKernel *e, const char *name) {
    return LLVMAppendBasicBlockInContext(e->l->context, e->function, name);
}

static void emit_block(LlvmKernel *e, const Stm *list);

/* A loop that is known to run once at least is tested at its end only. */
static void emit_loop(LlvmKernel *e, const Stm *s) {
    Llvm *l = e->l;
    LLVMBuilderRef b = l->builder;
    const char *name = e->k->vars[s->var];
    int64_t first = 0, last = 0;
    bool runs = index_is_const(&s->begin, &first) && index_is_const(&s->end, &last) && first < last;
    LLVMValueRef begin = emit_llvm_index(e, &s->begin, ""), end = emit_llvm_index(e, &s->end, ""), back;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(b), body = new_block(e, name), after = new_block(e, "");
    if (runs)
        LLVMBuildBr(b, body);
    else
        LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, begin, end, ""), body, after);
    LLVMPositionBuilderAtEnd(b, body);
    LLVMValueRef var = LLVMBuildPhi(b, l->i64, name);
    e->var[s->var] = var;
    emit_block(e, s->body);
    LLVMValueRef next = LLVMBuildNSWAdd(b, var, emit_llvm_i64(l, s->step), "");
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(b);
    back = LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, next, end, ""), body, after);
    LLVMSetMetadata(back, e->loop_kind, loop_properties(l));
    LLVMAddIncoming(var, (LLVMValueRef[]){ begin, next }, (LLVMBasicBlockRef[]){ before, latch }, 2);
    LLVMMoveBasicBlockAfter(after, latch);
    LLVMPositionBuilderAtEnd(b, after);
}

static void emit_if(LlvmKernel *e, const Stm *s) {
    LLVMBuilderRef b = e->l->builder;
    LLVMBasicBlockRef then = new_block(e, "if"), after = new_block(e, "");
    LLVMValueRef begin = emit_llvm_index(e, &s->begin, ""), end = emit_llvm_index(e, &s->end, "");
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, begin, end, ""), then, after);
    LLVMPositionBuilderAtEnd(b, then);
    emit_block(e, s->body);
    LLVMBuildBr(b, after);
    LLVMMoveBasicBlockAfter(after, LLVMGetInsertBlock(b));
    LLVMPositionBuilderAtEnd(b, after);
}

static void emit_block(LlvmKernel *e, const Stm *list) {
    int known = e->memo_count;
    for (const Stm *s = list; s; s = s->next) {
        switch (s->kind) {
        case STM_LOOP: emit_loop(e, s); break;
        case STM_IF: emit_if(e, s); break;
        case STM_INDEX: emit_index_set(e, s); break;
        case STM_STORE:
        case STM_ADD_TO: emit_llvm_store(e, s); break;
        case STM_OPAQUE: emit_opaque(e, s); break;
        case STM_PREFETCH: emit_prefetch(e, s); break;
        case STM_PRODUCT: emit_product(e, s->product); break;
        case STM_COUNT: break;
        default: emit_set(e, s); break;
        }
    }
    e->memo_count = known;
}

/* ---- what may alias ---- */

/* A scope per buffer that something is known about. */
static void make_scopes(LlvmKernel *e, const bool *may_alias) {
    Llvm *l = e->l;
    int count = e->k->buffer_count;
    LLVMMetadataRef *scope = NEW_ARRAY(l->arena, LLVMMetadataRef, count + 1), *others = NEW_ARRAY(l->arena, LLVMMetadataRef, count + 1);
    LLVMMetadataRef domain_name = LLVMMDStringInContext2(l->context, e->k->name, strlen(e->k->name));
    LLVMMetadataRef domain = LLVMMDNodeInContext2(l->context, &domain_name, 1);
    for (int i = 0; i < count; i++) {
        const char *name = e->k->buffers[i].name;
        LLVMMetadataRef parts[] = { LLVMMDStringInContext2(l->context, name, strlen(name)), domain };
        scope[i] = LLVMMDNodeInContext2(l->context, parts, COUNT(parts));
        e->scope_list[i] = LLVMMDNodeInContext2(l->context, &scope[i], 1);
    }
    for (int i = 0; i < count; i++) {
        int n = 0;
        for (int j = 0; j < count; j++)
            if (j != i && !may_alias[i * count + j])
                others[n++] = scope[j];
        if (n)
            e->noalias_list[i] = LLVMMDNodeInContext2(l->context, others, (size_t)n);
    }
}

/* ---- the function ---- */

static LLVMMetadataRef file_node(Llvm *l, const SourceFile *file) {
    for (int i = 0; i < l->file_count; i++)
        if (l->files[i] == file)
            return l->file_nodes[i];
    LLVMMetadataRef node = LLVMDIBuilderCreateFile(l->debug, file->name, strlen(file->name), "", 0);
    int cap = l->file_cap;
    ARENA_PUSH(l->arena, l->file_nodes, l->file_count, cap, node);
    l->file_count--;
    ARENA_PUSH(l->arena, l->files, l->file_count, l->file_cap, file);
    return node;
}

/* The kernel belongs to the line of the layer it was made from. */
static void set_place(LlvmKernel *e) {
    Llvm *l = e->l;
    const Kernel *k = e->k;
    LLVMSetCurrentDebugLocation2(l->builder, NULL);
    if (!k->span.file)
        return;
    unsigned line = (unsigned)source_line(k->span.file, k->span.begin);
    LLVMMetadataRef file = file_node(l, k->span.file), type = LLVMDIBuilderCreateSubroutineType(l->debug, file, NULL, 0, LLVMDIFlagZero);
    LLVMMetadataRef function = LLVMDIBuilderCreateFunction(l->debug, file, k->name, strlen(k->name), NULL, 0, file, line, type, !l->part.apart, true,
                                                           line, LLVMDIFlagZero, true);
    LLVMSetSubprogram(e->function, function);
    LLVMSetCurrentDebugLocation2(l->builder, LLVMDIBuilderCreateDebugLocation(l->context, line, 0, function, NULL));
}

LLVMValueRef emit_llvm_kernel_name(Llvm *l, const Kernel *k) {
    LLVMValueRef f = emit_llvm_function(l, arena_printf(l->arena, "kernel_%s", k->name), l->kernel_type);
    LLVMSetLinkage(f, l->part.apart ? LLVMExternalLinkage : LLVMInternalLinkage);
    return f;
}

static void make_function(LlvmKernel *e) {
    static const char *const names[] = { "arg", "run", "task" };
    Llvm *l = e->l;
    e->function = emit_llvm_kernel_name(l, e->k);
    for (int i = 0; i < COUNT(names); i++)
        LLVMSetValueName2(LLVMGetParam(e->function, (unsigned)i), names[i], strlen(names[i]));
    LLVMAttributeRef nounwind = LLVMCreateEnumAttribute(l->context, LLVMGetEnumAttributeKindForName("nounwind", 8), 0);
    LLVMAddAttributeAtIndex(e->function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, nounwind);
    for (int i = 1; i <= 2; i++)
        LLVMAddAttributeAtIndex(e->function, (LLVMAttributeIndex)i,
                                LLVMCreateEnumAttribute(l->context, LLVMGetEnumAttributeKindForName("noalias", 7), 0));
    emit_llvm_target_attributes(l, e->function);
    LLVMPositionBuilderAtEnd(l->builder, new_block(e, "entry"));
    e->run = LLVMGetParam(e->function, 1);
    e->var[VAR_TASK] = LLVMGetParam(e->function, 2);
}

static void load_buffers(LlvmKernel *e) {
    Llvm *l = e->l;
    LLVMValueRef scratch = NULL;
    int arg = 0;
    for (int i = 0; i < e->k->buffer_count; i++) {
        const Buffer *b = &e->k->buffers[i];
        LLVMValueRef at = emit_llvm_i64(l, b->kind == BUFFER_ARG ? arg++ : b->scratch_offset), p;
        if (!e->used[i])
            continue;
        if (b->kind == BUFFER_ARG) {
            p = LLVMBuildLoad2(l->builder, l->ptr, LLVMBuildGEP2(l->builder, l->ptr, LLVMGetParam(e->function, 0), &at, 1, ""), b->name);
        } else {
            scratch = scratch ? scratch : run_field(e, ABI_RUN_scratch, 0, l->ptr, "scratch");
            p = LLVMBuildGEP2(l->builder, l->i8, scratch, &at, 1, b->name);
        }
        e->buffer[i] = p;
        if (e->laundered[i]) {
            e->buffer[i] = LLVMBuildAlloca(l->builder, l->ptr, b->name);
            LLVMBuildStore(l->builder, p, e->buffer[i]);
        }
    }
}

static void make_slots(LlvmKernel *e) {
    char name[16];
    for (Reg r = 0; r < e->k->reg_count; r++)
        if (e->reg[r].sets > 1 || (e->reg[r].sets && e->reg[r].escapes))
            e->reg[r].slot = LLVMBuildAlloca(e->l->builder, emit_llvm_type(e->l, e->k->regs[r]), reg_name(e, r, name, sizeof name));
}

LLVMValueRef emit_llvm_kernel(Llvm *l, const Kernel *k, const bool *may_alias) {
    LlvmKernel e = { .l = l, .k = k };
    e.var = NEW_ARRAY(l->arena, LLVMValueRef, k->var_count);
    e.reg = NEW_ARRAY(l->arena, LlvmReg, k->reg_count + 1);
    e.buffer = NEW_ARRAY(l->arena, LLVMValueRef, k->buffer_count + 1);
    e.laundered = NEW_ARRAY(l->arena, bool, k->buffer_count + 1);
    e.used = NEW_ARRAY(l->arena, bool, k->buffer_count + 1);
    e.scope_list = NEW_ARRAY(l->arena, LLVMMetadataRef, k->buffer_count + 1);
    e.noalias_list = NEW_ARRAY(l->arena, LLVMMetadataRef, k->buffer_count + 1);
    e.alias_scope_kind = LLVMGetMDKindIDInContext(l->context, "alias.scope", 11);
    e.noalias_kind = LLVMGetMDKindIDInContext(l->context, "noalias", 7);
    e.loop_kind = LLVMGetMDKindIDInContext(l->context, "llvm.loop", 9);
    find_sets(&e, k->body, new_scope(&e));
    find_uses(&e, k->body, 0);
    make_function(&e);
    set_place(&e);
    if (may_alias)
        make_scopes(&e, may_alias);
    make_slots(&e);
    load_buffers(&e);
    e.var[VAR_N] = run_field(&e, ABI_RUN_n, 0, l->i64, "n");
    emit_block(&e, k->body);
    LLVMBuildRetVoid(l->builder);
    LLVMSetCurrentDebugLocation2(l->builder, NULL);
    return e.function;
}
