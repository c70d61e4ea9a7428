/* emit_c_live.c - what of a kernel its stores depend on, and the innermost block that holds all of a register's uses.
 * Generated files are compiled with every warning: nothing unused may be printed. */
#include "backend/emit_c_kernel.h"

/* ---- what is needed ---- */

static void need_index(Emit *e, const Index *x) {
    for (int i = 0; i < x->count; i++)
        if (!e->var_live[x->term[i].var])
            e->var_live[x->term[i].var] = e->live_changed = true;
}

static void need_reg(Emit *e, Reg r) {
    if (r >= 0 && !e->reg[r].live)
        e->reg[r].live = e->live_changed = true;
}

static bool is_set(const Stm *s) {
    return s->kind == STM_CONST || s->kind == STM_IOTA || s->kind == STM_FROM_INDEX || s->kind == STM_RUN || s->kind == STM_OP ||
           s->kind == STM_LOAD;
}

bool emit_c_is_live(const Emit *e, const Stm *s) {
    if (is_set(s))
        return e->reg[s->dst].live;
    return s->kind == STM_INDEX ? e->var_live[s->var] : s->kind != STM_COUNT;
}

static bool has_lanes(const Stm *s) {
    return s->access == ACCESS_MASKED || s->access == ACCESS_STRIDED;
}

static void need_operands(Emit *e, const Stm *s) {
    switch (s->kind) {
    case STM_LOOP:
    case STM_IF:
    case STM_INDEX:
        need_index(e, &s->begin);
        need_index(e, &s->end);
        break;
    case STM_OP:
        for (int i = 0; i < kop_info[s->op].args; i++)
            need_reg(e, s->arg[i]);
        break;
    case STM_STORE:
    case STM_ADD_TO: need_reg(e, s->arg[0]); break;
    case STM_PRODUCT:
        need_index(e, &s->product->m);
        need_index(e, &s->product->k);
        e->buffer_used[s->product->a] = e->buffer_used[s->product->b] = e->buffer_used[s->product->c] = true;
        break;
    default: break;
    }
    if (s->kind == STM_FROM_INDEX || s->kind == STM_LOAD || s->kind == STM_STORE || s->kind == STM_ADD_TO || s->kind == STM_PREFETCH)
        need_index(e, &s->index);
    if ((s->kind == STM_LOAD || s->kind == STM_STORE || s->kind == STM_ADD_TO) && has_lanes(s))
        need_index(e, &s->lanes);
    if (s->buffer >= 0)
        e->buffer_used[s->buffer] = true;
    if (s->kind == STM_RUN)
        e->run_used = true;
}

typedef struct { const Stm **items; int count, capacity; } StmList;

static void list_statements(Arena *a, StmList *l, const Stm *s) {
    for (; s; s = s->next) {
        ARENA_PUSH(a, l->items, l->count, l->capacity, s);
        list_statements(a, l, s->body);
    }
}

/* Uses stand behind what they use, so one round from the end finds nearly all; what loops carry takes another. */
static void find_live(Emit *e) {
    StmList all = { 0 };
    list_statements(e->text->arena, &all, e->k->body);
    do {
        e->live_changed = false;
        for (int i = all.count - 1; i >= 0; i--)
            if (emit_c_is_live(e, all.items[i]))
                need_operands(e, all.items[i]);
    } while (e->live_changed);
}

static const Scope *common(const Scope *a, const Scope *b) {
    while (a != b) {
        if (a->depth >= b->depth)
            a = a->outer;
        else
            b = b->outer;
    }
    return a;
}

static void refer(Emit *e, Reg r, const Stm *s, const Scope *scope) {
    if (r < 0)
        return;
    RegInfo *info = &e->reg[r];
    if (!info->first) {
        info->first = s;
        info->scope = info->first_scope = scope;
    }
    info->scope = common(info->scope, scope);
}

/* Printing meets the scopes in the same order. */
static void find_scopes(Emit *e, const Stm *s, const Scope *scope) {
    for (; s; s = s->next) {
        if (!emit_c_is_live(e, s))
            continue;
        if (s->kind == STM_OP || s->kind == STM_STORE || s->kind == STM_ADD_TO)
            for (int i = 0; i < 3; i++)
                refer(e, s->arg[i], s, scope);
        if (is_set(s))
            refer(e, s->dst, s, scope);
        if (s->kind == STM_LOOP || s->kind == STM_IF) {
            Scope *inner = NEW(e->text->arena, Scope);
            *inner = (Scope){ scope, scope->depth + 1 };
            ARENA_PUSH(e->text->arena, e->scopes, e->scope_count, e->scope_cap, inner);
            find_scopes(e, s->body, inner);
        }
    }
}

void emit_c_live(Emit *e, const Scope *outermost) {
    Arena *arena = e->text->arena;
    e->reg = NEW_ARRAY(arena, RegInfo, e->k->reg_count + 1);
    e->var_live = NEW_ARRAY(arena, bool, e->k->var_count);
    e->buffer_used = NEW_ARRAY(arena, bool, e->k->buffer_count + 1);
    find_live(e);
    find_scopes(e, e->k->body, outermost);
}
