/* emit_llvm_module.c - the tables of a module as constants, and the descriptor that the runtime reads.
 *
 * Kinds (of initialisers, constraints, steps of preprocessing and so on) have the same numbers in the compiler and in
 * salun.h, spaces too; a test compares. Fields that are not set are zero. */
#include "backend/emit_llvm.h"

#include <string.h>

typedef struct { Llvm *l; AbiStruct id; LLVMValueRef field[ABI_FIELDS]; } Row;

/* ---- one struct ---- */

static Row row_new(Llvm *l, AbiStruct id) { return (Row){ .l = l, .id = id }; }

static void set(Row *r, AbiField f, LLVMValueRef value) { r->field[emit_llvm_field(f)] = value; }

static void set_int(Row *r, AbiField f, int64_t value) {
    LLVMTypeRef type = LLVMStructGetTypeAtIndex(r->l->structs[r->id], (unsigned)emit_llvm_field(f));
    set(r, f, LLVMConstInt(type, (unsigned long long)value, true));
}

static void set_double(Row *r, AbiField f, double value) { set(r, f, LLVMConstReal(r->l->f64, value)); }

static void set_text(Row *r, AbiField f, const char *text) { set(r, f, emit_llvm_text(r->l, text)); }

/* The first `count` elements of an array that is a field; the others are zero. */
static void set_array(Row *r, AbiField f, LLVMValueRef *values, int count) {
    LLVMTypeRef type = LLVMStructGetTypeAtIndex(r->l->structs[r->id], (unsigned)emit_llvm_field(f)), element = LLVMGetElementType(type);
    int length = (int)LLVMGetArrayLength(type);
    for (int i = count; i < length; i++)
        values[i] = LLVMConstNull(element);
    set(r, f, LLVMConstArray(element, values, (unsigned)length));
}

static void set_doubles(Row *r, AbiField f, const double *numbers, int count) {
    LLVMValueRef values[16];
    for (int i = 0; i < count; i++)
        values[i] = LLVMConstReal(r->l->f64, numbers[i]);
    set_array(r, f, values, count);
}

static void set_dims(Row *r, AbiField f, const Shape *s) {
    LLVMValueRef values[MAX_RANK > 6 ? MAX_RANK : 6];
    int count = 0;
    for (int i = s->batched ? 1 : 0; i < s->rank; i++)
        values[count++] = emit_llvm_i64(r->l, s->dim[i]);
    set_array(r, f, values, count);
}

static LLVMValueRef row_value(Row *r) {
    LLVMTypeRef type = r->l->structs[r->id];
    unsigned count = LLVMCountStructElementTypes(type);
    for (unsigned i = 0; i < count; i++)
        if (!r->field[i])
            r->field[i] = LLVMConstNull(LLVMStructGetTypeAtIndex(type, i));
    return LLVMConstNamedStruct(type, r->field, count);
}

/* ---- globals ---- */

static LLVMValueRef exported_constant(Llvm *l, const char *name, LLVMValueRef value) {
    LLVMValueRef global = LLVMAddGlobal(l->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, true);
    return global;
}

static LLVMValueRef constant(Llvm *l, const char *name, LLVMValueRef value) {
    LLVMValueRef global = exported_constant(l, name, value);
    LLVMSetLinkage(global, LLVMInternalLinkage);
    return global;
}

LLVMValueRef emit_llvm_text(Llvm *l, const char *text) {
    if (!text)
        return LLVMConstNull(l->ptr);
    LLVMValueRef global = constant(l, "text", LLVMConstStringInContext(l->context, text, (unsigned)strlen(text), false));
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetUnnamedAddress(global, LLVMGlobalUnnamedAddr);
    LLVMSetAlignment(global, 1);
    return global;
}

/* A table of `count` values of one type; a null pointer when there is none. */
static LLVMValueRef table(Llvm *l, const char *name, LLVMTypeRef type, LLVMValueRef *values, int count) {
    return count ? constant(l, name, LLVMConstArray(type, values, (unsigned)count)) : LLVMConstNull(l->ptr);
}

