/* kir_verify.c - what every back end may rely on: types fit, registers and variables are set before use
 * on every path, only written buffers are stored to, and no access lies outside of its buffer for all
 * values that its variables can take. Whether an access is inside for each single value is kir_eval's to see. */
#include "kernel/kir.h"

#include <limits.h>
#include <string.h>

typedef struct { int64_t lo, hi; } Range;             /* inclusive; unknown ends at +-UNKNOWN */
static const int64_t UNKNOWN = INT64_MAX / 4;

typedef struct {
    const Kernel *k;
    Writer *why;
    bool *reg_set;
    bool *var_set;
    Range *range;                                     /* of each variable */
    bool ok;
} Verifier;

__attribute__((format(printf, 2, 3))) static void fail(Verifier *v, const char *fmt, ...) {
    if (!v->ok)
        return;
    va_list ap;
    va_start(ap, fmt);
    writer_vprintf(v->why, fmt, ap);
    va_end(ap);
    v->ok = false;
}

/* ---- indices ---- */

static Range range_term(Range r, int64_t coef) {
    if (r.lo <= -UNKNOWN || r.hi >= UNKNOWN)
        return (Range){ -UNKNOWN, UNKNOWN };
    __int128 a = (__int128)r.lo * coef, b = (__int128)r.hi * coef;
    __int128 lo = a < b ? a : b, hi = a < b ? b : a;
    if (lo < -UNKNOWN || hi > UNKNOWN)
        return (Range){ -UNKNOWN, UNKNOWN };
    return (Range){ (int64_t)lo, (int64_t)hi };
}

static Range index_range(Verifier *v, const Index *x) {
    Range r = { x->base, x->base };
    for (int i = 0; i < x->count; i++) {
        int var = x->term[i].var;
        if (var < 0 || var >= v->k->var_count || !v->var_set[var]) {
            fail(v, "index uses variable %d, which is not set here", var);
            return (Range){ -UNKNOWN, UNKNOWN };
        }
        if (x->term[i].coef == 0 || (i && x->term[i - 1].var >= var))
            fail(v, "terms of an index are not in order");
        Range t = range_term(v->range[var], x->term[i].coef);
        r.lo = r.lo <= -UNKNOWN || t.lo <= -UNKNOWN ? -UNKNOWN : r.lo + t.lo;
        r.hi = r.hi >= UNKNOWN || t.hi >= UNKNOWN ? UNKNOWN : r.hi + t.hi;
    }
    return r;
}

static int64_t floor_div(int64_t a, int64_t d) {
    return a >= 0 ? a / d : -((-a + d - 1) / d);
}

static Range operation_range(const Stm *s, Range a, Range b) {
    switch (s->index_op) {
    case INDEX_AFFINE: return a;
    case INDEX_DIV:
        if (a.lo <= -UNKNOWN || a.hi >= UNKNOWN)
            return (Range){ -UNKNOWN, UNKNOWN };
        return (Range){ floor_div(a.lo, s->end.base), floor_div(a.hi, s->end.base) };
    case INDEX_MOD: return (Range){ 0, s->end.base - 1 };
    case INDEX_MIN: return (Range){ a.lo < b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi };
    case INDEX_MAX: return (Range){ a.lo > b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi };
    default: return (Range){ -UNKNOWN, UNKNOWN };
    }
}

static void check_memory(Verifier *v, const Stm *s, Range at) {
    if (s->buffer < 0 || s->buffer >= v->k->buffer_count) {
        fail(v, "no buffer %d", s->buffer);
        return;
    }
    const Buffer *b = &v->k->buffers[s->buffer];
    int64_t reach = s->kind != STM_INDEX && s->access == ACCESS_VECTOR ? v->k->target->width * (b->elem == ELEM_F16 ? 2 : 1) : 1;
    if (at.hi < 0 || at.lo > b->count - reach)
        fail(v, "access to %s at %lld..%lld is outside of its %lld elements", b->name, (long long)at.lo,
             (long long)at.hi, (long long)b->count);
}

