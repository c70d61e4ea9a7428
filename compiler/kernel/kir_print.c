/* kir_print.c - the text form of a kernel: complete, stable from run to run, free of addresses.
 *
 *   kernel conv1 avx512 fast  ; layer1.0.conv1 f32[8, 64, 56, 56]
 *     arg x: f32 x 802816 [N, 4, 56, 56, 16]
 *     arg out: f32 x 802816 written
 *     for row = 0 to 56 {
 *       v3 = load.splat x[task*802816 + row*56]
 *       v4 = fma v3, v2, v4
 *       store.vector out[row*56], v4
 *     }
 *
 * Registers: s float, v vector of floats, i integer, w vector of integers, m mask, p vector mask, h vector of binary16.
 * The form without names (kernel_print_form) writes variables and buffers as numbers. */
#include "kernel/kir.h"

#include "graph/expr.h"

static const char *const access_text[] = { "scalar", "splat", "vector", "masked", "strided" };
static const char *const run_text[] = { "batch", "step", "lr", "smoothing", "step_count", "seed0", "seed1" };
static const char *const index_text[] = { "affine", "div", "mod", "min", "max", "load" };

typedef struct { Writer *out; const Kernel *k; bool names; } Printer;

static void print_var(const Printer *p, int var) {
    if (p->names)
        writer_text(p->out, p->k->vars[var]);
    else
        writer_printf(p->out, "x%d", var);
}

static void print_index(const Printer *p, const Index *x) {
    bool first = true;
    for (int i = 0; i < x->count; i++) {
        int64_t c = x->term[i].coef;
        writer_text(p->out, first ? (c < 0 ? "-" : "") : c < 0 ? " - " : " + ");
        print_var(p, x->term[i].var);
        if (c != 1 && c != -1)
            writer_printf(p->out, "*%lld", (long long)(c < 0 ? -c : c));
        first = false;
    }
    if (first)
        writer_printf(p->out, "%lld", (long long)x->base);
    else if (x->base)
        writer_printf(p->out, " %c %lld", x->base < 0 ? '-' : '+', (long long)(x->base < 0 ? -x->base : x->base));
}

static void print_reg(const Printer *p, Reg r) {
    static const char letter[2][4] = { { 's', 'i', 'm', 'h' }, { 'v', 'w', 'p', 'h' } };
    RegType t = p->k->regs[r];
    writer_printf(p->out, "%c%d", letter[t.vector][t.elem], r);
}

static void print_memory(const Printer *p, const Stm *s) {
    if (p->names)
        writer_text(p->out, p->k->buffers[s->buffer].name);
    else
        writer_printf(p->out, "b%d", s->buffer);
    writer_char(p->out, '[');
    print_index(p, s->kind == STM_INDEX ? &s->begin : &s->index);
    if (s->kind != STM_INDEX && s->access == ACCESS_STRIDED)
        writer_printf(p->out, " by %lld", (long long)s->stride);
    writer_char(p->out, ']');
    if (s->kind != STM_INDEX && (s->access == ACCESS_MASKED || s->access == ACCESS_STRIDED)) {
        writer_text(p->out, " lanes ");
        print_index(p, &s->lanes);
    }
}

static void print_block(const Printer *p, const Stm *s);

static void print_nested(const Printer *p, const Stm *s) {
    writer_text(p->out, " {\n");
    writer_indent(p->out, 2);
    print_block(p, s->body);
    writer_indent(p->out, -2);
    writer_text(p->out, "}\n");
}

static void print_loop(const Printer *p, const Stm *s) {
    writer_text(p->out, "for ");
    print_var(p, s->var);
    writer_text(p->out, " = ");
    print_index(p, &s->begin);
    writer_text(p->out, " to ");
    print_index(p, &s->end);
    if (s->step != 1)
        writer_printf(p->out, " by %lld", (long long)s->step);
    print_nested(p, s);
}

static void print_if(const Printer *p, const Stm *s) {
    writer_text(p->out, "if ");
    print_index(p, &s->begin);
    writer_text(p->out, " < ");
    print_index(p, &s->end);
    print_nested(p, s);
}

static void print_index_stm(const Printer *p, const Stm *s) {
    writer_text(p->out, "index ");
    print_var(p, s->var);
    writer_printf(p->out, " = %s ", index_text[s->index_op]);
    if (s->index_op == INDEX_LOAD) {
        print_memory(p, s);
        return;
    }
    print_index(p, &s->begin);
    if (s->index_op != INDEX_AFFINE) {
        writer_text(p->out, ", ");
        print_index(p, &s->end);
    }
}

static void print_operation(const Printer *p, const Stm *s) {
    writer_printf(p->out, "%s", kop_info[s->op].text);
    for (int i = 0; i < kop_info[s->op].args; i++) {
        writer_text(p->out, i ? ", " : " ");
        print_reg(p, s->arg[i]);
    }
}

