/* graph_verify.c - every invariant of a graph, checked after every pass; a broken one names the pass.
 * Order and identity of nodes, each node's own rule (node_error), the interface, and the effects. */
#include "graph/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const Graph *g;
    Arena *arena;
    const Node **at;        /* by id: the node, once it was passed in the list */
    const char *error;
} Check;

static void broken(Check *c, const Node *n, const char *what) {
    if (c->error)
        return;
    if (n)
        c->error = arena_printf(c->arena, "%%%d %s%s%s: %s", n->id, (int)n->op >= 0 && n->op < OP_COUNT ? op_info[n->op].text : "?",
                                n->tap && n->tap[0] ? " of " : "", n->tap ? n->tap : "", what);
    else
        c->error = what;
}

/* Whether n was passed in the list. */
static bool passed(const Check *c, const Node *n) {
    return n && n->id >= 0 && n->id < c->g->next_id && c->at[n->id] == n;
}

static void check_node(Check *c, const Node *n) {
    if (n->id < 0 || n->id >= c->g->next_id)
        broken(c, n, "the id is out of range");
    else if (c->at[n->id])
        broken(c, n, "the id is taken twice");
    for (int i = 0; i < n->arity && !c->error; i++)
        if (!passed(c, n->in[i]))
            broken(c, n, arena_printf(c->arena, "input %d does not stand before it in the graph", i));
    if (c->error)
        return;
    const char *error = node_error(n);
    if (error)
        broken(c, n, error);
    else if (n->shape.batched && n->shape.dim[0] != c->g->program->batch)
        broken(c, n, "axis 0 is batched but is not the program's batch");
    c->at[n->id] = n;
}

/* Links forward and backward agree; the list ends at g->last. */
static void check_links(Check *c) {
    const Node *before = NULL;
    int left = c->g->next_id;
    for (const Node *n = c->g->first; n; before = n, n = n->next) {
        if (n->prev != before)
            broken(c, n, "its back link is wrong");
        else if (left-- == 0)
            broken(c, n, "the list is longer than its ids");
        if (c->error)
            return;
    }
    if (c->g->last != before)
        broken(c, NULL, "the last node is not the end of the list");
}

static void check_interface(Check *c) {
    const Graph *g = c->g;
    for (int i = 0; i < g->input_count; i++) {
        const Node *n = g->inputs[i].node;
        if (!passed(c, n) || n->op != OP_INPUT || n->attr.input != i)
            broken(c, NULL, arena_printf(c->arena, "input %d is no input node of the graph", i));
    }
    for (const Node *n = g->first; n && !c->error; n = n->next) {
        if (n->op == OP_INPUT && (n->attr.input < 0 || n->attr.input >= g->input_count || g->inputs[n->attr.input].node != n))
            broken(c, n, "it is not in the list of inputs");
        if (n->op == OP_TENSOR && (n->attr.tensor->index < 0 || n->attr.tensor->index >= g->program->tensor_count ||
                                   g->program->tensors[n->attr.tensor->index] != n->attr.tensor))
            broken(c, n, "its tensor is not the program's");
    }
    for (int i = 0; i < g->output_count; i++)
        if (!passed(c, g->outputs[i].node))
            broken(c, NULL, arena_printf(c->arena, "output %s is no node of the graph", g->outputs[i].name));
}

static bool slab_fits(const Program *p, TableId table, int64_t offset, int64_t count) {
    if ((int)table < 0 || table >= TABLE_COUNT || offset < 0)
        return false;
    return p->table_size[table] == 0 || (count <= p->table_size[table] && offset <= p->table_size[table] - count);
}

static void check_slab(Check *c, const Effect *e) {
    const Node *n = e->value;
    if (n->shape.batched)
        broken(c, n, "the value of a slab has a batch");
    else if (!slab_fits(c->g->program, e->table, e->offset, shape_count(&n->shape)))
        broken(c, n, "the slab it is stored to is not in its table");
}

static void check_effect(Check *c, const Effect *e, unsigned char *stored) {
    const Program *p = c->g->program;
    const TensorDecl *t = e->tensor;
    if (!passed(c, e->value)) {
        broken(c, NULL, "an effect stores no node of the graph");
    } else if (e->kind == EFFECT_SLAB) {
        check_slab(c, e);
    } else if (!t || t->index < 0 || t->index >= p->tensor_count || p->tensors[t->index] != t) {
        broken(c, e->value, "an effect stores to no tensor of the program");
    } else if (t->is_state != (e->kind == EFFECT_STATE)) {
        broken(c, e->value, arena_printf(c->arena, "%s is not what the effect stores", t->name));
    } else if (!shape_equal(&t->shape, &e->value->shape)) {
        broken(c, e->value, arena_printf(c->arena, "the shape stored to %s is not its own", t->name));
    } else if (stored[t->index]++) {
        broken(c, e->value, arena_printf(c->arena, "%s is stored twice", t->name));
    }
}

static void check_slabs_read(Check *c) {
    for (const Node *n = c->g->first; n; n = n->next)
        if (n->op == OP_SLAB && !slab_fits(c->g->program, n->attr.slab.table, n->attr.slab.offset, n->shape.dim[0]))
            broken(c, n, "it is not in its table");
}

const char *graph_check(const Graph *g, Arena *arena) {
    Check c = { .g = g, .arena = arena, .at = NEW_ARRAY(arena, const Node *, g->next_id + 1) };
    check_links(&c);
    for (const Node *n = g->first; n && !c.error; n = n->next)
        check_node(&c, n);
    if (!c.error)
        check_interface(&c);
    if (!c.error)
        check_slabs_read(&c);
    unsigned char *stored = NEW_ARRAY(arena, unsigned char, g->program->tensor_count + 1);
    for (int i = 0; i < g->effect_count && !c.error; i++)
        check_effect(&c, &g->effects[i], stored);
    return c.error;
}

void graph_verify(const Graph *g, const char *after) {
    Arena *arena = arena_new(0);
    const char *error = graph_check(g, arena);
    if (error) {
        fflush(stdout);
        fprintf(stderr, "salunc: internal error: graph %s is broken after %s: %s\n", g->name, after, error);
        abort();
    }
    arena_destroy(arena);
}
