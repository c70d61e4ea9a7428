/* kir_eval.c - the evaluator of kernels; its contract is in the header.
 * RSQRT_EST is evaluated exactly: the estimate is the one operation whose bits are not defined. */
#include "kernel/kir_eval.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "support/half.h"

enum { MAX_LANES = 32 };
typedef union { float f; int32_t i; uint32_t u; bool m; } Lane;
typedef struct { Lane lane[MAX_LANES]; } Value;

typedef struct {
    const Kernel *k;
    const EvalRun *run;
    EvalBuffer *buffers;                   /* arguments, then scratch */
    int64_t *var;
    Value *reg;
    Writer *why;
    bool ok;
} Eval;

static int64_t index_value(const Eval *e, const Index *x) {
    int64_t v = x->base;
    for (int i = 0; i < x->count; i++)
        v += x->term[i].coef * e->var[x->term[i].var];
    return v;
}

/* ---- memory ---- */

static bool in_bounds(Eval *e, const Stm *s, int64_t at) {
    if (at >= 0 && at < e->buffers[s->buffer].count)
        return true;
    if (e->ok)
        writer_printf(e->why, "kernel %s: access to %s at %lld of %lld", e->k->name, e->k->buffers[s->buffer].name,
                      (long long)at, (long long)e->buffers[s->buffer].count);
    e->ok = false;
    return false;
}

static Lane read_element(Eval *e, const Stm *s, int64_t at) {
    Lane v = { .u = 0 };
    if (!in_bounds(e, s, at))
        return v;
    const char *data = e->buffers[s->buffer].data;
    const Buffer *b = &e->k->buffers[s->buffer];
    uint32_t raw = 0;
    memcpy(&raw, data + store_bytes(b->store) * at, (size_t)store_bytes(b->store));
    if (b->store == STORE_BF16)
        v.f = bfloat_value((uint16_t)raw);
    else if (b->store == STORE_F16)
        v.f = half_value((uint16_t)raw);
    else if (b->store == STORE_U8 && b->elem == ELEM_F32)
        v.f = (float)raw;
    else
        v.u = raw;
    return v;
}

static void write_element(Eval *e, const Stm *s, int64_t at, Lane v) {
    if (!in_bounds(e, s, at))
        return;
    char *data = e->buffers[s->buffer].data;
    const Buffer *b = &e->k->buffers[s->buffer];
    uint32_t raw = v.u;
    if (b->store == STORE_BF16)
        raw = bfloat_bits(v.f);
    else if (b->store == STORE_F16)
        raw = half_bits(v.f);
    else if (b->store == STORE_U8)
        raw = (unsigned char)(b->elem == ELEM_F32 ? (int32_t)v.f : v.i);
    memcpy(data + store_bytes(b->store) * at, &raw, (size_t)store_bytes(b->store));
}

/* How many lanes an access touches. */
static int access_lanes(const Eval *e, const Stm *s) {
    int width = e->k->target->width;
    if (s->access == ACCESS_SCALAR || s->access == ACCESS_SPLAT)
        return 1;
    if (s->access == ACCESS_VECTOR)
        return e->k->buffers[s->buffer].elem == ELEM_F16 ? 2 * width : width;
    int64_t lanes = index_value(e, &s->lanes);
    return lanes < 0 ? 0 : lanes > width ? width : (int)lanes;
}

static int64_t lane_step(const Stm *s) {
    return s->access == ACCESS_STRIDED ? s->stride : 1;
}

static void do_load(Eval *e, const Stm *s) {
    Value v;
    memset(&v, 0, sizeof v);
    int64_t at = index_value(e, &s->index);
    int lanes = access_lanes(e, s);
    for (int i = 0; i < lanes; i++)
        v.lane[i] = read_element(e, s, at + i * lane_step(s));
    if (s->access == ACCESS_SPLAT)
        for (int i = 1; i < MAX_LANES; i++)
            v.lane[i] = v.lane[0];
    e->reg[s->dst] = v;
}

