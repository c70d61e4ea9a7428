/* emit_c_kernel.c - one kernel as one C function.
 *
 * Registers become local variables named by kind and number (s float, v vector of floats, i integer, w vector of
 * integers, m mask, p vector mask), declared where they are first set; what nothing reads is left out.
 * Short statements share a line. */
#include "backend/emit_c_kernel.h"

#include <math.h>
#include <string.h>

enum { LINE = 118 };
static const char index_type[] = "const int64_t";      /* declarations of indices have lines of their own */

/* ---- lines ---- */

static void end_line(Emit *e) {
    if (e->declaring)
        writer_char(e->out, ';');
    if (e->on_line)
        writer_char(e->out, '\n');
    e->declaring = NULL;
    e->on_line = false;
}

/* Puts e->text, a statement without its `;`, on the line or on the next one. type: it declares a variable. */
static void put(Emit *e, const char *type) {
    int width = (int)e->text->length + (type ? (int)strlen(type) : 0) + 3;
    bool indices = e->declaring && !strcmp(e->declaring, index_type), index = type && !strcmp(type, index_type);
    if (e->on_line && (e->out->column + width > LINE || indices != index))
        end_line(e);
    if (type && e->on_line && e->declaring == type) {
        writer_printf(e->out, ", %s", e->text->data);
    } else {
        if (e->declaring)
            writer_char(e->out, ';');
        if (e->on_line)
            writer_char(e->out, ' ');
        e->declaring = type;
        if (type)
            writer_printf(e->out, "%s %s", type, e->text->data);
        else
            writer_printf(e->out, "%s;", e->text->data);
    }
    e->on_line = true;
    e->text->length = 0;
    e->text->column = 0;
}

/* ---- statements ---- */

static bool is_zero_vector(const Emit *e, const Stm *s) {
    RegType t = e->k->regs[s->dst];
    return s->kind == STM_CONST && t.vector && t.elem == ELEM_F32 && s->number == 0 && !signbit(s->number);
}

static void print_set(Emit *e, const Stm *s, const Scope *scope) {
    const RegInfo *r = &e->reg[s->dst];
    bool declares = r->first == s && r->scope == scope;
    emit_c_reg(e, s->dst);
    writer_text(e->text, " = ");
    if (declares && is_zero_vector(e, s))
        writer_text(e->text, "{0}");
    else
        emit_c_value(e, s);
    put(e, declares ? emit_c_reg_type(e->k->regs[s->dst]) : NULL);
}

static void print_index_set(Emit *e, const Stm *s) {
    static const PreludeId functions[] = { [INDEX_DIV] = PRELUDE_DIV, [INDEX_MOD] = PRELUDE_MOD, [INDEX_MIN] = PRELUDE_IMIN, [INDEX_MAX] = PRELUDE_IMAX };
    writer_printf(e->text, "%s = ", e->var_name[s->var]);
    if (s->index_op == INDEX_LOAD) {
        emit_c_element(e, s);
    } else if (s->index_op == INDEX_AFFINE) {
        emit_c_index(e, &s->begin);
    } else {
        writer_printf(e->text, "%s(", prelude_function(e->use, functions[s->index_op]));
        emit_c_index(e, &s->begin);
        writer_text(e->text, ", ");
        emit_c_index(e, &s->end);
        writer_char(e->text, ')');
    }
    put(e, index_type);
}

static void print_prefetch(Emit *e, const Stm *s) {
    writer_text(e->text, "__builtin_prefetch(");
    emit_c_address(e, s);
    writer_printf(e->text, ", 0, %d)", s->value >= 1 && s->value <= 3 ? 4 - s->value : 3);
    put(e, NULL);
}

/* By CBLAS, row-major; its prototype stands in the prelude. */
static void print_product(Emit *e, const Product *p) {
    enum { ROW_MAJOR = 101, AS_IS = 111, TRANSPOSED = 112 };
    writer_printf(e->text, "cblas_sgemm(%d, %d, %d, (int)(", ROW_MAJOR, p->a_transposed ? TRANSPOSED : AS_IS, p->b_transposed ? TRANSPOSED : AS_IS);
    emit_c_index(e, &p->m);
    writer_printf(e->text, "), %lld, (int)(", (long long)p->n);
    emit_c_index(e, &p->k);
    writer_printf(e->text, "), 1.0f, %s, %lld, %s, %lld, 0.0f, %s, %lld)", e->buffer_name[p->a], (long long)p->lda, e->buffer_name[p->b],
                  (long long)p->ldb, e->buffer_name[p->c], (long long)p->ldc);
    put(e, NULL);
    e->use->blas = true;
}

