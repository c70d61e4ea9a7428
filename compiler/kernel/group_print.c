/* group_print.c - groups as text (--emit=groups), and their invariants. */
#include "kernel/group.h"

#include <stdio.h>
#include <stdlib.h>

static const char *layout_text(const Node *n) {
    return value_info(n)->layout == LAYOUT_BLOCKED ? "blocked" : "plain";
}

static void print_member(Writer *w, const char *role, const Node *n) {
    writer_printf(w, "    %-7s %%%d %s : %s %s  ; %s%s\n", role, n->id, op_info[n->op].text, shape_text(w->arena, n->type, &n->shape),
                  layout_text(n), n->again ? "again " : "", n->tap);
}

static void print_list(Writer *w, const char *title, Node *const *nodes, int count) {
    writer_printf(w, "    %-7s", title);
    for (int i = 0; i < count; i++)
        writer_printf(w, " %%%d", nodes[i]->id);
    writer_char(w, '\n');
}

static void print_group(Writer *w, const Group *g) {
    writer_printf(w, "  group %d%s\n", g->id, g->prepare ? " prepare" : "");
    if (g->anchor)
        print_member(w, "anchor", g->anchor);
    for (int i = 0; i < g->map_count; i++)
        print_member(w, "map", g->maps[i]);
    for (int i = 0; i < g->sum_count; i++)
        print_member(w, "sum", g->sums[i]);
    print_list(w, "reads", g->inputs, g->input_count);
    print_list(w, "writes", g->outputs, g->output_count);
}

void grouping_print(Writer *w, const Grouping *g) {
    writer_printf(w, "groups of %s\n", g->graph->name);
    for (int i = 0; i < g->count; i++)
        print_group(w, g->groups[i]);
}

/* A broken invariant is a bug of the compiler, in every build. */
static void require(bool holds, const Group *g, const char *what) {
    if (holds)
        return;
    fprintf(stderr, "fusion group %d: %s\n", g->id, what);
    abort();
}

static void verify_reads(const Grouping *all, const Group *g) {
    for (int i = 0; i < g->input_count; i++) {
        Node *n = g->inputs[i];
        while (value_info(n)->alias)
            n = value_info(n)->alias;
        const Group *maker = value_info(n)->group;
        require(!maker || (maker->id < g->id && all->groups[maker->id] == maker), g, "it runs before what it reads");
        require(!maker || value_info(n)->materialised, g, "it reads what is not written");
    }
}

void grouping_verify(const Grouping *g) {
    for (int i = 0; i < g->count; i++) {
        const Group *group = g->groups[i];
        require(group->id == i, group, "it stands at another place");
        require(group->output_count + group->sum_count > 0, group, "it computes nothing");
        verify_reads(g, group);
        for (int m = 0; m < group->map_count; m++) {
            const Node *map = group->maps[m];
            require(value_info(map)->group == group && shape_equal(&map->shape, &group->space), group, "a member has another space");
        }
    }
}
