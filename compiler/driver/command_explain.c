/* command_explain.c - salunc explain: what became of the network, and why.
 * For every group: what was fused, which values are stored all the same and for whom, memory traffic saved, FLOPs, and how
 * its kernels run. For the whole: parameters and memory. Numbers are for the compiled batch. */
#include "compile.h"
#include "kernel/group.h"

#include <string.h>

typedef struct { Writer *w; const Module *m; const Grouping *all; EntryId entry; double saved; } Explain;

/* ---- numbers for people ---- */

static const char *amount(Arena *a, double x, double unit, const char *suffix) {
    static const char *const prefixes[] = { "", "k", "M", "G", "T" };
    int i = 0;
    while (x >= unit && i + 1 < COUNT(prefixes)) {
        x /= unit;
        i++;
    }
    const char *gap = prefixes[i][0] || suffix[0] ? " " : "";
    return arena_printf(a, i && x < 100 ? "%.1f%s%s%s" : "%.0f%s%s%s", x, gap, prefixes[i], suffix);
}

static const char *bytes(const Explain *e, double x) { return amount(e->w->arena, x, 1000, "B"); }

/* Of one run of the entry's calls. */
static double call_tasks(const Explain *e, const Call *c) {
    return (double)c->tasks * (double)(c->unit ? (module_images(e->m, e->entry) + c->unit - 1) / c->unit : 1);
}

static double value_bytes(const Node *n) { return (n->type == TYPE_U8 ? 1.0 : n->type == TYPE_F16 ? 2.0 : 4.0) * (double)shape_count(&n->shape); }

/* ---- who reads a value ---- */

static const Node *resolve(const Node *n) {
    while (value_info(n)->alias)
        n = value_info(n)->alias;
    return n;
}

static bool reads_as_anchor(const Group *g, const Node *value) {
    for (int i = 0; g->anchor && i < g->anchor->arity; i++)
        if (resolve(g->anchor->in[i]) == value)
            return true;
    return false;
}

static bool reads(const Group *g, const Node *value) {
    for (int i = 0; i < g->input_count; i++)
        if (resolve(g->inputs[i]) == value)
            return true;
    return false;
}

static const char *member_name(const Group *g) {
    const Node *n = g->anchor ? g->anchor : g->map_count ? g->maps[0] : g->sums[0];
    return n->tap[0] ? n->tap : op_info[n->op].text;
}

/* Why the reader could not be part of the group that computes the value. */
static const char *anchor_reason(const Group *reader) {
    switch (op_info[reader->anchor->op].class) {
    case CLASS_CONTRACT: return "needs all channels of it";
    case CLASS_POOL: return "reads windows of it";
    case CLASS_REDUCE: return "adds it up over axes that the loop nest splits";
    case CLASS_MOVE: return "reads it in another order";
    default: return "is computed by itself";
    }
}

/* A value that the reader needs too and that is computed later; NULL: none. */
static const Node *later_input(const Group *maker, const Group *reader) {
    for (int i = 0; i < reader->input_count; i++) {
        const Group *other = value_info(resolve(reader->inputs[i]))->group;
        if (other && other->id > maker->id)
            return resolve(reader->inputs[i]);
    }
    return NULL;
}

static void explain_reader(const Explain *e, const Group *maker, const Group *reader, const Node *value) {
    const Node *later = later_input(maker, reader);
    writer_printf(e->w, "; %s", member_name(reader));
    if (reader->anchor && reader->anchor->op != OP_CONV)
        writer_printf(e->w, " (%s)", op_info[reader->anchor->op].text);
    if (reads_as_anchor(reader, value))
        writer_printf(e->w, " %s", anchor_reason(reader));
    else if (reader->anchor)
        writer_text(e->w, " joins it behind a loop nest of its own");
    else if (!shape_equal(&reader->space, &maker->space))
        writer_text(e->w, " has another shape");
    else if (later)
        writer_printf(e->w, " waits for %s too", later->tap[0] ? later->tap : op_info[later->op].text);
    else
        writer_text(e->w, " is a pass of its own");
}

