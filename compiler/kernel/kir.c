/* kir.c - building kernels: index arithmetic, buffers, registers, statements.
 * Statements go to the innermost open loop or if. Types are asserted here, so that a wrong kernel fails
 * where it is built; the rest is kernel_verify's. */
#include "kernel/kir.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const KOpInfo kop_info[KOP_COUNT] = {
#define KOP(id, text, n, result, meaning) { text, n },
#include "kernel/kir.def"
};

const char *const store_text[STORE_COUNT] = { NULL, "u8", "bf16", "f16" };

int store_bytes(Store s) {
    return s == STORE_WHOLE ? 4 : s == STORE_U8 ? 1 : 2;
}

/* ---- indices ---- */

Index index_const(int64_t value) {
    return (Index){ .base = value };
}

Index index_var(int var) {
    assert(var >= 0);
    return (Index){ .count = 1, .term[0] = { var, 1 } };
}

static void index_push(Index *r, int var, int64_t coef) {
    if (coef == 0)
        return;
    assert(r->count < MAX_TERMS);
    r->term[r->count].var = var;
    r->term[r->count++].coef = coef;
}

Index index_add(Index a, Index b) {
    Index r = { .base = a.base + b.base };
    int i = 0, j = 0;
    while (i < a.count || j < b.count) {
        if (j == b.count || (i < a.count && a.term[i].var < b.term[j].var)) {
            index_push(&r, a.term[i].var, a.term[i].coef);
            i++;
        } else if (i == a.count || b.term[j].var < a.term[i].var) {
            index_push(&r, b.term[j].var, b.term[j].coef);
            j++;
        } else {
            index_push(&r, a.term[i].var, a.term[i].coef + b.term[j].coef);
            i++, j++;
        }
    }
    return r;
}

Index index_scale(Index a, int64_t factor) {
    Index r = { .base = a.base * factor };
    for (int i = 0; i < a.count; i++)
        index_push(&r, a.term[i].var, a.term[i].coef * factor);
    return r;
}

Index index_plus(Index a, int64_t constant) {
    a.base += constant;
    return a;
}

bool index_is_const(const Index *a, int64_t *value) {
    if (a->count == 0 && value)
        *value = a->base;
    return a->count == 0;
}

/* ---- kernels, buffers, variables ---- */

static int new_var(Kernel *k, const char *name) {
    const char *unique = name;
    for (int i = 0; i < k->var_count; i++)
        if (!strcmp(k->vars[i], name)) {
            unique = arena_printf(k->arena, "%s_%d", name, k->var_count);
            break;
        }
    ARENA_PUSH(k->arena, k->vars, k->var_count, k->var_cap, unique);
    return k->var_count - 1;
}

Kernel *kernel_new(Arena *arena, const Target *t, MathMode math, const char *name, Span span) {
    Kernel *k = NEW(arena, Kernel);
    k->arena = arena;
    k->target = t;
    k->math = math;
    k->name = name;
    k->title = "";
    k->span = span;
    new_var(k, "task");
    new_var(k, "n");
    return k;
}

static int new_buffer(Kernel *k, Buffer b) {
    assert(b.elem != ELEM_MASK);
    const char *name = b.name;
    for (int i = 0; i < k->buffer_count; i++)
        if (!strcmp(k->buffers[i].name, name)) {
            b.name = arena_printf(k->arena, "%s_%d", name, k->buffer_count);
            break;
        }
    ARENA_PUSH(k->arena, k->buffers, k->buffer_count, k->buffer_cap, b);
    return k->buffer_count - 1;
}

int kb_arg(Kernel *k, const char *name, Elem e, bool written, int64_t count, const char *text) {
    return new_buffer(k, (Buffer){ .name = name, .kind = BUFFER_ARG, .elem = e, .written = written,
                                   .count = count, .text = text ? text : "" });
}

int kb_scratch(Kernel *k, const char *name, Elem e, int64_t count) {
    int64_t offset = k->scratch;
    k->scratch += (count * 4 + 63) / 64 * 64;
    return new_buffer(k, (Buffer){ .name = name, .kind = BUFFER_SCRATCH, .elem = e, .written = true,
                                   .count = count, .scratch_offset = offset, .text = "" });
}

/* ---- statements ---- */

static Stm *append(Kernel *k, StmKind kind) {
    Stm *outer = k->open_count ? k->open[k->open_count - 1] : NULL;
    Stm **first = outer ? &outer->body : &k->body;
    Stm **last = outer ? &outer->body_last : &k->body_last;
    Stm *s;
    if (*last && (*last)->kind == STM_COUNT) {        /* a note waits for its statement */
        s = *last;
    } else {
        s = NEW(k->arena, Stm);
        if (*last)
            (*last)->next = s;
        else
            *first = s;
        *last = s;
    }
    s->kind = kind;
    s->dst = s->arg[0] = s->arg[1] = s->arg[2] = NO_REG;
    s->buffer = -1;
    s->var = -1;
    return s;
}

