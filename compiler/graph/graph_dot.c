/* graph_dot.c - a graph for Graphviz: nodes by class, inputs, outputs and effects at the borders. */
#include "graph/graph.h"

static const char *const class_style[] = {
    [CLASS_LEAF] = "shape=ellipse, fillcolor=white",     [CLASS_MAP] = "shape=box, fillcolor=palegreen",
    [CLASS_REDUCE] = "shape=box, fillcolor=khaki",       [CLASS_CONTRACT] = "shape=box, fillcolor=lightskyblue",
    [CLASS_MOVE] = "shape=box, fillcolor=whitesmoke",    [CLASS_POOL] = "shape=box, fillcolor=plum",
    [CLASS_RANDOM] = "shape=ellipse, fillcolor=lightpink",
};

static void quoted(Writer *out, const char *text) {
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            writer_char(out, '\\');
        writer_char(out, *text);
    }
}

static const char *leaf_name(const Graph *g, const Node *n) {
    switch (n->op) {
    case OP_INPUT: return n->attr.input < g->input_count ? g->inputs[n->attr.input].name : "?";
    case OP_TENSOR: return n->attr.tensor->name;
    case OP_SCALAR: return scalar_text[n->attr.scalar];
    case OP_SLAB: return table_text[n->attr.slab.table];
    default: return NULL;
    }
}

static void dot_node(Writer *out, const Graph *g, const Node *n, Arena *scratch) {
    const char *name = leaf_name(g, n);
    writer_printf(out, "n%d [%s, label=\"%s", n->id, class_style[op_info[n->op].class], op_info[n->op].text);
    if (name) {
        writer_char(out, ' ');
        quoted(out, name);
    }
    if (n->op == OP_MAP && expr_size(n->attr.expr) <= 8) {
        Writer *text = writer_new(scratch);
        expr_print(text, n->attr.expr);
        writer_text(out, "\\n");
        quoted(out, text->data);
    }
    if (n->tap[0]) {
        writer_text(out, "\\n");
        quoted(out, n->tap);
    }
    writer_printf(out, "\\n%s\"];\n", shape_text(scratch, n->type, &n->shape));
    for (int i = 0; i < n->arity; i++)
        writer_line(out, "n%d -> n%d;", n->in[i]->id, n->id);
}

static void dot_border(Writer *out, const char *kind, const char *name, int number, const Node *from) {
    writer_printf(out, "%s%d [shape=cds, label=\"%s ", kind, number, kind);
    quoted(out, name);
    writer_line(out, "\"];");
    writer_line(out, "n%d -> %s%d;", from->id, kind, number);
}

void graph_dot(Writer *out, const Graph *g) {
    static const char *const kinds[] = { [EFFECT_STATE] = "state", [EFFECT_GRADIENT] = "gradient", [EFFECT_SLAB] = "slab" };
    Arena *scratch = arena_new(0);
    writer_text(out, "digraph \"");
    quoted(out, g->name);
    writer_line(out, "\" {");
    writer_indent(out, 2);
    writer_line(out, "node [style=filled, fontname=\"monospace\"];");
    for (const Node *n = g->first; n; n = n->next)
        dot_node(out, g, n, scratch);
    for (int i = 0; i < g->output_count; i++)
        dot_border(out, "output", g->outputs[i].name, i, g->outputs[i].node);
    for (int i = 0; i < g->effect_count; i++) {
        const Effect *e = &g->effects[i];
        dot_border(out, kinds[e->kind], e->kind == EFFECT_SLAB ? table_text[e->table] : e->tensor->name, i, e->value);
    }
    writer_indent(out, -2);
    writer_line(out, "}");
    arena_destroy(scratch);
}