/* ---- entries ---- */

static LLVMValueRef place(Llvm *l, MemPlace p) {
    Row r = row_new(l, ABI_PLACE);
    set_int(&r, ABI_PLACE_space, p.space);
    set_int(&r, ABI_PLACE_offset, p.offset);
    return row_value(&r);
}

static LLVMValueRef places(Llvm *l, const Entry *e, const char *name) {
    int count = 0, at = 0;
    for (int i = 0; i < e->count; i++)
        count += e->calls[i].arg_count;
    LLVMValueRef *values = NEW_ARRAY(l->arena, LLVMValueRef, count + 1);
    for (int i = 0; i < e->count; i++)
        for (int k = 0; k < e->calls[i].arg_count; k++)
            values[at++] = place(l, e->calls[i].args[k]);
    return table(l, arena_printf(l->arena, "%s_args", name), l->structs[ABI_PLACE], values, count);
}

static LLVMValueRef kernel_of(Llvm *l, const Module *m, const Call *c) {
    return l->part.entry ? emit_llvm_stub(l, m, c->kernel) : emit_llvm_kernel_name(l, c->kernel);
}

static LLVMValueRef call_row(Llvm *l, const Module *m, const Call *c, LLVMValueRef args, int first, int tap) {
    Row r = row_new(l, ABI_CALL);
    LLVMValueRef at = emit_llvm_i64(l, first);
    set(&r, ABI_CALL_kernel, kernel_of(l, m, c));
    set(&r, ABI_CALL_args, c->arg_count ? LLVMConstGEP2(l->structs[ABI_PLACE], args, &at, 1) : LLVMConstNull(l->ptr));
    set_int(&r, ABI_CALL_arg_count, c->arg_count);
    set_int(&r, ABI_CALL_tap, tap);
    set_text(&r, ABI_CALL_name, c->kernel->name);
    set_int(&r, ABI_CALL_tasks, c->tasks);
    set_int(&r, ABI_CALL_unit, c->unit);
    set_double(&r, ABI_CALL_flops, c->flops);
    set_int(&r, ABI_CALL_out, c->out);
    set_int(&r, ABI_CALL_out_unit, c->out_per_image);
    set_int(&r, ABI_CALL_out_count, c->out_count);
    return row_value(&r);
}

static LLVMValueRef entry_row(Llvm *l, const Module *m, const Entry *e, const char *name, const char *const *taps, int tap_count) {
    LLVMValueRef args = places(l, e, name), *calls = NEW_ARRAY(l->arena, LLVMValueRef, e->count + 1);
    int first = 0;
    for (int i = 0; i < e->count; i++) {
        const Call *c = &e->calls[i];
        calls[i] = call_row(l, m, c, args, first, emit_tap_index(taps, tap_count, c->tap));
        first += c->arg_count;
    }
    Row r = row_new(l, ABI_ENTRY);
    set_text(&r, ABI_ENTRY_name, name);
    set(&r, ABI_ENTRY_calls, table(l, arena_printf(l->arena, "%s_calls", name), l->structs[ABI_CALL], calls, e->count));
    set_int(&r, ABI_ENTRY_count, e->count);
    return row_value(&r);
}

/* ---- parameters, states, ports, taps ---- */