void kb_note(Kernel *k, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(k->arena, fmt, ap);
    va_end(ap);
    append(k, STM_COUNT)->note = text;
}

static void open_block(Kernel *k, Stm *s) {
    ARENA_PUSH(k->arena, k->open, k->open_count, k->open_cap, s);
}

int kb_loop(Kernel *k, const char *name, Index begin, Index end, int64_t step) {
    assert(step > 0);
    Stm *s = append(k, STM_LOOP);
    s->var = new_var(k, name);
    s->begin = begin;
    s->end = end;
    s->step = step;
    open_block(k, s);
    return s->var;
}

void kb_if(Kernel *k, Index a, Index b) {
    Stm *s = append(k, STM_IF);
    s->begin = a;
    s->end = b;
    open_block(k, s);
}

void kb_end(Kernel *k) {
    assert(k->open_count > 0);
    k->open_count--;
}

int kb_index(Kernel *k, const char *name, IndexOp op, Index a, Index b) {
    assert(op != INDEX_LOAD);
    assert((op != INDEX_DIV && op != INDEX_MOD) || (b.count == 0 && b.base > 0));
    Stm *s = append(k, STM_INDEX);
    s->var = new_var(k, name);
    s->index_op = op;
    s->begin = a;
    s->end = b;
    return s->var;
}

int kb_index_load(Kernel *k, const char *name, int buffer, Index at) {
    assert(k->buffers[buffer].elem == ELEM_I32);
    Stm *s = append(k, STM_INDEX);
    s->var = new_var(k, name);
    s->index_op = INDEX_LOAD;
    s->buffer = buffer;
    s->begin = at;
    return s->var;
}

/* ---- registers and operations ---- */

Reg kb_reg(Kernel *k, Elem e, bool vector) {
    RegType t = { e, vector };
    ARENA_PUSH(k->arena, k->regs, k->reg_count, k->reg_cap, t);
    return k->reg_count - 1;
}

static Reg append_value(Kernel *k, StmKind kind, Elem e, bool vector, Stm **s) {
    Reg r = kb_reg(k, e, vector);
    *s = append(k, kind);
    (*s)->dst = r;
    return r;
}

Reg kb_const(Kernel *k, double value, bool vector) {
    Stm *s;
    Reg r = append_value(k, STM_CONST, ELEM_F32, vector, &s);
    s->number = value;
    return r;
}

void kb_set_const(Kernel *k, Reg dst, double value) {
    assert(k->regs[dst].elem == ELEM_F32 || (k->regs[dst].elem == ELEM_F16 && value == 0));
    Stm *s = append(k, STM_CONST);
    s->dst = dst;
    s->number = value;
}

Reg kb_int(Kernel *k, int32_t bits, bool vector) {
    Stm *s;
    Reg r = append_value(k, STM_CONST, ELEM_I32, vector, &s);
    s->bits = bits;
    return r;
}

Reg kb_iota(Kernel *k) {
    Stm *s;
    return append_value(k, STM_IOTA, ELEM_I32, true, &s);
}

Reg kb_from_index(Kernel *k, Index i) {
    Stm *s;
    Reg r = append_value(k, STM_FROM_INDEX, ELEM_I32, false, &s);
    s->index = i;
    return r;
}

Reg kb_run(Kernel *k, RunScalar scalar) {
    Stm *s;
    Reg r = append_value(k, STM_RUN, scalar >= RUN_STEP_COUNT ? ELEM_I32 : ELEM_F32, false, &s);
    s->scalar = scalar;
    return r;
}

/* The type that an operation's result has: the table's column, and vector when its arguments are. */
static RegType result_type(const Kernel *k, KOp op, const Reg *arg) {
    enum { SAME = 100, SECOND, F = ELEM_F32, I = ELEM_I32, M = ELEM_MASK };
    static const int result[KOP_COUNT] = {
#define KOP(id, text, n, result, meaning) result,
#include "kernel/kir.def"
    };
    RegType first = k->regs[arg[0]];
    RegType t = { ELEM_F32, op == KOP_SPLAT || (first.vector && op != KOP_HSUM && op != KOP_HMAX) };
    if (result[op] == SAME)
        t.elem = first.elem;
    else if (result[op] == SECOND)
        t.elem = k->regs[arg[1]].elem;
    else
        t.elem = (Elem)result[op];
    return t;
}

