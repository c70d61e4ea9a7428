/* emit_c_value.c - indices, registers, operations and accesses of kernels as C. */
#include "backend/emit_c_kernel.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- parts ---- */

static const char *function(Emit *e, PreludeId id) { return prelude_function(e->use, id); }

void emit_c_index(Emit *e, const Index *x) {
    Writer *w = e->text;
    bool first = true;
    for (int i = 0; i < x->count; i++) {
        int64_t c = x->term[i].coef;
        writer_text(w, first ? (c < 0 ? "-" : "") : c < 0 ? " - " : " + ");
        writer_text(w, e->var_name[x->term[i].var]);
        if (c != 1 && c != -1)
            writer_printf(w, "*%lld", (long long)(c < 0 ? -c : c));
        first = false;
    }
    if (first)
        writer_printf(w, "%lld", (long long)x->base);
    else if (x->base)
        writer_printf(w, " %c %lld", x->base < 0 ? '-' : '+', (long long)(x->base < 0 ? -x->base : x->base));
}

static void print_number(Writer *w, double number) {
    float f = (float)number;
    char text[32];
    snprintf(text, sizeof text, "%.9g", (double)f);
    if (isnan(f))
        writer_text(w, "__builtin_nanf(\"\")");
    else if (isinf(f))
        writer_text(w, f < 0 ? "-__builtin_inff()" : "__builtin_inff()");
    else
        writer_printf(w, strpbrk(text, ".e") ? "%sf" : "%s.0f", text);
}

const char *emit_c_reg_type(RegType t) {
    static const char *const types[2][4] = { { "float", "int32_t", "int", NULL }, { "f32v", "i32v", "maskv", "f16v" } };
    return types[t.vector][t.elem];
}

void emit_c_reg(Emit *e, Reg r) {
    static const char letter[2][4] = { { 's', 'i', 'm', 'h' }, { 'v', 'w', 'p', 'h' } };
    RegType t = e->k->regs[r];
    writer_printf(e->text, "%c%d", letter[t.vector][t.elem], r);
}

static void print_call(Emit *e, PreludeId id, const Stm *s, int args) {
    writer_printf(e->text, "%s(", function(e, id));
    for (int i = 0; i < args; i++) {
        writer_text(e->text, i ? ", " : "");
        emit_c_reg(e, s->arg[i]);
    }
    writer_char(e->text, ')');
}

static void print_infix(Emit *e, const Stm *s, const char *operator) {
    emit_c_reg(e, s->arg[0]);
    writer_printf(e->text, " %s ", operator);
    emit_c_reg(e, s->arg[1]);
}

static void print_prefixed(Emit *e, const char *prefix, Reg r) {
    writer_text(e->text, prefix);
    emit_c_reg(e, r);
}

/* ---- operations ---- */