static LLVMValueRef tensor_row(Llvm *l, const TensorDecl *t) {
    Row r = row_new(l, ABI_TENSOR);
    set_text(&r, ABI_TENSOR_name, t->name);
    set_int(&r, ABI_TENSOR_is_state, t->is_state);
    set_int(&r, ABI_TENSOR_rank, t->shape.rank);
    set_dims(&r, ABI_TENSOR_dim, &t->shape);
    set_int(&r, ABI_TENSOR_count, shape_count(&t->shape));
    set_int(&r, ABI_TENSOR_offset, t->offset);
    set_int(&r, ABI_TENSOR_raw_offset, t->raw_offset);
    set_int(&r, ABI_TENSOR_init, t->init.kind);
    set_int(&r, ABI_TENSOR_constraint, t->constraint.kind);
    set_double(&r, ABI_TENSOR_init_a, t->init.a);
    set_double(&r, ABI_TENSOR_init_b, t->init.b);
    set_double(&r, ABI_TENSOR_lo, t->constraint.lo);
    set_double(&r, ABI_TENSOR_hi, t->constraint.hi);
    return row_value(&r);
}

static LLVMValueRef tensors(Llvm *l, const Program *p) {
    LLVMValueRef *values = NEW_ARRAY(l->arena, LLVMValueRef, p->tensor_count + 1);
    for (int i = 0; i < p->tensor_count; i++)
        values[i] = tensor_row(l, p->tensors[i]);
    return table(l, "tensors", l->structs[ABI_TENSOR], values, p->tensor_count);
}

static LLVMValueRef ports(Llvm *l, const char *name, const Port *list, int count) {
    LLVMValueRef *values = NEW_ARRAY(l->arena, LLVMValueRef, count + 1);
    for (int i = 0; i < count; i++) {
        const Node *n = list[i].node;
        Row r = row_new(l, ABI_PORT);
        set_text(&r, ABI_PORT_name, list[i].name);
        set_int(&r, ABI_PORT_type, n->type);
        set_int(&r, ABI_PORT_rank, n->shape.rank - n->shape.batched);
        set_dims(&r, ABI_PORT_dim, &n->shape);
        set_int(&r, ABI_PORT_count, emit_image_count(n));
        values[i] = row_value(&r);
    }
    return table(l, name, l->structs[ABI_PORT], values, count);
}

static LLVMValueRef names(Llvm *l, const char *const *taps, int count) {
    LLVMValueRef *values = NEW_ARRAY(l->arena, LLVMValueRef, count + 1);
    for (int i = 0; i < count; i++)
        values[i] = emit_llvm_text(l, taps[i]);
    return table(l, "taps", l->ptr, values, count);
}

/* ---- preprocessing and recipe ---- */

static LLVMValueRef preprocess(Llvm *l, const Program *p) {
    LLVMValueRef *values = NEW_ARRAY(l->arena, LLVMValueRef, p->pre_count + 1);
    for (int i = 0; i < p->pre_count; i++) {
        const PreStep *s = &p->pre[i];
        Row r = row_new(l, ABI_PRE);
        set_int(&r, ABI_PRE_kind, s->kind);
        set_int(&r, ABI_PRE_channels, s->channels);
        set_int(&r, ABI_PRE_size, s->size);
        set_doubles(&r, ABI_PRE_mean, s->mean, s->kind == PRE_NORMALIZE ? s->channels : 0);
        set_doubles(&r, ABI_PRE_std, s->std, s->kind == PRE_NORMALIZE ? s->channels : 0);
        values[i] = row_value(&r);
    }
    return table(l, "preprocess", l->structs[ABI_PRE], values, p->pre_count);
}

static LLVMValueRef augment(Llvm *l, const Recipe *recipe) {
    LLVMValueRef *values = NEW_ARRAY(l->arena, LLVMValueRef, recipe->augment_count + 1);
    for (int i = 0; i < recipe->augment_count; i++) {
        Row r = row_new(l, ABI_AUGMENT);
        set_int(&r, ABI_AUGMENT_kind, recipe->augment[i].kind);
        set_double(&r, ABI_AUGMENT_value, recipe->augment[i].value);
        values[i] = row_value(&r);
    }
    return table(l, "augment", l->structs[ABI_AUGMENT], values, recipe->augment_count);
}