static void print_block(Emit *e, const Stm *s, const Scope *scope);

/* Registers that only blocks inside `scope` set, but that belong to it. */
static void declare_here(Emit *e, const Scope *scope) {
    for (Reg r = 0; r < e->k->reg_count; r++) {
        const RegInfo *info = &e->reg[r];
        if (!info->first || info->scope != scope || info->first_scope == scope)
            continue;
        emit_c_reg(e, r);
        writer_text(e->text, e->k->regs[r].vector && !(e->k->regs[r].elem == ELEM_MASK && e->k->target->width == 16) ? " = {0}" : " = 0");
        put(e, emit_c_reg_type(e->k->regs[r]));
    }
}

static void print_nested(Emit *e, const Stm *s) {
    const Scope *inner = e->scopes[e->scope_next++];
    end_line(e);
    if (s->kind == STM_LOOP) {
        const char *name = e->var_name[s->var];
        writer_printf(e->text, "for (int64_t %s = ", name);
        emit_c_index(e, &s->begin);
        writer_printf(e->text, "; %s < ", name);
        emit_c_index(e, &s->end);
        if (s->step == 1)
            writer_printf(e->text, "; %s++)", name);
        else
            writer_printf(e->text, "; %s += %lld)", name, (long long)s->step);
    } else {
        writer_text(e->text, "if (");
        emit_c_index(e, &s->begin);
        writer_text(e->text, " < ");
        emit_c_index(e, &s->end);
        writer_char(e->text, ')');
    }
    writer_printf(e->out, "%s {\n", e->text->data);
    e->text->length = 0;
    e->text->column = 0;
    writer_indent(e->out, 4);
    print_block(e, s->body, inner);
    writer_indent(e->out, -4);
    writer_text(e->out, "}\n");
}

static void print_note(Emit *e, const char *note) {
    end_line(e);
    writer_text(e->out, "/* ");
    emit_c_comment(e->out, note);
    writer_text(e->out, " */\n");
}

static void print_statement(Emit *e, const Stm *s, const Scope *scope) {
    if (s->note)
        print_note(e, s->note);
    switch (s->kind) {
    case STM_LOOP:
    case STM_IF: print_nested(e, s); break;
    case STM_INDEX: print_index_set(e, s); break;
    case STM_STORE:
    case STM_ADD_TO:
        emit_c_store(e, s);
        put(e, NULL);
        break;
    case STM_OPAQUE:
        writer_printf(e->text, "__asm__ volatile(\"\" : \"+r\"(%s))", e->buffer_name[s->buffer]);
        put(e, NULL);
        break;
    case STM_PREFETCH: print_prefetch(e, s); break;
    case STM_PRODUCT: print_product(e, s->product); break;
    default: print_set(e, s, scope); break;
    }
}

static void print_block(Emit *e, const Stm *s, const Scope *scope) {
    declare_here(e, scope);
    for (; s; s = s->next)
        if (emit_c_is_live(e, s))
            print_statement(e, s, scope);
    end_line(e);
}

/* ---- the function ---- */

/* Index variables and buffers keep their names unless those mean something else in the file. */
static const char *local_name(Emit *e, Table *taken, const char *name) {
    static const char *const reserved[] = { "arg", "run", "int", "float", "for", "if", "do", "else", "void", "const", "static", "double",
        "long", "short", "char", "auto", "case", "default", "switch", "while", "return", "register", "restrict", "signed", "unsigned",
        "sizeof", "struct", "union", "enum", "typedef", "inline", "extern", "goto", "break", "continue", "volatile", "linux", "unix" };
    bool digit_tail = strchr("svimwp", name[0]) && name[1] && strspn(name + 1, "0123456789") == strlen(name + 1);
    bool bad = table_has(taken, name) || digit_tail || !strncmp(name, "v_", 2) || !strncmp(name, "s_", 2) || !strncmp(name, "i_", 2) ||
               strlen(name) > 60 || name[0] == '_';
    for (int i = 0; i < COUNT(reserved) && !bad; i++)
        bad = !strcmp(name, reserved[i]);
    const char *unique = bad ? arena_printf(e->text->arena, "%.40s_%d", name[0] == '_' ? "x" : name, taken->count) : name;
    while (table_has(taken, unique))
        unique = arena_printf(e->text->arena, "%s_", unique);
    table_set(taken, unique, e);
    return unique;
}