static void do_store(Eval *e, const Stm *s) {
    int64_t at = index_value(e, &s->index);
    int lanes = access_lanes(e, s);
    for (int i = 0; i < lanes; i++) {
        Lane v = e->reg[s->arg[0]].lane[i];
        if (s->kind == STM_ADD_TO)
            v.f = read_element(e, s, at + i).f + v.f;
        write_element(e, s, at + i * lane_step(s), v);
    }
}

/* ---- operations ---- */

static float fused(const Eval *e, float x, float y, float z) {
    if (e->k->target->fma)
        return fmaf(x, y, z);
    float product = x * y;
    return product + z;
}

static int32_t shift_arithmetic(int32_t x, int32_t by) {
    uint32_t u = (uint32_t)x >> by;
    return (int32_t)(x < 0 && by ? u | ~(0xffffffffu >> by) : u);
}

static uint32_t dot4(uint32_t x, uint32_t y, uint32_t sum) {
    for (int k = 0; k < 32; k += 8)
        sum += (x >> k & 0xff) * (uint32_t)(int32_t)(int8_t)(y >> k & 0xff);
    return sum;
}

static Lane integer_lane(KOp op, Lane x, Lane y) {
    switch (op) {
    case KOP_ILT: return (Lane){ .m = x.i < y.i };
    case KOP_IEQ: return (Lane){ .m = x.i == y.i };
    case KOP_IADD: return (Lane){ .u = x.u + y.u };
    case KOP_ISUB: return (Lane){ .u = x.u - y.u };
    case KOP_IMUL: return (Lane){ .u = x.u * y.u };
    case KOP_IMULHI: return (Lane){ .u = (uint32_t)((uint64_t)x.u * y.u >> 32) };
    case KOP_IAND: return (Lane){ .u = x.u & y.u };
    case KOP_IOR: return (Lane){ .u = x.u | y.u };
    case KOP_IXOR: return (Lane){ .u = x.u ^ y.u };
    case KOP_ISHL: return (Lane){ .u = x.u << y.u };
    case KOP_ISHR: return (Lane){ .u = x.u >> y.u };
    case KOP_ISAR: return (Lane){ .i = shift_arithmetic(x.i, y.i) };
    case KOP_I2F: return (Lane){ .f = (float)x.i };
    default: assert(!"an integer operation"); return x;
    }
}

/* What does not fit becomes INT32_MIN, as x86 has it; no kernel's result depends on it. */
static int32_t rounded(float x) {
    return x >= -0x1p31f && x < 0x1p31f ? (int32_t)rintf(x) : INT32_MIN;
}

static Lane float_lane(const Eval *e, KOp op, Lane x, Lane y, Lane z) {
    switch (op) {
    case KOP_FADD: return (Lane){ .f = x.f + y.f };
    case KOP_FSUB: return (Lane){ .f = x.f - y.f };
    case KOP_FMUL: return (Lane){ .f = x.f * y.f };
    case KOP_FDIV: return (Lane){ .f = x.f / y.f };
    case KOP_FMA: return (Lane){ .f = fused(e, x.f, y.f, z.f) };
    case KOP_FNMA: return (Lane){ .f = fused(e, -x.f, y.f, z.f) };
    case KOP_FSQRT: return (Lane){ .f = sqrtf(x.f) };
    case KOP_RSQRT_EST: return (Lane){ .f = (float)(1 / sqrt((double)x.f)) };
    case KOP_FNEG: return (Lane){ .u = x.u ^ 0x80000000u };
    case KOP_FABS: return (Lane){ .u = x.u & 0x7fffffffu };
    case KOP_FMIN: return (Lane){ .f = x.f < y.f ? x.f : y.f };
    case KOP_FMAX: return (Lane){ .f = x.f > y.f ? x.f : y.f };
    case KOP_FLT: return (Lane){ .m = x.f < y.f };
    case KOP_FLE: return (Lane){ .m = x.f <= y.f };
    case KOP_FEQ: return (Lane){ .m = x.f == y.f };
    case KOP_ROUND: return (Lane){ .i = rounded(x.f) };
    case KOP_HFMA: return (Lane){ .f = half_fma(x.f, y.f, z.f) };
    case KOP_DOT4: return (Lane){ .u = dot4(x.u, y.u, z.u) };
    default: return integer_lane(op, x, y);
    }
}

