/* emit_c_module.c - the tables of a module as constants of C, and the descriptor that the runtime reads. */
#include "backend/emit_c.h"
#include "support/table.h"

#include <math.h>
#include <string.h>


/* ---- numbers ---- */

static void print_double(Writer *out, double x) {
    if (isnan(x))
        writer_text(out, "__builtin_nan(\"\")");
    else if (isinf(x))
        writer_text(out, x < 0 ? "-__builtin_inf()" : "__builtin_inf()");
    else
        writer_printf(out, "%.17g", x);
}

static void print_doubles(Writer *out, const double *x, int count) {
    writer_char(out, '{');
    for (int i = 0; i < count; i++) {
        writer_text(out, i ? ", " : "");
        print_double(out, x[i]);
    }
    writer_text(out, count ? "}" : "0}");
}

static void print_dims(Writer *out, const Shape *s) {
    int first = s->batched ? 1 : 0;
    writer_char(out, '{');
    for (int i = first; i < s->rank; i++)
        writer_printf(out, i > first ? ", %lld" : "%lld", (long long)s->dim[i]);
    writer_text(out, s->rank > first ? "}" : "0}");
}

/* ---- entries ---- */

static const char *const spaces[] = { "PARAMS", "STATES", "RAW", "GRADS", "SLOTS", "PREPARED", "BLOCK", "CONSTANTS" };

static void print_place_macros(Writer *out) {
    writer_text(out, "\n/* Places of arguments: a space and an offset in bytes. */\n");
    for (int i = 0; i < COUNT(spaces); i++)
        writer_printf(out, "#define %s(offset) {SALUN_%s, 0, offset}\n", spaces[i], spaces[i]);
    writer_text(out, "#define INPUT(number, offset) {SALUN_INPUT + number, 0, offset}\n"
                     "#define OUTPUT(number, offset) {SALUN_OUTPUT + number, 0, offset}\n");
}

static void print_place(Writer *out, MemPlace p) {
    if (p.space < SPACE_INPUT)
        writer_printf(out, "%s(%lld)", spaces[p.space], (long long)p.offset);
    else if (p.space < SPACE_OUTPUT)
        writer_printf(out, "INPUT(%d, %lld)", p.space - SPACE_INPUT, (long long)p.offset);
    else
        writer_printf(out, "OUTPUT(%d, %lld)", p.space - SPACE_OUTPUT, (long long)p.offset);
}

static const char *call_places(Arena *a, const Call *c) {
    Writer *w = writer_new(a);
    for (int k = 0; k < c->arg_count; k++) {
        writer_text(w, k ? ", " : "");
        print_place(w, c->args[k]);
    }
    return w->data ? w->data : "";
}

/* A list of arguments that a call has had already is not printed again. known: the expressions that point to them. */
static void print_places(Writer *out, const Entry *e, const char *id, Table *known) {
    Writer *rows = writer_new(out->arena);
    int at = 0;
    for (int i = 0; i < e->count; i++) {
        const char *places = call_places(out->arena, &e->calls[i]);
        if (!places[0] || table_has(known, places))
            continue;
        table_set(known, places, arena_printf(out->arena, "%s_args + %d", id, at));
        at += e->calls[i].arg_count;
        writer_printf(rows, "    %s,\n", places);
    }
    if (at)
        writer_printf(out, "\nstatic const SalunPlace %s_args[] = {\n%s};\n", id, rows->data);
}

static void print_call(Writer *out, const Call *c, const Table *known, int tap) {
    const char *args = table_get(known, call_places(out->arena, c));
    writer_text(out, "    /* ");
    emit_c_comment(out, c->title ? c->title : c->kernel->name);
    writer_printf(out, " */\n    {kernel_%s, %s, %d, %d, \"%s\", %lld, %lld, ", c->kernel->name, args ? args : "0", c->arg_count, tap,
                  c->kernel->name, (long long)c->tasks, (long long)c->unit);
    print_double(out, c->flops);
    writer_printf(out, ", %d, %d, %lld},\n", c->out, c->out_per_image, (long long)c->out_count);
}