/* The right side of a statement that sets a register. */
static void print_value(const Printer *p, const Stm *s) {
    print_reg(p, s->dst);
    writer_text(p->out, " = ");
    switch (s->kind) {
    case STM_CONST:
        writer_text(p->out, "const ");
        if (p->k->regs[s->dst].elem != ELEM_I32)
            expr_print_number(p->out, s->number);
        else
            writer_printf(p->out, "%d", (int)s->bits);
        break;
    case STM_IOTA: writer_text(p->out, "iota"); break;
    case STM_FROM_INDEX:
        writer_text(p->out, "from ");
        print_index(p, &s->index);
        break;
    case STM_RUN: writer_printf(p->out, "run %s", run_text[s->scalar]); break;
    case STM_LOAD:
        writer_printf(p->out, "load.%s ", access_text[s->access]);
        print_memory(p, s);
        break;
    default: print_operation(p, s); break;
    }
}

static void print_matrix(const Printer *p, int buffer, int64_t row, bool transposed) {
    if (p->names)
        writer_text(p->out, p->k->buffers[buffer].name);
    else
        writer_printf(p->out, "b%d", buffer);
    writer_printf(p->out, "/%lld%s", (long long)row, transposed ? "^T" : "");
}

static void print_product(const Printer *p, const Product *m) {
    writer_text(p->out, "product ");
    print_matrix(p, m->c, m->ldc, false);
    writer_text(p->out, " = ");
    print_matrix(p, m->a, m->lda, m->a_transposed);
    writer_text(p->out, " * ");
    print_matrix(p, m->b, m->ldb, m->b_transposed);
    writer_text(p->out, " m ");
    print_index(p, &m->m);
    writer_printf(p->out, " n %lld k ", (long long)m->n);
    print_index(p, &m->k);
}

static void print_stm(const Printer *p, const Stm *s) {
    switch (s->kind) {
    case STM_LOOP: print_loop(p, s); return;
    case STM_IF: print_if(p, s); return;
    case STM_INDEX: print_index_stm(p, s); break;
    case STM_STORE:
    case STM_ADD_TO:
        writer_printf(p->out, "%s.%s ", s->kind == STM_STORE ? "store" : "add", access_text[s->access]);
        print_memory(p, s);
        writer_text(p->out, ", ");
        print_reg(p, s->arg[0]);
        break;
    case STM_OPAQUE:
        if (p->names)
            writer_printf(p->out, "opaque %s", p->k->buffers[s->buffer].name);
        else
            writer_printf(p->out, "opaque b%d", s->buffer);
        break;
    case STM_PREFETCH:
        writer_printf(p->out, "prefetch.%d ", s->value);
        print_memory(p, s);
        break;
    case STM_PRODUCT: print_product(p, s->product); break;
    case STM_COUNT: break;
    default: print_value(p, s); break;
    }
    writer_char(p->out, '\n');
}

static void print_block(const Printer *p, const Stm *s) {
    for (; s; s = s->next) {
        if (p->names && s->note)
            writer_line(p->out, "; %s", s->note);
        print_stm(p, s);
    }
}

static void print_buffers(const Printer *p) {
    for (int i = 0; i < p->k->buffer_count; i++) {
        const Buffer *b = &p->k->buffers[i];
        writer_printf(p->out, "%s ", b->kind == BUFFER_ARG ? "arg" : "scratch");
        if (p->names)
            writer_text(p->out, b->name);
        else
            writer_printf(p->out, "b%d", i);
        writer_printf(p->out, ": %s x %lld", b->store ? store_text[b->store] : b->elem == ELEM_F32 ? "f32" : "i32", (long long)b->count);
        if (b->kind == BUFFER_SCRATCH)
            writer_printf(p->out, " at %lld", (long long)b->scratch_offset);
        else if (b->written)
            writer_text(p->out, " written");
        if (p->names && b->text[0])
            writer_printf(p->out, "  ; %s", b->text);
        writer_char(p->out, '\n');
    }
}

static void print_kernel(const Printer *p) {
    const Kernel *k = p->k;
    writer_printf(p->out, "kernel %s %s %s", p->names ? k->name : "_", k->target->name,
                  k->math == MATH_FAST ? "fast" : "strict");
    if (p->names && k->title[0])
        writer_printf(p->out, "  ; %s", k->title);
    writer_char(p->out, '\n');
    writer_indent(p->out, 2);
    print_buffers(p);
    print_block(p, k->body);
    writer_indent(p->out, -2);
}

void kernel_print(Writer *out, const Kernel *k) {
    print_kernel(&(Printer){ out, k, true });
}

void kernel_print_form(Writer *out, const Kernel *k) {
    print_kernel(&(Printer){ out, k, false });
}