static Lane lane_operation(const Eval *e, KOp op, Lane x, Lane y, Lane z) {
    switch (op) {
    case KOP_MOVE: case KOP_BITS: case KOP_FLOAT: case KOP_HLOW: return x;
    case KOP_MAND: return (Lane){ .m = x.m && y.m };
    case KOP_MOR: return (Lane){ .m = x.m || y.m };
    case KOP_MNOT: return (Lane){ .m = !x.m };
    case KOP_SELECT: return x.m ? y : z;
    default: return float_lane(e, op, x, y, z);
    }
}

/* Upper half onto lower half until one lane is left. */
static Value across(const Eval *e, KOp op, Value x) {
    for (int half = e->k->target->width / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) {
            float a = x.lane[i].f, b = x.lane[i + half].f;
            x.lane[i].f = op == KOP_HSUM ? a + b : a > b ? a : b;
        }
    return x;
}

/* The lower or the upper halves in turn. */
static Value zip(const Eval *e, KOp op, const Value *x, const Value *y) {
    Value r = { 0 };
    int half = e->k->target->width / 2, first = op == KOP_ZIP_HIGH ? half : 0;
    for (int i = 0; i < half; i++) {
        r.lane[2 * i] = x->lane[first + i];
        r.lane[2 * i + 1] = y->lane[first + i];
    }
    return r;
}

static void do_operation(Eval *e, const Stm *s) {
    Value none = { 0 }, r;
    const Value *x = &e->reg[s->arg[0]];
    const Value *y = s->arg[1] >= 0 ? &e->reg[s->arg[1]] : &none;
    const Value *z = s->arg[2] >= 0 ? &e->reg[s->arg[2]] : &none;
    if (s->op == KOP_HSUM || s->op == KOP_HMAX) {
        r = across(e, s->op, *x);
    } else if (s->op == KOP_ZIP_LOW || s->op == KOP_ZIP_HIGH) {
        r = zip(e, s->op, x, y);
    } else if (s->op == KOP_SPLAT) {
        for (int i = 0; i < MAX_LANES; i++)
            r.lane[i] = x->lane[0];
    } else if (s->op == KOP_HHIGH) {
        r = none;
        for (int i = 0; i < e->k->target->width; i++)
            r.lane[i] = x->lane[e->k->target->width + i];
    } else if (s->op == KOP_TAKE) {
        r = none;
        for (int i = 0; i < e->k->target->width; i++)
            r.lane[i] = x->lane[y->lane[i].i & (e->k->target->width - 1)];
    } else {
        r = none;
        int lanes = (e->k->regs[s->dst].vector ? e->k->target->width : 1) * (e->k->regs[s->dst].elem == ELEM_F16 ? 2 : 1);
        for (int i = 0; i < lanes; i++)
            r.lane[i] = lane_operation(e, s->op, x->lane[i], y->lane[i], z->lane[i]);
    }
    e->reg[s->dst] = r;
}

static void fill(Eval *e, Reg dst, Lane v) {
    for (int i = 0; i < MAX_LANES; i++)
        e->reg[dst].lane[i] = v;
}

static Lane run_scalar(const Eval *e, RunScalar s) {
    switch (s) {
    case RUN_BATCH: return (Lane){ .f = (float)e->run->n };
    case RUN_STEP: return (Lane){ .f = e->run->step };
    case RUN_LR: return (Lane){ .f = e->run->lr };
    case RUN_SMOOTHING: return (Lane){ .f = e->run->smoothing };
    case RUN_STEP_COUNT: return (Lane){ .u = e->run->step_count };
    case RUN_SEED0: return (Lane){ .u = e->run->seed[0] };
    default: return (Lane){ .u = e->run->seed[1] };
    }
}

/* ---- matrix products ---- */

static float matrix_element(Eval *e, int buffer, int64_t at) {
    Stm s = { .buffer = buffer };
    return read_element(e, &s, at).f;
}