typedef struct { KOp op; const char *infix; int scalar, vector; } Form;   /* infix both, or the functions */
static const Form forms[] = {
    { KOP_FADD, "+", 0, 0 }, { KOP_FSUB, "-", 0, 0 }, { KOP_FMUL, "*", 0, 0 }, { KOP_FDIV, "/", 0, 0 },
    { KOP_IAND, "&", 0, 0 }, { KOP_IOR, "|", 0, 0 }, { KOP_IXOR, "^", 0, 0 }, { KOP_ISAR, ">>", 0, 0 },
    { KOP_MAND, "&", 0, 0 }, { KOP_MOR, "|", 0, 0 },
    { KOP_FMA, NULL, PRELUDE_S_FMA, PRELUDE_FMA }, { KOP_FNMA, NULL, PRELUDE_S_FNMA, PRELUDE_FNMA },
    { KOP_FSQRT, NULL, PRELUDE_S_SQRT, PRELUDE_SQRT }, { KOP_RSQRT_EST, NULL, PRELUDE_S_RSQRT, PRELUDE_RSQRT },
    { KOP_FABS, NULL, PRELUDE_S_ABS, PRELUDE_ABS }, { KOP_FMIN, NULL, PRELUDE_S_MIN, PRELUDE_MIN },
    { KOP_FMAX, NULL, PRELUDE_S_MAX, PRELUDE_MAX }, { KOP_ROUND, NULL, PRELUDE_S_ROUND, PRELUDE_ROUND },
    { KOP_IADD, NULL, PRELUDE_S_IADD, PRELUDE_IADD }, { KOP_ISUB, NULL, PRELUDE_S_ISUB, PRELUDE_ISUB },
    { KOP_IMUL, NULL, PRELUDE_S_IMUL, PRELUDE_IMUL }, { KOP_IMULHI, NULL, PRELUDE_S_IMULHI, PRELUDE_IMULHI },
    { KOP_ISHL, NULL, PRELUDE_S_ISHL, PRELUDE_ISHL }, { KOP_ISHR, NULL, PRELUDE_S_ISHR, PRELUDE_ISHR },
    { KOP_HFMA, NULL, 0, PRELUDE_H_FMA }, { KOP_HLOW, NULL, 0, PRELUDE_H_LOW }, { KOP_HHIGH, NULL, 0, PRELUDE_H_HIGH },
    { KOP_HSUM, NULL, 0, PRELUDE_HSUM }, { KOP_HMAX, NULL, 0, PRELUDE_HMAX },
    { KOP_ZIP_LOW, NULL, 0, PRELUDE_ZIP_LOW }, { KOP_ZIP_HIGH, NULL, 0, PRELUDE_ZIP_HIGH },
    { KOP_TAKE, NULL, 0, PRELUDE_TAKE },
};

static const Form *form_of(KOp op) {
    for (int i = 0; i < COUNT(forms); i++)
        if (forms[i].op == op)
            return &forms[i];
    return NULL;
}

/* Comparisons: an operator on scalars, a function on vectors. */
static bool print_comparison(Emit *e, const Stm *s, bool vector) {
    static const struct { KOp op; const char *infix; PreludeId vector; } rows[] = {
        { KOP_FLT, "<", PRELUDE_LT }, { KOP_FLE, "<=", PRELUDE_LE }, { KOP_FEQ, "==", PRELUDE_EQ },
        { KOP_ILT, "<", PRELUDE_ILT }, { KOP_IEQ, "==", PRELUDE_IEQ },
    };
    for (int i = 0; i < COUNT(rows); i++)
        if (rows[i].op == s->op) {
            if (vector)
                print_call(e, rows[i].vector, s, 2);
            else
                print_infix(e, s, rows[i].infix);
            return true;
        }
    return false;
}

static void print_select(Emit *e, const Stm *s, RegType t) {
    if (t.vector) {
        print_call(e, t.elem == ELEM_F32 ? PRELUDE_SELECT : t.elem == ELEM_I32 ? PRELUDE_SELECT_I : PRELUDE_SELECT_M, s, 3);
        return;
    }
    emit_c_reg(e, s->arg[0]);
    print_prefixed(e, " ? ", s->arg[1]);
    print_prefixed(e, " : ", s->arg[2]);
}