static void set_index(Verifier *v, const Stm *s) {
    Range a = index_range(v, &s->begin), b = { 0, 0 };
    if (s->index_op == INDEX_MIN || s->index_op == INDEX_MAX)
        b = index_range(v, &s->end);
    if ((s->index_op == INDEX_DIV || s->index_op == INDEX_MOD) && (s->end.count || s->end.base <= 0))
        fail(v, "divisor of %s is no positive constant", v->k->vars[s->var]);
    if (s->index_op == INDEX_LOAD)
        check_memory(v, s, a);
    if (!v->ok)
        return;
    v->var_set[s->var] = true;
    v->range[s->var] = operation_range(s, a, b);
}

/* ---- registers ---- */

static bool is_type(const Verifier *v, Reg r, Elem e, bool vector) {
    return v->k->regs[r].elem == e && v->k->regs[r].vector == vector;
}

static void use(Verifier *v, Reg r) {
    if (r < 0 || r >= v->k->reg_count)
        fail(v, "no register %d", r);
    else if (!v->reg_set[r])
        fail(v, "register %d is read before it is set", r);
}

/* The element type of an operation's argument. */
static Elem argument_type(const Verifier *v, const Stm *s, int i) {
    switch (s->op) {
    case KOP_SELECT: return i == 0 ? ELEM_MASK : v->k->regs[s->dst].elem;
    case KOP_TAKE: return i == 0 ? ELEM_F32 : ELEM_I32;
    case KOP_MOVE: case KOP_SPLAT: return v->k->regs[s->dst].elem;
    case KOP_ILT: case KOP_IEQ: case KOP_I2F: case KOP_FLOAT:
    case KOP_IADD: case KOP_ISUB: case KOP_IMUL: case KOP_IMULHI: case KOP_IAND: case KOP_IOR: case KOP_IXOR:
    case KOP_ISHL: case KOP_ISHR: case KOP_ISAR: case KOP_DOT4: return ELEM_I32;
    case KOP_MAND: case KOP_MOR: case KOP_MNOT: return ELEM_MASK;
    case KOP_HFMA: case KOP_HLOW: case KOP_HHIGH: return ELEM_F16;
    default: return ELEM_F32;
    }
}

static void check_operation(Verifier *v, const Stm *s) {
    RegType dst = v->k->regs[s->dst];
    bool across = s->op == KOP_HSUM || s->op == KOP_HMAX;
    bool vector = across || (dst.vector && s->op != KOP_SPLAT);
    for (int i = 0; i < kop_info[s->op].args; i++) {
        use(v, s->arg[i]);
        if (!v->ok)
            return;
        if (!is_type(v, s->arg[i], argument_type(v, s, i), vector))
            fail(v, "argument %d of %s, register %d, has the wrong type", i, kop_info[s->op].text, s->arg[i]);
    }
    if ((across && dst.vector) || ((s->op == KOP_SPLAT || s->op == KOP_TAKE) && !dst.vector))
        fail(v, "result of %s has the wrong lanes", kop_info[s->op].text);
    if ((s->op == KOP_ZIP_LOW || s->op == KOP_ZIP_HIGH) && !dst.vector)
        fail(v, "%s of scalars", kop_info[s->op].text);
    if (s->op == KOP_RSQRT_EST && v->k->math == MATH_STRICT)
        fail(v, "an estimate in strict mode");
}

static void check_value(Verifier *v, const Stm *s) {
    if (s->dst < 0 || s->dst >= v->k->reg_count) {
        fail(v, "no register %d", s->dst);
        return;
    }
    if (s->kind == STM_OP) {
        check_operation(v, s);
    } else if (s->kind == STM_LOAD) {
        check_memory(v, s, index_range(v, &s->index));
        if (s->access == ACCESS_MASKED || s->access == ACCESS_STRIDED)
            index_range(v, &s->lanes);
        if (v->ok && v->k->buffers[s->buffer].elem == ELEM_F16 && s->access != ACCESS_VECTOR && s->access != ACCESS_SPLAT)
            fail(v, "load of some lanes of binary16 from %s", v->k->buffers[s->buffer].name);
        if (v->ok && !is_type(v, s->dst, v->k->buffers[s->buffer].elem, s->access != ACCESS_SCALAR))
            fail(v, "load from %s to a register of another type", v->k->buffers[s->buffer].name);
    } else if (s->kind == STM_FROM_INDEX) {
        index_range(v, &s->index);
    }
    v->reg_set[s->dst] = true;
}