static void do_product(Eval *e, const Product *p) {
    int64_t m = index_value(e, &p->m), k = index_value(e, &p->k);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += (double)matrix_element(e, p->a, p->a_transposed ? l * p->lda + i : i * p->lda + l) *
                       matrix_element(e, p->b, p->b_transposed ? j * p->ldb + l : l * p->ldb + j);
            Stm s = { .buffer = p->c };
            write_element(e, &s, i * p->ldc + j, (Lane){ .f = (float)sum });
        }
}

/* ---- statements ---- */

static int64_t index_operation(Eval *e, const Stm *s) {
    int64_t a = index_value(e, &s->begin), b = index_value(e, &s->end);
    switch (s->index_op) {
    case INDEX_DIV: return a >= 0 ? a / b : -((-a + b - 1) / b);
    case INDEX_MOD: return ((a % b) + b) % b;
    case INDEX_MIN: return a < b ? a : b;
    case INDEX_MAX: return a > b ? a : b;
    case INDEX_LOAD: return read_element(e, s, a).i;
    default: return a;
    }
}

static void do_block(Eval *e, const Stm *s);

static void do_loop(Eval *e, const Stm *s) {
    int64_t end = index_value(e, &s->end);
    for (int64_t i = index_value(e, &s->begin); i < end && e->ok; i += s->step) {
        e->var[s->var] = i;
        do_block(e, s->body);
    }
}

static void do_const(Eval *e, const Stm *s) {
    if (e->k->regs[s->dst].elem != ELEM_I32)
        fill(e, s->dst, (Lane){ .f = (float)s->number });
    else
        fill(e, s->dst, (Lane){ .i = s->bits });
}

static void do_block(Eval *e, const Stm *s) {
    for (; s && e->ok; s = s->next) {
        switch (s->kind) {
        case STM_LOOP: do_loop(e, s); break;
        case STM_IF:
            if (index_value(e, &s->begin) < index_value(e, &s->end))
                do_block(e, s->body);
            break;
        case STM_INDEX: e->var[s->var] = index_operation(e, s); break;
        case STM_CONST: do_const(e, s); break;
        case STM_IOTA:
            for (int i = 0; i < MAX_LANES; i++)
                e->reg[s->dst].lane[i].i = i;
            break;
        case STM_FROM_INDEX: fill(e, s->dst, (Lane){ .i = (int32_t)index_value(e, &s->index) }); break;
        case STM_RUN: fill(e, s->dst, run_scalar(e, s->scalar)); break;
        case STM_OP: do_operation(e, s); break;
        case STM_LOAD: do_load(e, s); break;
        case STM_STORE:
        case STM_ADD_TO: do_store(e, s); break;
        case STM_PRODUCT: do_product(e, s->product); break;
        case STM_OPAQUE:
        case STM_PREFETCH:
        case STM_COUNT: break;
        }
    }
}

bool kernel_eval(const Kernel *k, const EvalBuffer *args, const EvalRun *run, int64_t task, Writer *why) {
    Eval e = { .k = k, .run = run, .why = why, .ok = true };
    Arena *arena = arena_new(0);
    e.buffers = NEW_ARRAY(arena, EvalBuffer, k->buffer_count + 1);
    e.var = NEW_ARRAY(arena, int64_t, k->var_count);
    e.reg = NEW_ARRAY(arena, Value, k->reg_count + 1);
    int given = 0;
    for (int i = 0; i < k->buffer_count; i++) {
        const Buffer *b = &k->buffers[i];
        if (b->kind == BUFFER_ARG) {
            e.buffers[i] = args[given++];
            continue;
        }
        e.buffers[i] = (EvalBuffer){ NEW_ARRAY(arena, float, b->count), b->count };
        memset(e.buffers[i].data, 0xff, (size_t)b->count * 4);
    }
    e.var[VAR_TASK] = task;
    e.var[VAR_N] = run->n;
    do_block(&e, k->body);
    arena_destroy(arena);
    return e.ok;
}