static void explain_stored(const Explain *e, const Group *g, const Node *value) {
    const Graph *graph = e->all->graph;
    writer_printf(e->w, "  stored    %s %s", value->tap[0] ? value->tap : op_info[value->op].text,
                  shape_text(e->w->arena, value->type, &value->shape));
    for (int i = 0; i < graph->output_count; i++)
        if (resolve(graph->outputs[i].node) == value)
            writer_printf(e->w, "; it is the output `%s`", graph->outputs[i].name);
    for (int i = 0; i < graph->effect_count; i++) {
        static const char *const kinds[] = { [EFFECT_STATE] = "the new value of state", [EFFECT_GRADIENT] = "the gradient of",
                                             [EFFECT_SLAB] = "new values of table" };
        const Effect *f = &graph->effects[i];
        if (resolve(f->value) == value)
            writer_printf(e->w, "; it is %s %s", kinds[f->kind], f->tensor ? f->tensor->name : table_text[f->table]);
    }
    int shown = 0, more = 0;
    for (int i = 0; i < e->all->count; i++) {
        const Group *reader = e->all->groups[i];
        if (reader == g || !reads(reader, value))
            continue;
        if (shown++ < 3)
            explain_reader(e, g, reader, value);
        else
            more++;
    }
    writer_printf(e->w, more ? "; %d more read it\n" : "\n", more);
}

/* ---- a group ---- */

static bool is_output(const Group *g, const Node *n) {
    for (int i = 0; i < g->output_count; i++)
        if (resolve(g->outputs[i]) == n || g->outputs[i] == n)
            return true;
    return false;
}

static void fused_member(const Explain *e, const Node *n, const char **separator) {
    writer_printf(e->w, "%s%s", *separator, n->tap[0] ? n->tap : op_info[n->op].text);
    *separator = ", ";
}

/* Values of the group that never reach memory: written and read once each otherwise. */
static double explain_fused(const Explain *e, const Group *g) {
    double saved = 0;
    const char *separator = "";
    if (g->map_count + g->sum_count + (g->anchor != NULL) < 2)
        return 0;
    writer_text(e->w, "  fused     ");
    if (g->anchor) {
        fused_member(e, g->anchor, &separator);
        saved += is_output(g, g->anchor) ? 0 : 2 * value_bytes(g->anchor);
    }
    for (int i = 0; i < g->map_count; i++) {
        fused_member(e, g->maps[i], &separator);
        saved += is_output(g, g->maps[i]) ? 0 : 2 * value_bytes(g->maps[i]);
    }
    for (int i = 0; i < g->sum_count; i++) {
        writer_text(e->w, separator);
        separator = "";
        writer_text(e->w, "the sum of ");
        fused_member(e, g->sums[i], &separator);
        saved += value_bytes(g->sums[i]->in[0]);
    }
    writer_printf(e->w, "; saves %s of memory traffic\n", bytes(e, saved));
    return saved;
}

/* The group's FLOPs each time it runs: weights that it has packed beforehand are not among them. */
static double explain_calls(const Explain *e, const Group *g) {
    double flops = 0;
    bool any = false;
    const EntryId entries[] = { ENTRY_PREPARE, e->entry };
    for (int k = 0; k < COUNT(entries); k++)
        for (int i = 0; i < e->m->entry[entries[k]].count; i++) {
            const Call *c = &e->m->entry[entries[k]].calls[i];
            if (c->group != g)
                continue;
            const char *plan = strchr(c->kernel->title, ';');
            any = true;
            flops += k || g->prepare ? c->flops * call_tasks(e, c) : 0;
            writer_printf(e->w, "  kernel    %s%s: %.0f task%s%s%s\n", c->kernel->name, k ? "" : " (prepare)", call_tasks(e, c),
                          call_tasks(e, c) == 1 ? "" : "s", plan ? "," : "", plan ? plan + 1 : "");
        }
    if (!any)
        writer_text(e->w, "  kernel    another group's, which computes it on the way\n");
    return flops;
}

static void explain_group(Explain *e, const Group *g, double *flops) {
    const Node *n = g->anchor ? g->anchor : g->map_count ? g->maps[0] : g->sums[0];
    writer_printf(e->w, "\ngroup %d   %s %s", g->id, op_info[n->op].text, member_name(g));
    if (n->span.file)
        writer_printf(e->w, "  (%s:%d)", n->span.file->name, source_line(n->span.file, n->span.begin));
    writer_printf(e->w, "%s\n", g->prepare ? "  once, when weights are loaded" : "");
    e->saved += explain_fused(e, g);
    for (int i = 0; i < g->output_count; i++)
        explain_stored(e, g, resolve(g->outputs[i]));
    double own = explain_calls(e, g);
    writer_printf(e->w, "  FLOPs     %s\n", amount(e->w->arena, own, 1000, ""));
    *flops += g->prepare ? 0 : own;
}

/* ---- the whole ---- */

static bool is_late(const Group *g) {
    bool late = g->anchor && g->anchor->again == AGAIN_LATE;
    for (int i = 0; i < g->map_count; i++)
        late = late || g->maps[i]->again == AGAIN_LATE;
    return late;
}