void kb_set(Kernel *k, Reg dst, KOp op, Reg x, Reg y, Reg z) {
    const Reg arg[3] = { x, y, z };
    RegType t = result_type(k, op, arg);
    assert(t.elem == k->regs[dst].elem && t.vector == k->regs[dst].vector);
    (void)t;
    for (int i = 0; i < kop_info[op].args; i++)
        assert(arg[i] >= 0 && arg[i] < k->reg_count);
    Stm *s = append(k, STM_OP);
    s->op = op;
    s->dst = dst;
    for (int i = 0; i < kop_info[op].args; i++)
        s->arg[i] = arg[i];
}

Reg kb_op(Kernel *k, KOp op, Reg x, Reg y, Reg z) {
    RegType t = result_type(k, op, (const Reg[3]){ x, y, z });
    Reg r = kb_reg(k, t.elem, t.vector);
    kb_set(k, r, op, x, y, z);
    return r;
}

/* ---- memory ---- */

static Stm *append_access(Kernel *k, StmKind kind, Access a, int buffer, Index at) {
    assert(buffer >= 0 && buffer < k->buffer_count);
    Stm *s = append(k, kind);
    s->access = a;
    s->buffer = buffer;
    s->index = at;
    return s;
}

Reg kb_load(Kernel *k, Access a, int buffer, Index at) {
    assert(a != ACCESS_MASKED && a != ACCESS_STRIDED);
    return kb_load_lanes(k, a, buffer, at, index_const(0), 0);
}

Reg kb_load_lanes(Kernel *k, Access a, int buffer, Index at, Index lanes, int64_t stride) {
    Reg r = kb_reg(k, k->buffers[buffer].elem, a != ACCESS_SCALAR);
    Stm *s = append_access(k, STM_LOAD, a, buffer, at);
    s->dst = r;
    s->lanes = lanes;
    s->stride = stride;
    return r;
}

void kb_store(Kernel *k, Access a, int buffer, Index at, Reg src) {
    assert(a != ACCESS_MASKED && a != ACCESS_STRIDED);
    kb_store_lanes(k, a, buffer, at, index_const(0), 0, src);
}

void kb_store_lanes(Kernel *k, Access a, int buffer, Index at, Index lanes, int64_t stride, Reg src) {
    assert(a != ACCESS_SPLAT && k->buffers[buffer].written);
    assert(k->regs[src].elem == k->buffers[buffer].elem && k->regs[src].vector == (a != ACCESS_SCALAR));
    Stm *s = append_access(k, STM_STORE, a, buffer, at);
    s->arg[0] = src;
    s->lanes = lanes;
    s->stride = stride;
}

void kb_add_to(Kernel *k, Access a, int buffer, Index at, Index lanes, Reg src) {
    assert((a == ACCESS_VECTOR || a == ACCESS_MASKED || a == ACCESS_SCALAR) && k->buffers[buffer].written);
    assert(k->regs[src].elem == ELEM_F32 && k->regs[src].vector == (a != ACCESS_SCALAR));
    assert(store_bytes(k->buffers[buffer].store) != 2);
    Stm *s = append_access(k, STM_ADD_TO, a, buffer, at);
    s->arg[0] = src;
    s->lanes = lanes;
}

void kb_opaque(Kernel *k, int buffer) {
    append_access(k, STM_OPAQUE, ACCESS_SCALAR, buffer, index_const(0));
}

void kb_prefetch(Kernel *k, int buffer, Index at, int level) {
    append_access(k, STM_PREFETCH, ACCESS_SCALAR, buffer, at)->value = level;
}

void kb_product(Kernel *k, Product p) {
    assert(k->buffers[p.c].written && p.n > 0);
    Product *copy = NEW(k->arena, Product);
    *copy = p;
    append(k, STM_PRODUCT)->product = copy;
}

/* ---- the finished kernel ---- */

static uint64_t text_hash(const char *text, size_t length) {
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 1099511628211u;
    return h;
}

void kernel_finish(Kernel *k) {
    assert(k->open_count == 0);
    kernel_order(k);
    Writer *why = writer_new(k->arena);
    if (!kernel_verify(k, why)) {
        Writer *text = writer_new(k->arena);
        kernel_print(text, k);
        fprintf(stderr, "%s\nkernel %s is broken: %s\n", text->data, k->name, why->data);
        abort();
    }
    Writer *form = writer_new(k->arena);
    kernel_print_form(form, k);
    k->hash = text_hash(form->data, form->length);
}

bool kernel_equal(const Kernel *a, const Kernel *b) {
    if (a == b)
        return true;
    if (a->hash != b->hash)
        return false;
    Writer *x = writer_new(a->arena), *y = writer_new(a->arena);
    kernel_print_form(x, a);
    kernel_print_form(y, b);
    return x->length == y->length && !memcmp(x->data, y->data, x->length);
}
