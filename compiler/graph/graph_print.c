/* graph_print.c - a graph as text: one line per node, the same for the same graph on every machine.
 * The batch axis is written N; its capacity stands in the first line. */
#include "graph/graph.h"

static void print_type(Writer *out, const Node *n) {
    writer_printf(out, " : %s[", dtype_text[n->type]);
    for (int i = 0; i < n->shape.rank; i++) {
        writer_text(out, i ? ", " : "");
        if (i == 0 && n->shape.batched)
            writer_char(out, 'N');
        else
            writer_printf(out, "%lld", (long long)n->shape.dim[i]);
    }
    writer_char(out, ']');
}

static void print_sizes(Writer *out, const char *name, const int64_t *size, int count) {
    writer_printf(out, ", %s ", name);
    for (int i = 0; i < count; i++)
        writer_printf(out, "%s%lld", i ? "x" : "", (long long)size[i]);
}

static bool all_are(const int64_t *size, int count, int64_t value) {
    for (int i = 0; i < count; i++)
        if (size[i] != value)
            return false;
    return true;
}

/* {2d, kernel 3x3, stride 2x2, pad 1:1x0:2, dilation 2x2, groups 4, channels last}: what is not the default */
static void print_window(Writer *out, const Window *w) {
    int n = w->spatial;
    writer_printf(out, " {%dd", n);
    if (n)
        print_sizes(out, "kernel", w->kernel, n);
    if (!all_are(w->stride, n, 1))
        print_sizes(out, "stride", w->stride, n);
    if (!all_are(w->dilation, n, 1))
        print_sizes(out, "dilation", w->dilation, n);
    if (!all_are(w->pad_lo, n, 0) || !all_are(w->pad_hi, n, 0)) {
        writer_text(out, ", pad ");
        for (int i = 0; i < n; i++)
            writer_printf(out, "%s%lld:%lld", i ? "x" : "", (long long)w->pad_lo[i], (long long)w->pad_hi[i]);
    }
    if (w->groups > 1)
        writer_printf(out, ", groups %lld", (long long)w->groups);
    writer_text(out, w->channel_last ? ", channels last}" : "}");
}

static void print_axes(Writer *out, const Node *n) {
    writer_text(out, " {axes");
    for (int i = 0, some = 0; i < MAX_RANK; i++)
        if (n->attr.axes >> i & 1)
            writer_printf(out, "%s %d", some++ ? "," : "", i);
    writer_char(out, '}');
}

static void print_leaf(Writer *out, const Graph *g, const Node *n) {
    switch (n->op) {
    case OP_INPUT:
        writer_printf(out, " %s", n->attr.input < g->input_count ? g->inputs[n->attr.input].name : "?");
        break;
    case OP_TENSOR: writer_printf(out, " %s", n->attr.tensor->name); break;
    case OP_SCALAR: writer_printf(out, " %s", scalar_text[n->attr.scalar]); break;
    case OP_SLAB:
        writer_printf(out, " %s+%lld", table_text[n->attr.slab.table], (long long)n->attr.slab.offset);
        break;
    case OP_FILL:
        writer_char(out, ' ');
        expr_print_number(out, n->attr.value);
        break;
    default: break;
    }
}

static void print_attention(Writer *out, const Attention *a) {
    writer_printf(out, " {heads %d, scale ", a->heads);
    expr_print_number(out, a->scale);
    writer_text(out, a->causal ? ", causal}" : "}");
}

static void print_move(Writer *out, const Node *n) {
    if (n->op == OP_CONCAT)
        writer_printf(out, " {axis %d}", n->attr.part.axis);
    else if (n->op == OP_SLICE || n->op == OP_PAD)
        writer_printf(out, " {axis %d, from %lld}", n->attr.part.axis, (long long)n->attr.part.from);
    if (n->op != OP_TRANSPOSE)
        return;
    writer_text(out, " {perm");
    for (int i = 0; i < n->shape.rank; i++)
        writer_printf(out, "%s %d", i ? "," : "", n->attr.perm[i]);
    writer_char(out, '}');
}

static void print_attributes(Writer *out, const Graph *g, const Node *n) {
    switch (op_info[n->op].class) {
    case CLASS_LEAF: print_leaf(out, g, n); break;
    case CLASS_MAP:
        writer_text(out, " { ");
        expr_print(out, n->attr.expr);
        writer_text(out, " }");
        break;
    case CLASS_REDUCE: print_axes(out, n); break;
    case CLASS_CONTRACT: case CLASS_POOL:
        if (n->op >= OP_ATTENTION && n->op <= OP_ATTENTION_V)
            print_attention(out, &n->attr.attention);
        else
            print_window(out, &n->attr.window);
        break;
    case CLASS_MOVE: print_move(out, n); break;
    case CLASS_RANDOM: writer_printf(out, " {stream %u}", (unsigned)n->attr.stream); break;
    }
}

static void print_node(Writer *out, const Graph *g, const Node *n) {
    writer_printf(out, "%%%d = %s", n->id, op_info[n->op].text);
    for (int i = 0; i < n->arity; i++)
        writer_printf(out, "%s%%%d", i ? ", " : " ", n->in[i]->id);
    print_attributes(out, g, n);
    print_type(out, n);
    if (n->tap[0] || n->span.file || n->again)
        writer_text(out, "  ;");
    if (n->again)
        writer_text(out, n->again == AGAIN_LATE ? " again" : " again inside");
    if (n->tap[0])
        writer_printf(out, " %s", n->tap);
    if (n->span.file)
        writer_printf(out, " line %d", source_line(n->span.file, n->span.begin));
    writer_char(out, '\n');
}

static void print_effect(Writer *out, const Effect *e) {
    if (e->kind == EFFECT_SLAB)
        writer_printf(out, "slab %s+%lld", table_text[e->table], (long long)e->offset);
    else
        writer_printf(out, "%s %s", e->kind == EFFECT_STATE ? "state" : "gradient", e->tensor->name);
    writer_line(out, " = %%%d", e->value->id);
}

void graph_print(Writer *out, const Graph *g) {
    writer_line(out, "graph %s of %s, N = %lld", g->name, g->program->name ? g->program->name : "?",
                (long long)g->program->batch);
    writer_indent(out, 2);
    for (const Node *n = g->first; n; n = n->next)
        print_node(out, g, n);
    for (int i = 0; i < g->output_count; i++)
        writer_line(out, "output %s = %%%d", g->outputs[i].name, g->outputs[i].node->id);
    for (int i = 0; i < g->effect_count; i++)
        print_effect(out, &g->effects[i]);
    writer_indent(out, -2);
}