/* What the backward pass computes again instead of having it kept, and what that costs. */
static void explain_again(const Explain *e) {
    int inside = 0, late = 0;
    double flops = 0;
    for (int i = 0; i < e->all->count; i++) {
        const Group *g = e->all->groups[i];
        late += is_late(g);
        for (int k = 0; k < g->map_count; k++)
            inside += g->maps[k]->again == AGAIN_INSIDE;
    }
    for (int i = 0; i < e->m->entry[e->entry].count; i++) {
        const Call *c = &e->m->entry[e->entry].calls[i];
        flops += c->group && is_late(c->group) ? c->flops * call_tasks(e, c) : 0;
    }
    if (inside + late)
        writer_printf(e->w, "again       %d values inside of loop nests that read them, %d groups a second time: %s FLOPs\n", inside, late,
                      amount(e->w->arena, flops, 1000, ""));
}

static void explain_entry(Explain *e, EntryId entry) {
    double flops = 0;
    int64_t images = module_images(e->m, entry);
    e->entry = entry;
    e->all = e->m->grouping[entry];
    e->saved = 0;
    Writer *groups = writer_new(e->w->arena), *whole = e->w;
    e->w = groups;
    for (int i = 0; i < e->all->count; i++)
        explain_group(e, e->all->groups[i], &flops);
    e->w = whole;
    writer_printf(whole, "\n%s: %d groups, %d calls, %s FLOPs for %lld image%s, fusion saves %s of memory traffic\n", e->all->graph->name,
                  e->all->count, e->m->entry[entry].count, amount(whole->arena, flops, 1000, ""), (long long)images,
                  images == 1 ? "" : "s", bytes(e, e->saved));
    if (images < e->m->program->batch)
        writer_printf(whole, "pieces      %lld of the %lld images at a time through all calls\n", (long long)images, (long long)e->m->program->batch);
    explain_again(e);
    writer_bytes(whole, groups->data, groups->length);
}

static void explain_memory(const Explain *e) {
    const Program *p = e->m->program;
    double parameters = 0, states = 0;
    for (int i = 0; i < p->tensor_count; i++)
        *(p->tensors[i]->is_state ? &states : &parameters) += (double)shape_count(&p->tensors[i]->shape);
    double tables = 4.0 * (double)(p->table_size[TABLE_PARAMS] + p->table_size[TABLE_STATES]);
    double training = 4.0 * (double)(p->table_size[TABLE_RAW] + p->table_size[TABLE_GRADS] + p->table_size[TABLE_SLOTS]);
    writer_printf(e->w, "parameters  %.0f (%s), states %.0f\n", parameters, bytes(e, 4 * parameters), states);
    double prepared = (double)e->m->prepared_bytes, values = (double)e->m->block_bytes;
    writer_printf(e->w, "memory      %s: weights %s, prepared weights %s, values %s", bytes(e, tables + training + prepared + values),
                  bytes(e, tables), bytes(e, prepared), bytes(e, values));
    if (training > 0)
        writer_printf(e->w, ", gradients and optimizer %s", bytes(e, training));
    writer_printf(e->w, "; scratch %s per thread\n", bytes(e, (double)e->m->scratch_bytes));
}

static void explain_precision(const Explain *e) {
    const Program *p = e->m->program;
    int lower = 0;
    const char *name = p->int8 ? "int8" : "f16";
    if (!p->int8 && !p->half)
        return;
    for (int i = 0; i < p->precision_count; i++)
        lower += p->precision[i].lower;
    writer_printf(e->w, "precision   %s: %d of %d convolutions and linear layers, the rest of the network in float32\n", name, lower, p->precision_count);
    for (int i = 0; i < p->precision_count; i++) {
        const LayerPrecision *l = &p->precision[i];
        writer_printf(e->w, "  %-24s %-*s: %s\n", l->tap[0] ? l->tap : "conv", (int)strlen(name), l->lower ? name : "f32", l->why);
    }
}

int command_explain(Options *o) {
    Compilation c = compilation_new(o);
    if (!compile_module(&c, o->train))
        return compilation_end(&c);
    Explain e = { .w = writer_new(c.arena), .m = c.module };
    writer_printf(e.w, "%s for %s, %s, batch %lld\n", c.program->name, o->target->name, o->math == MATH_STRICT ? "strict" : "fast",
                  (long long)c.program->batch);
    explain_memory(&e);
    explain_precision(&e);
    bool together = c.module->grouping[ENTRY_TRAIN] != NULL;        /* what training runs then instead of step and update */
    for (int i = 0; i < ENTRY_COUNT; i++)
        if (c.module->grouping[i] && !(together && (i == ENTRY_STEP || i == ENTRY_UPDATE)))
            explain_entry(&e, (EntryId)i);
    return output_write(NULL, e.w->data, e.w->length);
}