static void choose_names(Emit *e) {
    Table *taken = table_new(e->text->arena);
    e->var_name[VAR_TASK] = "task";
    e->var_name[VAR_N] = "n";
    table_set(taken, "task", e);
    table_set(taken, "n", e);
    for (int i = 0; i < e->k->buffer_count; i++)
        e->buffer_name[i] = local_name(e, taken, e->k->buffers[i].name);
    for (int i = VAR_FIRST; i < e->k->var_count; i++)
        e->var_name[i] = local_name(e, taken, e->k->vars[i]);
}

static void print_comment(Emit *e) {
    const Kernel *k = e->k;
    const char *title = k->title && k->title[0] ? k->title : k->name, *plan = strstr(title, "; ");
    writer_text(e->out, "\n/* ");
    emit_c_comment(e->out, plan ? arena_strndup(e->text->arena, title, (size_t)(plan - title)) : title);
    const char *place = emit_place(e->text->arena, k->span);
    if (place[0]) {
        writer_text(e->out, "  (");
        emit_c_comment(e->out, place);
        writer_char(e->out, ')');
    }
    if (plan) {
        writer_text(e->out, "\n * ");
        emit_c_comment(e->out, plan + 2);
    }
    for (int i = 0; i < k->buffer_count; i++)
        if (k->buffers[i].text && k->buffers[i].text[0]) {
            writer_printf(e->out, "\n *   %-10s ", e->buffer_name[i]);
            emit_c_comment(e->out, k->buffers[i].text);
        }
    writer_text(e->out, " */\n");
}

static void print_buffers(Emit *e) {
    int arg = 0;
    for (int i = 0; i < e->k->buffer_count; i++) {
        const Buffer *b = &e->k->buffers[i];
        int number = b->kind == BUFFER_ARG ? arg++ : 0;
        if (!e->buffer_used[i])
            continue;
        const char *type = b->store == STORE_U8 ? "uint8_t" : store_bytes(b->store) == 2 ? "uint16_t" : b->elem == ELEM_F32 ? "float" : "int32_t";
        writer_printf(e->text, "%s%s *%s = ", b->written ? "" : "const ", type, e->buffer_name[i]);
        if (b->kind == BUFFER_ARG)
            writer_printf(e->text, "arg[%d]", number);
        else
            writer_printf(e->text, "(%s *)((char *)run->scratch + %lld)", type, (long long)b->scratch_offset);
        e->run_used |= b->kind == BUFFER_SCRATCH;
        put(e, NULL);
    }
    end_line(e);
}

static void print_unused(Emit *e) {
    bool any_arg = false;
    for (int i = 0; i < e->k->buffer_count; i++)
        any_arg |= e->buffer_used[i] && e->k->buffers[i].kind == BUFFER_ARG;
    if (e->var_live[VAR_N]) {
        writer_text(e->text, "const int64_t n = run->n");
        put(e, NULL);
    } else if (!e->run_used) {
        writer_text(e->text, "(void)run");
        put(e, NULL);
    }
    const char *unused[] = { any_arg ? NULL : "(void)arg", e->var_live[VAR_TASK] ? NULL : "(void)task" };
    for (int i = 0; i < COUNT(unused); i++)
        if (unused[i]) {
            writer_text(e->text, unused[i]);
            put(e, NULL);
        }
    end_line(e);
}

void emit_c_kernel(Writer *out, const Kernel *k, PreludeUse *use) {
    Arena *arena = arena_new(0);
    Emit e = { .out = out, .k = k, .use = use, .text = writer_new(arena) };
    e.var_name = NEW_ARRAY(arena, const char *, k->var_count);
    e.buffer_name = NEW_ARRAY(arena, const char *, k->buffer_count + 1);
    Scope outermost = { NULL, 0 };
    emit_c_live(&e, &outermost);
    choose_names(&e);
    print_comment(&e);
    writer_printf(out, "static void kernel_%s(void *const *arg, const SalunRun *run, int64_t task) {\n", k->name);
    writer_indent(out, 4);
    print_buffers(&e);
    print_unused(&e);
    print_block(&e, k->body, &outermost);
    writer_indent(out, -4);
    writer_text(out, "}\n");
    arena_destroy(arena);
}