static LLVMValueRef schedule(Llvm *l, const Recipe *recipe) {
    LLVMValueRef *values = NEW_ARRAY(l->arena, LLVMValueRef, recipe->schedule_count + 1);
    for (int i = 0; i < recipe->schedule_count; i++) {
        const SchedPart *s = &recipe->schedule[i];
        Row r = row_new(l, ABI_SCHEDULE);
        set_int(&r, ABI_SCHEDULE_kind, s->kind);
        set_int(&r, ABI_SCHEDULE_at_count, s->at_count);
        set_double(&r, ABI_SCHEDULE_epochs, s->epochs);
        set_double(&r, ABI_SCHEDULE_to, s->to);
        set_double(&r, ABI_SCHEDULE_gamma, s->gamma);
        set_doubles(&r, ABI_SCHEDULE_at, s->at, s->at_count);
        values[i] = row_value(&r);
    }
    return table(l, "schedule", l->structs[ABI_SCHEDULE], values, recipe->schedule_count);
}

static LLVMValueRef recipe_row(Llvm *l, const Recipe *recipe) {
    Row r = row_new(l, ABI_RECIPE);
    set_text(&r, ABI_RECIPE_data, recipe->data ? recipe->data : "");
    set(&r, ABI_RECIPE_augment, augment(l, recipe));
    set_int(&r, ABI_RECIPE_augment_count, recipe->augment_count);
    set_int(&r, ABI_RECIPE_schedule_count, recipe->schedule_count);
    set(&r, ABI_RECIPE_schedule, schedule(l, recipe));
    set_double(&r, ABI_RECIPE_lr, recipe->lr);
    set_double(&r, ABI_RECIPE_smoothing, recipe->smoothing);
    set_int(&r, ABI_RECIPE_epochs, recipe->epochs);
    set_int(&r, ABI_RECIPE_seed, (int64_t)recipe->seed);
    return constant(l, "recipe", row_value(&r));
}

/* ---- constants and embedded weights ---- */

static LLVMValueRef constants(Llvm *l, const Module *m) {
    if (!m->constants_bytes)
        return LLVMConstNull(l->ptr);
    LLVMValueRef global = constant(l, "constants", LLVMConstStringInContext(l->context, (const char *)m->constants, (unsigned)m->constants_bytes, true));
    LLVMSetAlignment(global, 64);
    return global;
}

static LLVMValueRef hidden_bytes(Llvm *l, const char *name) {
    LLVMValueRef global = LLVMAddGlobal(l->module, l->i8, name);
    LLVMSetGlobalConstant(global, true);
    LLVMSetVisibility(global, LLVMHiddenVisibility);
    return global;
}

/* The assembler reads the file. */
static void embed(Llvm *l, Row *program, const Module *m, const char *path) {
    const char *prefix = emit_prefix(m);
    Writer *text = writer_new(l->arena);
    writer_printf(text, ".section .rodata\n.balign 64\n.globl %s_weights\n.hidden %s_weights\n%s_weights:\n.incbin \"", prefix, prefix, prefix);
    for (; *path; path++)
        writer_printf(text, *path == '"' || *path == '\\' ? "\\%c" : "%c", *path);
    writer_printf(text, "\"\n.globl %s_weights_end\n.hidden %s_weights_end\n%s_weights_end:\n.byte 0\n.text\n", prefix, prefix, prefix);
    LLVMAppendModuleInlineAsm(l->module, text->data, text->length);
    set(program, ABI_PROGRAM_weights, hidden_bytes(l, arena_printf(l->arena, "%s_weights", prefix)));
    set(program, ABI_PROGRAM_weights_end, hidden_bytes(l, arena_printf(l->arena, "%s_weights_end", prefix)));
}

/* ---- the descriptor ---- */