/* Operations that neither the table of forms nor comparisons cover. */
static void print_special(Emit *e, const Stm *s, RegType t) {
    switch (s->op) {
    case KOP_MOVE: emit_c_reg(e, s->arg[0]); break;
    case KOP_FNEG: print_prefixed(e, "-", s->arg[0]); break;
    case KOP_MNOT:
        if (t.vector)
            print_call(e, PRELUDE_MNOT, s, 1);
        else
            print_prefixed(e, "!", s->arg[0]);
        break;
    case KOP_SELECT: print_select(e, s, t); break;
    case KOP_I2F:
        if (t.vector)
            print_call(e, PRELUDE_I2F, s, 1);
        else
            print_prefixed(e, "(float)", s->arg[0]);
        break;
    case KOP_BITS:
        if (t.vector)
            print_prefixed(e, "(i32v)", s->arg[0]);
        else
            print_call(e, PRELUDE_S_BITS, s, 1);
        break;
    case KOP_FLOAT:
        if (t.vector)
            print_prefixed(e, "(f32v)", s->arg[0]);
        else
            print_call(e, PRELUDE_S_FLOAT, s, 1);
        break;
    case KOP_DOT4: print_call(e, !t.vector ? PRELUDE_S_DOT4 : e->k->target->dot4 ? PRELUDE_DOT4_VNNI : PRELUDE_DOT4, s, 3); break;
    case KOP_SPLAT: print_call(e, t.elem == ELEM_F32 ? PRELUDE_SPLAT : PRELUDE_SPLAT_I, s, 1); break;
    default: assert(!"an operation without a C form");
    }
}

static void print_operation(Emit *e, const Stm *s) {
    RegType t = e->k->regs[s->dst];
    bool vector = e->k->regs[s->arg[0]].vector;
    const Form *f = form_of(s->op);
    if (!e->k->target->fma && s->op == KOP_FMA) {
        print_infix(e, s, "*");
        print_prefixed(e, " + ", s->arg[2]);
    } else if (!e->k->target->fma && s->op == KOP_FNMA) {
        emit_c_reg(e, s->arg[2]);
        writer_text(e->text, " - ");
        print_infix(e, s, "*");
    } else if (f && f->infix) {
        print_infix(e, s, f->infix);
    } else if (f) {
        print_call(e, (PreludeId)(vector ? f->vector : f->scalar), s, kop_info[s->op].args);
    } else if (!print_comparison(e, s, vector)) {
        print_special(e, s, t);
    }
}

/* ---- memory ---- */

void emit_c_element(Emit *e, const Stm *s) {
    writer_printf(e->text, "%s[", e->buffer_name[s->buffer]);
    emit_c_index(e, s->kind == STM_INDEX ? &s->begin : &s->index);
    writer_char(e->text, ']');
}

void emit_c_address(Emit *e, const Stm *s) {
    int64_t zero;
    writer_text(e->text, e->buffer_name[s->buffer]);
    if (index_is_const(&s->index, &zero) && zero == 0)
        return;
    writer_text(e->text, " + ");
    emit_c_index(e, &s->index);
}

static MemoryType memory_type(const Buffer *b) {
    static const MemoryType types[STORE_COUNT][2] = {
        { MEMORY_F32, MEMORY_I32 }, { MEMORY_U8_F32, MEMORY_U8_I32 }, { MEMORY_BF16, MEMORY_BF16 }, { MEMORY_F16, MEMORY_F16 },
    };
    return types[b->store][b->elem == ELEM_I32];
}

/* The vector function for an access up to its last parenthesis. Masks that cover all lanes are whole vectors. */
static void print_vector_access(Emit *e, const Stm *s, bool store) {
    int64_t lanes = 0;
    bool masked = s->access == ACCESS_MASKED && !(index_is_const(&s->lanes, &lanes) && lanes >= e->k->target->width);
    bool far = s->stride > (1 << 26) || s->stride < -(1 << 26);
    MemoryForm form = s->access == ACCESS_STRIDED ? (far ? MEMORY_LOAD_FAR : MEMORY_LOAD_STEP) : masked ? MEMORY_LOAD_FIRST : MEMORY_LOAD;
    writer_printf(e->text, "%s(", prelude_memory(e->use, form + (store ? 1 : 0), memory_type(&e->k->buffers[s->buffer])));
    emit_c_address(e, s);
    if (s->access == ACCESS_STRIDED)
        writer_printf(e->text, ", %lld", (long long)s->stride);
    if (masked || s->access == ACCESS_STRIDED) {
        writer_text(e->text, ", ");
        emit_c_index(e, &s->lanes);
    }
}

