/* expr_print.c - scalar expressions as text: infix, every operator's arguments in parentheses.
 * A directed graph printed as a tree can be exponentially long; beyond INLINE_SIZE nodes, and below
 * INLINE_HEIGHT levels, parts get names and stand in front of the result. */
#include "graph/expr.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { INLINE_SIZE = 48, INLINE_HEIGHT = 64 };

typedef struct {
    Writer *out;
    const Expr **nodes;
    int count;
    int *name;          /* per node: its t-number, -1 while it is printed in place */
} Printer;

void expr_print_number(Writer *out, double value) {
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    writer_text(out, isnan(value) ? "nan" : text);
}

static void print_node(Printer *p, const Expr *e, bool outermost);

static void print_arg(Printer *p, const Expr *e, bool alone) {
    int name = p->name[expr_position(p->nodes, p->count, e)];
    if (name >= 0)
        writer_printf(p->out, "t%d", name);
    else
        print_node(p, e, alone);
}

static void print_call(Printer *p, const Expr *e) {
    writer_printf(p->out, "%s(", expr_info[e->op].text);
    for (int i = 0; i < expr_info[e->op].args; i++) {
        writer_text(p->out, i ? ", " : "");
        print_arg(p, e->arg[i], true);
    }
    writer_char(p->out, ')');
}

static void print_operator(Printer *p, const Expr *e) {
    if (e->op == EXPR_NEG || e->op == EXPR_NOT) {
        writer_text(p->out, e->op == EXPR_NEG ? "-" : "not ");
        print_arg(p, e->arg[0], false);
    } else if (e->op == EXPR_SELECT) {
        print_arg(p, e->arg[1], false);
        writer_text(p->out, " if ");
        print_arg(p, e->arg[0], false);
        writer_text(p->out, " else ");
        print_arg(p, e->arg[2], false);
    } else {
        print_arg(p, e->arg[0], false);
        writer_printf(p->out, " %s ", expr_info[e->op].text);
        print_arg(p, e->arg[1], false);
    }
}

static bool is_function(ExprOp op) {
    return isalpha((unsigned char)expr_info[op].text[0]) && op != EXPR_NEG && op != EXPR_NOT && op != EXPR_SELECT &&
           op != EXPR_AND && op != EXPR_OR;
}

static void print_node(Printer *p, const Expr *e, bool outermost) {
    switch (e->op) {
    case EXPR_CONST: expr_print_number(p->out, e->value); return;
    case EXPR_INPUT: writer_printf(p->out, "i%d", e->index); return;
    case EXPR_COORD: writer_printf(p->out, "c%d", e->index); return;
    default: break;
    }
    if (is_function(e->op)) {
        print_call(p, e);
        return;
    }
    writer_text(p->out, outermost ? "" : "(");
    print_operator(p, e);
    writer_text(p->out, outermost ? "" : ")");
}

/* Chooses what gets a name: name[i] = 0 where node i does, else -1. */
static void choose_names(Printer *p, Arena *scratch) {
    double *tree = NEW_ARRAY(scratch, double, p->count);
    int *uses = NEW_ARRAY(scratch, int, p->count), *height = NEW_ARRAY(scratch, int, p->count);
    for (int i = 0; i < p->count; i++) {
        const Expr *e = p->nodes[i];
        tree[i] = 1;
        for (int k = 0; k < expr_info[e->op].args; k++) {
            int from = expr_position(p->nodes, p->count, e->arg[k]);
            uses[from]++;
            tree[i] += tree[from];
        }
    }
    bool share = tree[p->count - 1] > INLINE_SIZE;
    for (int i = 0; i < p->count; i++) {
        const Expr *e = p->nodes[i];
        for (int k = 0; k < expr_info[e->op].args; k++) {
            int from = expr_position(p->nodes, p->count, e->arg[k]);
            int above = p->name[from] < 0 ? height[from] + 1 : 1;
            height[i] = above > height[i] ? above : height[i];
        }
        bool named = expr_info[e->op].args > 0 && ((share && uses[i] > 1) || height[i] >= INLINE_HEIGHT);
        p->name[i] = named && i < p->count - 1 ? 0 : -1;
    }
}

void expr_print(Writer *out, const Expr *e) {
    Arena *scratch = arena_new(0);
    Printer p = { .out = out };
    p.nodes = expr_nodes(scratch, e, &p.count);
    p.name = NEW_ARRAY(scratch, int, p.count);
    choose_names(&p, scratch);
    int names = 0;
    for (int i = 0; i < p.count; i++) {
        if (p.name[i] < 0)
            continue;
        p.name[i] = names++;
        writer_printf(out, "t%d = ", p.name[i]);
        print_node(&p, p.nodes[i], true);
        writer_text(out, "; ");
    }
    print_node(&p, e, true);
    arena_destroy(scratch);
}