static void set_numbers(Row *r, const Module *m) {
    const Program *p = m->program;
    LLVMValueRef floats[TABLE_COUNT];
    for (int i = 0; i < TABLE_COUNT; i++)
        floats[i] = emit_llvm_i64(r->l, p->table_size[i]);
    set_int(r, ABI_PROGRAM_abi, ABI_VERSION);
    set_int(r, ABI_PROGRAM_cpu, r->l->processor == PROCESSOR_X86 || (r->l->processor == PROCESSOR_AARCH64 && m->target->half) ? m->target->cpu : 0);
    set_text(r, ABI_PROGRAM_name, emit_prefix(m));
    set_text(r, ABI_PROGRAM_numeric, emit_numeric(m));
    set_text(r, ABI_PROGRAM_source, p->file ? p->file : "");
    set_int(r, ABI_PROGRAM_hash, (int64_t)m->hash);
    set_int(r, ABI_PROGRAM_prepared_hash, (int64_t)m->prepared_hash);
    set_int(r, ABI_PROGRAM_batch, p->batch);
    set_int(r, ABI_PROGRAM_piece, m->piece);
    set_int(r, ABI_PROGRAM_tensor_count, p->tensor_count);
    set_int(r, ABI_PROGRAM_slot_count, m->slot_count);
    set_array(r, ABI_PROGRAM_table_floats, floats, TABLE_COUNT);
    set_int(r, ABI_PROGRAM_prepared_bytes, m->prepared_bytes);
    set_int(r, ABI_PROGRAM_block_bytes, m->block_bytes);
    set_int(r, ABI_PROGRAM_scratch_bytes, m->scratch_bytes);
    set_int(r, ABI_PROGRAM_constants_bytes, m->constants_bytes);
    set_int(r, ABI_PROGRAM_pre_count, p->pre_count);
}

static void set_ports(Row *r, const Module *m) {
    EmitPorts p = emit_ports(m);
    set(r, ABI_PROGRAM_inputs, ports(r->l, "inputs", p.inputs, p.input_count));
    set(r, ABI_PROGRAM_targets, ports(r->l, "targets", p.targets, p.target_count));
    set(r, ABI_PROGRAM_outputs, ports(r->l, "outputs", p.outputs, p.output_count));
    set_int(r, ABI_PROGRAM_input_count, p.input_count);
    set_int(r, ABI_PROGRAM_target_count, p.target_count);
    set_int(r, ABI_PROGRAM_output_count, p.output_count);
}

static void set_entries(Row *r, const Module *m) {
    static const AbiField fields[ENTRY_COUNT] = { ABI_PROGRAM_prepare, ABI_PROGRAM_infer, ABI_PROGRAM_step, ABI_PROGRAM_update,
                                                    ABI_PROGRAM_train, ABI_PROGRAM_finish };
    int tap_count;
    const char *const *taps = emit_taps(m, &tap_count);
    set_int(r, ABI_PROGRAM_tap_count, tap_count);
    set(r, ABI_PROGRAM_taps, names(r->l, taps, tap_count));
    for (int i = 0; i < ENTRY_COUNT; i++)
        set(r, fields[i], entry_row(r->l, m, &m->entry[i], entry_text[i], taps, tap_count));
}

LLVMValueRef emit_llvm_module(Llvm *l, const Module *m, const EmitOptions *o) {
    Row r = row_new(l, ABI_PROGRAM);
    set_numbers(&r, m);
    set(&r, ABI_PROGRAM_tensors, tensors(l, m->program));
    set(&r, ABI_PROGRAM_constants, constants(l, m));
    set_ports(&r, m);
    set_entries(&r, m);
    set(&r, ABI_PROGRAM_pre, preprocess(l, m->program));
    if (m->entry[ENTRY_STEP].count)
        set(&r, ABI_PROGRAM_recipe, recipe_row(l, &m->program->recipe));
    if (o->embed)
        embed(l, &r, m, o->embed);
    const char *name = arena_printf(l->arena, "%s_program", emit_prefix(m));
    LLVMValueRef value = row_value(&r);
    return o->header || o->api || l->part.apart ? exported_constant(l, name, value) : constant(l, name, value);
}