/* One element as a register holds it. */
static void print_element(Emit *e, const Stm *s) {
    Store store = e->k->buffers[s->buffer].store;
    if (store_bytes(store) == 2)
        writer_printf(e->text, "%s(", function(e, store == STORE_BF16 ? PRELUDE_S_FROM_BF16 : PRELUDE_S_FROM_F16));
    emit_c_element(e, s);
    if (store_bytes(store) == 2)
        writer_char(e->text, ')');
}

static void print_load(Emit *e, const Stm *s) {
    const Buffer *b = &e->k->buffers[s->buffer];
    if (b->elem == ELEM_F16) {
        writer_printf(e->text, "%s(", function(e, s->access == ACCESS_SPLAT ? PRELUDE_H_SPLAT : PRELUDE_H_LOAD));
        emit_c_address(e, s);
        writer_char(e->text, ')');
    } else if (s->access == ACCESS_SCALAR) {
        print_element(e, s);
    } else if (s->access == ACCESS_SPLAT) {
        writer_printf(e->text, "%s(", function(e, b->elem == ELEM_F32 ? PRELUDE_SPLAT : PRELUDE_SPLAT_I));
        print_element(e, s);
        writer_char(e->text, ')');
    } else {
        print_vector_access(e, s, false);
        writer_char(e->text, ')');
    }
}

void emit_c_store(Emit *e, const Stm *s) {
    const Buffer *b = &e->k->buffers[s->buffer];
    bool narrow = store_bytes(b->store) == 2;
    if (s->access == ACCESS_SCALAR) {
        emit_c_element(e, s);
        writer_text(e->text, s->kind == STM_ADD_TO ? " += " : b->store == STORE_U8 ? " = (uint8_t)(int32_t)" : " = ");
        if (narrow)
            writer_printf(e->text, "%s(", function(e, b->store == STORE_BF16 ? PRELUDE_S_TO_BF16 : PRELUDE_S_TO_F16));
    } else {
        print_vector_access(e, s, true);
        writer_text(e->text, ", ");
        if (s->kind == STM_ADD_TO) {
            print_vector_access(e, s, false);
            writer_text(e->text, ") + ");
        }
    }
    emit_c_reg(e, s->arg[0]);
    if (s->access != ACCESS_SCALAR || narrow)
        writer_char(e->text, ')');
}

/* ---- values ---- */

static void print_constant(Emit *e, const Stm *s) {
    RegType t = e->k->regs[s->dst];
    if (t.elem == ELEM_F16) {
        writer_printf(e->text, "%s()", function(e, PRELUDE_H_ZERO));
        return;
    }
    if (t.vector)
        writer_printf(e->text, "%s(", function(e, t.elem == ELEM_F32 ? PRELUDE_SPLAT : PRELUDE_SPLAT_I));
    if (t.elem == ELEM_F32)
        print_number(e->text, s->number);
    else if (s->bits == INT32_MIN)
        writer_text(e->text, "INT32_MIN");
    else
        writer_printf(e->text, "%d", s->bits);
    if (t.vector)
        writer_char(e->text, ')');
}

void emit_c_value(Emit *e, const Stm *s) {
    static const char *const scalars[] = { "run->batch", "run->step", "run->lr", "run->smoothing", "(int32_t)run->step_count",
                                           "(int32_t)run->seed[0]", "(int32_t)run->seed[1]" };
    switch (s->kind) {
    case STM_CONST: print_constant(e, s); break;
    case STM_IOTA: writer_printf(e->text, "%s()", function(e, PRELUDE_IOTA)); break;
    case STM_FROM_INDEX:
        writer_text(e->text, "(int32_t)(");
        emit_c_index(e, &s->index);
        writer_char(e->text, ')');
        break;
    case STM_RUN: writer_text(e->text, scalars[s->scalar]); break;
    case STM_OP: print_operation(e, s); break;
    default: print_load(e, s); break;
    }
}