static void print_entry(Writer *out, const Module *m, EntryId entry, Table *known, const char *const *taps, int tap_count) {
    const Entry *e = &m->entry[entry];
    if (!e->count)
        return;
    print_places(out, e, entry_text[entry], known);
    writer_printf(out, "static const SalunCall %s_calls[] = {\n", entry_text[entry]);
    for (int i = 0; i < e->count; i++)
        print_call(out, &e->calls[i], known, emit_tap_index(taps, tap_count, e->calls[i].tap));
    writer_text(out, "};\n");
}

/* ---- parameters, states, ports, taps ---- */

static void print_tensor(Writer *out, const TensorDecl *t) {
    static const char *const inits[] = { "ZEROS", "CONST", "NORMAL", "TRUNC_NORMAL", "UNIFORM" };
    static const char *const constraints[] = { "FREE", "GREATER", "AT_LEAST", "BETWEEN" };
    writer_text(out, "    {");
    emit_c_string(out, t->name);
    writer_printf(out, ", %d, %d, ", t->is_state, t->shape.rank);
    print_dims(out, &t->shape);
    writer_printf(out, ", %lld, %lld, %lld, SALUN_INIT_%s, SALUN_%s, ", (long long)shape_count(&t->shape), (long long)t->offset,
                  (long long)t->raw_offset, inits[t->init.kind], constraints[t->constraint.kind]);
    const double numbers[] = { t->init.a, t->init.b, t->constraint.lo, t->constraint.hi };
    for (int i = 0; i < COUNT(numbers); i++) {
        writer_text(out, i ? ", " : "");
        print_double(out, numbers[i]);
    }
    writer_text(out, "},\n");
}

static void print_tensors(Writer *out, const Program *p) {
    if (!p->tensor_count)
        return;
    writer_text(out, "\n/* name, state?, rank, dims, elements, offset, raw offset, init, constraint, init's a and b, constraint's lo and hi */\n"
                     "static const SalunTensor tensors[] = {\n");
    for (int i = 0; i < p->tensor_count; i++)
        print_tensor(out, p->tensors[i]);
    writer_text(out, "};\n");
}

static void print_ports(Writer *out, const char *name, const Port *ports, int count) {
    static const char *const types[] = { "F32", "I32", "U8" };
    if (!count)
        return;
    writer_printf(out, "static const SalunPort %s[] = {\n", name);
    for (int i = 0; i < count; i++) {
        const Node *n = ports[i].node;
        writer_text(out, "    {");
        emit_c_string(out, ports[i].name);
        writer_printf(out, ", SALUN_%s, %d, ", types[n->type], n->shape.rank - n->shape.batched);
        print_dims(out, &n->shape);
        writer_printf(out, ", %lld},\n", (long long)emit_image_count(n));
    }
    writer_text(out, "};\n");
}

static void print_taps(Writer *out, const char *const *taps, int count) {
    if (!count)
        return;
    writer_text(out, "static const char *const taps[] = {\n");
    for (int i = 0; i < count; i++) {
        writer_text(out, "    ");
        emit_c_string(out, taps[i]);
        writer_text(out, ",\n");
    }
    writer_text(out, "};\n");
}

/* ---- preprocessing and recipe ---- */

static void print_preprocess(Writer *out, const Program *p) {
    static const char *const kinds[] = { "RESIZE", "CENTER_CROP", "NORMALIZE" };
    if (!p->pre_count)
        return;
    writer_text(out, "static const SalunPreStep preprocess[] = {\n");
    for (int i = 0; i < p->pre_count; i++) {
        const PreStep *s = &p->pre[i];
        writer_printf(out, "    {SALUN_%s, %d, %lld, ", kinds[s->kind], s->channels, (long long)s->size);
        print_doubles(out, s->mean, s->kind == PRE_NORMALIZE ? s->channels : 0);
        writer_text(out, ", ");
        print_doubles(out, s->std, s->kind == PRE_NORMALIZE ? s->channels : 0);
        writer_text(out, "},\n");
    }
    writer_text(out, "};\n");
}

static void print_augment(Writer *out, const Recipe *r) {
    static const char *const kinds[] = { "PAD_CROP", "FLIP" };
    if (!r->augment_count)
        return;
    writer_text(out, "static const SalunAugment augment[] = {\n");
    for (int i = 0; i < r->augment_count; i++) {
        writer_printf(out, "    {SALUN_%s, 0, ", kinds[r->augment[i].kind]);
        print_double(out, r->augment[i].value);
        writer_text(out, "},\n");
    }
    writer_text(out, "};\n");
}