static void check_store(Verifier *v, const Stm *s) {
    use(v, s->arg[0]);
    check_memory(v, s, index_range(v, &s->index));
    if (s->access == ACCESS_MASKED || s->access == ACCESS_STRIDED)
        index_range(v, &s->lanes);
    if (!v->ok)
        return;
    const Buffer *b = &v->k->buffers[s->buffer];
    if (s->kind == STM_ADD_TO && store_bytes(b->store) == 2)
        fail(v, "%s holds 16 bits, to which nothing is added", b->name);
    if (!b->written)
        fail(v, "%s is stored to but not declared written", b->name);
    if (!is_type(v, s->arg[0], b->elem, s->access != ACCESS_SCALAR) || s->access == ACCESS_SPLAT)
        fail(v, "store to %s of a register of another type", b->name);
}

static void check_product(Verifier *v, const Product *p) {
    index_range(v, &p->m);
    index_range(v, &p->k);
    for (int i = 0; i < 3; i++) {
        int buffer = i == 0 ? p->a : i == 1 ? p->b : p->c;
        if (buffer < 0 || buffer >= v->k->buffer_count || v->k->buffers[buffer].elem != ELEM_F32)
            fail(v, "a matrix product needs buffers of floats");
    }
}

/* ---- blocks ---- */

static void check_block(Verifier *v, const Stm *s);

/* Registers that only the body sets are set behind it when it runs at least once; variables never are. */
static void check_nested(Verifier *v, const Stm *s) {
    const Kernel *k = v->k;
    Range begin = index_range(v, &s->begin), end = index_range(v, &s->end);
    bool runs = begin.hi < end.lo;
    bool *regs = NEW_ARRAY(k->arena, bool, k->reg_count + 1), *vars = NEW_ARRAY(k->arena, bool, k->var_count);
    memcpy(regs, v->reg_set, (size_t)k->reg_count * sizeof *regs);
    memcpy(vars, v->var_set, (size_t)k->var_count * sizeof *vars);
    if (s->kind == STM_LOOP) {
        v->var_set[s->var] = true;
        v->range[s->var] = (Range){ begin.lo, end.hi >= UNKNOWN ? UNKNOWN : end.hi - 1 };
        if (begin.lo > end.hi - 1)
            v->range[s->var] = (Range){ -UNKNOWN, UNKNOWN };
        if (s->step < 1)
            fail(v, "step of loop %s is not positive", k->vars[s->var]);
    }
    if (begin.lo < end.hi)
        check_block(v, s->body);
    v->var_set = vars;
    if (!runs)
        v->reg_set = regs;
}

static void check_block(Verifier *v, const Stm *s) {
    for (; s && v->ok; s = s->next) {
        switch (s->kind) {
        case STM_LOOP:
        case STM_IF: check_nested(v, s); break;
        case STM_INDEX: set_index(v, s); break;
        case STM_STORE:
        case STM_ADD_TO: check_store(v, s); break;
        case STM_OPAQUE: check_memory(v, s, (Range){ 0, 0 }); break;
        case STM_PREFETCH: index_range(v, &s->index); break;
        case STM_PRODUCT: check_product(v, s->product); break;
        case STM_COUNT: break;
        default: check_value(v, s); break;
        }
    }
}

static void check_buffers(Verifier *v) {
    for (int i = 0; i < v->k->buffer_count; i++) {
        const Buffer *b = &v->k->buffers[i];
        if (store_bytes(b->store) == 2 && b->elem != ELEM_F32 && b->elem != ELEM_F16)
            fail(v, "%s holds %s, but no floats", b->name, store_text[b->store]);
        if (b->elem == ELEM_F16 && (b->store != STORE_F16 || b->written || !v->k->target->half))
            fail(v, "%s is not memory of binary16 to read, for a target that computes in it", b->name);
    }
}

bool kernel_verify(const Kernel *k, Writer *why) {
    Verifier v = { .k = k, .why = why, .ok = true };
    check_buffers(&v);
    v.reg_set = NEW_ARRAY(k->arena, bool, k->reg_count + 1);
    v.var_set = NEW_ARRAY(k->arena, bool, k->var_count);
    v.range = NEW_ARRAY(k->arena, Range, k->var_count);
    v.var_set[VAR_TASK] = v.var_set[VAR_N] = true;
    v.range[VAR_TASK] = (Range){ 0, UNKNOWN };
    v.range[VAR_N] = (Range){ 1, UNKNOWN };
    check_block(&v, k->body);
    return v.ok;
}
