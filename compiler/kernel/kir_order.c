/* kir_order.c - one order of statements for every way of building the same kernel.
 *
 * Schedules build operations as arguments of calls, whose order C leaves open. Here every pure operation
 * moves down to just before its first use in its own list, operands from left to right, and equal ones of a list
 * become one: several MAPs behind an anchor often have parts in common, such as a saturating form's root. Constants and
 * run-time scalars move to the kernel's start, each once; what nothing uses goes; registers are numbered
 * as they appear. Loads, stores and registers that are set more than once stay where they are. */
#include "kernel/kir.h"

#include <string.h>

enum { BUCKETS = 1024 };

typedef struct {
    Kernel *k;
    int *sets;               /* times a register is set */
    Stm **def;               /* waiting definition of a register; NULL: none, or placed */
    Reg *same;               /* the register that stands for this one */
    Stm **found;             /* [BUCKETS], the latest operation of every hash */
    Stm **before;            /* per register: of what sets it, the one with the same hash before */
    int *list_of;            /* per register: the list in which its operation was placed */
    int *lists;              /* begun so far */
    int list;                /* the one being written */
    Stm *top, *top_last;     /* constants */
    Stm *out, *out_last;     /* the list being written */
} Order;

static bool sets_register(const Stm *s) {
    switch (s->kind) {
    case STM_CONST: case STM_IOTA: case STM_FROM_INDEX: case STM_RUN: case STM_OP: case STM_LOAD: return true;
    default: return false;
    }
}

static int arg_count(const Stm *s) {
    if (s->kind == STM_OP)
        return kop_info[s->op].args;
    return s->kind == STM_STORE || s->kind == STM_ADD_TO;
}

static void count_sets(Order *o, const Stm *list) {
    for (const Stm *s = list; s; s = s->next) {
        if (sets_register(s))
            o->sets[s->dst]++;
        count_sets(o, s->body);
    }
}

static bool is_constant(const Stm *s) { return s->kind == STM_CONST || s->kind == STM_IOTA || s->kind == STM_RUN; }

/* Pure, and nothing it reads ever changes. */
static bool floats(const Order *o, const Stm *s) {
    if (!sets_register(s) || s->kind == STM_LOAD || o->sets[s->dst] != 1)
        return false;
    for (int i = 0; i < arg_count(s); i++)
        if (o->sets[s->arg[i]] != 1)
            return false;
    return true;
}

static void append_to(Stm **first, Stm **last, Stm *s) {
    s->next = NULL;
    if (*last)
        (*last)->next = s;
    else
        *first = s;
    *last = s;
}

static bool equal_constants(const Kernel *k, const Stm *a, const Stm *b) {
    RegType x = k->regs[a->dst], y = k->regs[b->dst];
    return a->kind == b->kind && x.elem == y.elem && x.vector == y.vector && a->bits == b->bits && a->scalar == b->scalar &&
           memcmp(&a->number, &b->number, sizeof a->number) == 0;
}

static void place_constant(Order *o, Stm *s) {
    for (Stm *t = o->top; t; t = t->next)
        if (equal_constants(o->k, s, t)) {
            o->same[s->dst] = t->dst;
            return;
        }
    append_to(&o->top, &o->top_last, s);
}

static bool equal_operations(const Stm *a, const Stm *b) {
    return a->op == b->op && memcmp(a->arg, b->arg, (size_t)arg_count(a) * sizeof *a->arg) == 0;
}

/* Once in this list: values of the lists around it are not kept for its sake, through loops that need the registers. */
static void place_operation(Order *o, Stm *s) {
    unsigned hash = (unsigned)s->op;
    for (int i = 0; i < arg_count(s); i++) {
        s->arg[i] = o->same[s->arg[i]];
        hash = hash * 31 + (unsigned)s->arg[i];
    }
    Stm **bucket = &o->found[hash % BUCKETS];
    for (const Stm *t = *bucket; t; t = o->before[t->dst])
        if (o->list_of[t->dst] == o->list && equal_operations(s, t)) {
            o->same[s->dst] = t->dst;
            return;
        }
    o->before[s->dst] = *bucket;
    o->list_of[s->dst] = o->list;
    *bucket = s;
    append_to(&o->out, &o->out_last, s);
}

static void place_register(Order *o, Reg r) {
    Stm *s = o->def[r];
    if (!s)
        return;
    o->def[r] = NULL;
    for (int i = 0; i < arg_count(s); i++)
        place_register(o, s->arg[i]);
    if (is_constant(s))
        place_constant(o, s);
    else if (s->kind == STM_OP)
        place_operation(o, s);
    else
        append_to(&o->out, &o->out_last, s);
}

/* What s and all inside of it read of this list or those around it. */
static void place_operands(Order *o, const Stm *s) {
    for (int i = 0; i < arg_count(s); i++)
        place_register(o, s->arg[i]);
    for (const Stm *inner = s->body; inner; inner = inner->next)
        place_operands(o, inner);
}

static void order_list(Order *o, Stm *list) {
    o->list = (*o->lists)++;
    for (Stm *s = list, *next; s; s = next) {
        next = s->next;
        if (floats(o, s)) {
            o->def[s->dst] = s;
            continue;
        }
        place_operands(o, s);
        append_to(&o->out, &o->out_last, s);
        if (s->body) {
            Order inner = *o;
            inner.out = inner.out_last = NULL;
            order_list(&inner, s->body);
            s->body = inner.out;
            s->body_last = inner.out_last;
            o->top = inner.top;
            o->top_last = inner.top_last;
        }
    }
}

/* ---- registers in order of appearance ---- */

typedef struct { Reg *name; RegType *types; int count; } Rename;

static Reg rename_register(Order *o, Rename *n, Reg r) {
    r = o->same[r];
    if (n->name[r] == NO_REG) {
        n->types[n->count] = o->k->regs[r];
        n->name[r] = n->count++;
    }
    return n->name[r];
}

static void rename_list(Order *o, Rename *n, Stm *list) {
    for (Stm *s = list; s; s = s->next) {
        for (int i = 0; i < arg_count(s); i++)
            s->arg[i] = rename_register(o, n, s->arg[i]);
        if (sets_register(s))
            s->dst = rename_register(o, n, s->dst);
        rename_list(o, n, s->body);
    }
}

void kernel_order(Kernel *k) {
    Order o = {.k = k};
    size_t regs = (size_t)k->reg_count + 1;
    o.sets = NEW_ARRAY(k->arena, int, regs);
    o.def = NEW_ARRAY(k->arena, Stm *, regs);
    o.same = NEW_ARRAY(k->arena, Reg, regs);
    o.found = NEW_ARRAY(k->arena, Stm *, BUCKETS);
    o.before = NEW_ARRAY(k->arena, Stm *, regs);
    o.list_of = NEW_ARRAY(k->arena, int, regs);
    o.lists = &(int){0};
    Rename n = {NEW_ARRAY(k->arena, Reg, regs), NEW_ARRAY(k->arena, RegType, regs), 0};
    for (int i = 0; i < k->reg_count; i++) {
        o.same[i] = i;
        n.name[i] = NO_REG;
    }
    count_sets(&o, k->body);
    order_list(&o, k->body);
    if (o.top_last) {
        o.top_last->next = o.out;
        k->body = o.top;
        k->body_last = o.out_last ? o.out_last : o.top_last;
    } else {
        k->body = o.out;
        k->body_last = o.out_last;
    }
    rename_list(&o, &n, k->body);
    k->regs = n.types;
    k->reg_count = k->reg_cap = n.count;
}