static void print_schedule(Writer *out, const Recipe *r) {
    static const char *const kinds[] = { "CONST", "WARMUP", "COSINE", "LINEAR", "STEP" };
    if (!r->schedule_count)
        return;
    writer_text(out, "static const SalunSchedPart schedule[] = {\n");
    for (int i = 0; i < r->schedule_count; i++) {
        const SchedPart *s = &r->schedule[i];
        writer_printf(out, "    {SALUN_SCHED_%s, %d, ", kinds[s->kind], s->at_count);
        print_double(out, s->epochs);
        writer_text(out, ", ");
        print_double(out, s->to);
        writer_text(out, ", ");
        print_double(out, s->gamma);
        writer_text(out, ", ");
        print_doubles(out, s->at, s->at_count);
        writer_text(out, "},\n");
    }
    writer_text(out, "};\n");
}

static void print_recipe(Writer *out, const Recipe *r) {
    print_augment(out, r);
    print_schedule(out, r);
    writer_text(out, "static const SalunRecipe recipe = {\n    .data = ");
    emit_c_string(out, r->data ? r->data : "");
    writer_printf(out, ",\n    .augment = %s, .augment_count = %d, .schedule_count = %d, .schedule = %s,\n    .lr = ",
                  r->augment_count ? "augment" : "0", r->augment_count, r->schedule_count, r->schedule_count ? "schedule" : "0");
    print_double(out, r->lr);
    writer_text(out, ", .smoothing = ");
    print_double(out, r->smoothing);
    writer_printf(out, ", .epochs = %lld, .seed = %lluu\n};\n", (long long)r->epochs, (unsigned long long)r->seed);
}

/* ---- constants and embedded weights ---- */

static void print_constants(Writer *out, const Module *m) {
    if (!m->constants_bytes)
        return;
    writer_text(out, "\nstatic const uint32_t constants[] __attribute__((aligned(64))) = {");
    for (int64_t at = 0; at < m->constants_bytes; at += 4) {
        uint32_t word = 0;
        memcpy(&word, m->constants + at, (size_t)(m->constants_bytes - at < 4 ? m->constants_bytes - at : 4));
        writer_printf(out, at % 32 ? " 0x%xu," : "\n    0x%xu,", word);
    }
    writer_text(out, "\n};\n");
}

/* The assembler reads the file. The path passes two readers of escapes: the assembler's and C's. */
static void print_embedded(Writer *out, const Module *m, const char *path) {
    const char *prefix = emit_prefix(m);
    Writer *quoted = writer_new(m->arena);
    emit_c_string(quoted, path);
    const char *lines[] = {
        ".section .rodata\n.balign 64\n",
        arena_printf(m->arena, ".globl %s_weights\n.hidden %s_weights\n%s_weights:\n", prefix, prefix, prefix),
        arena_printf(m->arena, ".incbin %s\n", quoted->data),
        arena_printf(m->arena, ".globl %s_weights_end\n.hidden %s_weights_end\n%s_weights_end:\n", prefix, prefix, prefix),
        ".byte 0\n.text\n",
    };
    writer_text(out, "\n__asm__(");
    for (int i = 0; i < COUNT(lines); i++) {
        writer_text(out, i ? "\n        " : "");
        emit_c_string(out, lines[i]);
    }
    writer_printf(out, ");\nextern const unsigned char %s_weights[] __attribute__((visibility(\"hidden\")));\n", prefix);
    writer_printf(out, "extern const unsigned char %s_weights_end[] __attribute__((visibility(\"hidden\")));\n\n", prefix);
}

/* ---- the descriptor ---- */

static void print_entry_row(Writer *out, const Module *m, EntryId entry) {
    const char *id = entry_text[entry];
    if (m->entry[entry].count)
        writer_printf(out, "    .%s = {\"%s\", %s_calls, %d},\n", id, id, id, m->entry[entry].count);
    else
        writer_printf(out, "    .%s = {\"%s\", 0, 0},\n", id, id);
}

static void print_cpu(Writer *out, const Module *m) {
    static const struct { unsigned bit; const char *name; } bits[] = { { 2, "FMA" }, { 4, "AVX2" }, { 8, "AVX512" }, { 32, "VNNI" }, { 64, "FP16" } };
    writer_text(out, "#if defined(__x86_64__)\n    .cpu = 0");
    for (int i = 0; i < COUNT(bits); i++)
        if (m->target->cpu & bits[i].bit)
            writer_printf(out, " | SALUN_CPU_%s", bits[i].name);
    writer_printf(out, ",\n#else\n    .cpu = %s,\n#endif\n", m->target->width == 4 && m->target->half ? "SALUN_CPU_NEON | SALUN_CPU_FP16" : "0");
}

static void print_array(Writer *out, const char *field, const char *count_field, const char *array, int count) {
    writer_printf(out, "    .%s = %s, .%s = %d,\n", field, count ? array : "0", count_field, count);
}

static void print_sizes(Writer *out, const Module *m) {
    const Program *p = m->program;
    writer_printf(out, "    .slot_count = %d,\n    .table_floats = {", m->slot_count);
    for (int i = 0; i < TABLE_COUNT; i++)
        writer_printf(out, i ? ", %lld" : "%lld", (long long)p->table_size[i]);
    writer_printf(out, "},   /* params, states, raw, gradients, slots */\n    .prepared_bytes = %lld, .block_bytes = %lld, .scratch_bytes = %lld,\n",
                  (long long)m->prepared_bytes, (long long)m->block_bytes, (long long)m->scratch_bytes);
    writer_printf(out, "    .constants = %s, .constants_bytes = %lld,\n", m->constants_bytes ? "constants" : "0", (long long)m->constants_bytes);
}

static void print_program(Writer *out, const Module *m, const EmitOptions *o, int tap_count) {
    const Program *p = m->program;
    EmitPorts ports = emit_ports(m);
    const char *prefix = emit_prefix(m);
    bool train = m->entry[ENTRY_STEP].count > 0;
    writer_printf(out, "\n%sconst SalunProgram %s_program = {\n    .abi = SALUN_ABI,\n", o->header || o->api ? "" : "static ", prefix);
    print_cpu(out, m);
    writer_printf(out, "    .name = \"%s\", .numeric = \"%s\", .source = ", prefix, emit_numeric(m));
    emit_c_string(out, p->file ? p->file : "");
    writer_printf(out, ",\n    .hash = 0x%016llxu, .prepared_hash = 0x%016llxu, .batch = %lld, .piece = %lld,\n", (unsigned long long)m->hash,
                  (unsigned long long)m->prepared_hash, (long long)p->batch, (long long)m->piece);
    print_array(out, "tensors", "tensor_count", "tensors", p->tensor_count);
    print_sizes(out, m);
    print_array(out, "inputs", "input_count", "inputs", ports.input_count);
    print_array(out, "targets", "target_count", "targets", ports.target_count);
    print_array(out, "outputs", "output_count", "outputs", ports.output_count);
    print_array(out, "taps", "tap_count", "taps", tap_count);
    for (int i = 0; i < ENTRY_COUNT; i++)
        print_entry_row(out, m, (EntryId)i);
    print_array(out, "pre", "pre_count", "preprocess", p->pre_count);
    writer_printf(out, "    .recipe = %s,\n", train ? "&recipe" : "0");
    if (o->embed)
        writer_printf(out, "    .weights = %s_weights, .weights_end = %s_weights_end,\n", prefix, prefix);
    writer_text(out, "};\n");
}

void emit_c_module(Writer *out, const Module *m, const EmitOptions *o) {
    int tap_count;
    const char *const *taps = emit_taps(m, &tap_count);
    EmitPorts ports = emit_ports(m);
    print_constants(out, m);
    print_place_macros(out);
    Table *known = table_new(out->arena);
    for (int i = 0; i < ENTRY_COUNT; i++)
        print_entry(out, m, (EntryId)i, known, taps, tap_count);
    print_tensors(out, m->program);
    print_ports(out, "inputs", ports.inputs, ports.input_count);
    print_ports(out, "targets", ports.targets, ports.target_count);
    print_ports(out, "outputs", ports.outputs, ports.output_count);
    print_taps(out, taps, tap_count);
    print_preprocess(out, m->program);
    if (m->entry[ENTRY_STEP].count)
        print_recipe(out, &m->program->recipe);
    if (o->embed)
        print_embedded(out, m, o->embed);
    print_program(out, m, o, tap_count);
}
