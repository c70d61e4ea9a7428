/* emit_llvm.c - the LLVM back end: a module of LLVM per network, made through LLVM's C API.
 *
 * It reads what the C back end reads and makes the same functions, tables and names, so that an object of one can
 * stand for an object of the other. Every module is verified as it is made and again when it is optimized. */
#include "backend/emit_llvm.h"

#include <assert.h>
#include <llvm-c/BitWriter.h>
#include <string.h>

/* ---- types ---- */

static const struct { AbiStruct id; AbiType type; int count; } field_rows[ABI_FIELDS] = {
#define FIELD(struct, name, type, count) { ABI_##struct, ABI_TYPE_##type, count },
#define STRUCT(struct, name)
#include "backend/abi.def"
};

int emit_llvm_field(AbiField f) {
    int first = f;
    while (first > 0 && field_rows[first - 1].id == field_rows[f].id)
        first--;
    return f - first;
}

static void make_types(Llvm *l) {
    unsigned width = (unsigned)l->target->width;
    l->none = LLVMVoidTypeInContext(l->context);
    l->i1 = LLVMInt1TypeInContext(l->context);
    l->i8 = LLVMInt8TypeInContext(l->context);
    l->i16 = LLVMInt16TypeInContext(l->context);
    l->i32 = LLVMInt32TypeInContext(l->context);
    l->i64 = LLVMInt64TypeInContext(l->context);
    l->f32 = LLVMFloatTypeInContext(l->context);
    l->f64 = LLVMDoubleTypeInContext(l->context);
    l->ptr = LLVMPointerType(l->i8, 0);            /* opaque, whatever it is a pointer to */
    l->f32v = LLVMVectorType(l->f32, width);
    l->i32v = LLVMVectorType(l->i32, width);
    l->i64v = LLVMVectorType(l->i64, width);
    l->i8v = LLVMVectorType(l->i8, width);
    l->i1v = LLVMVectorType(l->i1, width);
    l->f16v = LLVMVectorType(LLVMHalfTypeInContext(l->context), 2 * width);
    l->f32x4 = LLVMVectorType(l->f32, 4);
    LLVMTypeRef parameters[] = { l->ptr, l->ptr, l->i64 };
    l->kernel_type = LLVMFunctionType(l->none, parameters, COUNT(parameters), false);
}

static void make_structs(Llvm *l) {
    static const char *const names[ABI_STRUCTS] = {
#define FIELD(struct, name, type, count)
#define STRUCT(struct, name) #name,
#include "backend/abi.def"
    };
    const LLVMTypeRef simple[] = { [ABI_TYPE_I8] = l->i8, [ABI_TYPE_I32] = l->i32, [ABI_TYPE_I64] = l->i64, [ABI_TYPE_F32] = l->f32,
                                   [ABI_TYPE_F64] = l->f64, [ABI_TYPE_PTR] = l->ptr };
    for (int f = 0; f < ABI_FIELDS;) {
        LLVMTypeRef types[ABI_FIELDS];
        AbiStruct id = field_rows[f].id;
        unsigned count = 0;
        for (; f < ABI_FIELDS && field_rows[f].id == id; f++) {
            AbiType type = field_rows[f].type;
            LLVMTypeRef one = type == ABI_TYPE_ENTRY ? l->structs[ABI_ENTRY] : simple[type];
            types[count++] = field_rows[f].count ? LLVMArrayType(one, (unsigned)field_rows[f].count) : one;
        }
        l->structs[id] = LLVMStructCreateNamed(l->context, names[id]);
        LLVMStructSetBody(l->structs[id], types, count, false);
    }
}

/* ---- small things ---- */

LLVMValueRef emit_llvm_i32(Llvm *l, int64_t value) { return LLVMConstInt(l->i32, (unsigned long long)value, true); }
LLVMValueRef emit_llvm_i64(Llvm *l, int64_t value) { return LLVMConstInt(l->i64, (unsigned long long)value, true); }

LLVMValueRef emit_llvm_function(Llvm *l, const char *name, LLVMTypeRef type) {
    LLVMValueRef f = LLVMGetNamedFunction(l->module, name);
    return f ? f : LLVMAddFunction(l->module, name, type);
}

LLVMValueRef emit_llvm_intrinsic(Llvm *l, const char *name, LLVMTypeRef *types, int type_count, LLVMValueRef *args, int arg_count, const char *label) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id != 0);
    LLVMValueRef f = LLVMGetIntrinsicDeclaration(l->module, id, types, (size_t)type_count);
    return LLVMBuildCall2(l->builder, LLVMGlobalGetValueType(f), f, args, (unsigned)arg_count, label);
}

/* ---- the module ---- */

static void add_flag(Llvm *l, const char *name, int value) {
    LLVMAddModuleFlag(l->module, LLVMModuleFlagBehaviorWarning, name, strlen(name), LLVMValueAsMetadata(emit_llvm_i32(l, value)));
}

static void open_debug(Llvm *l, const char *source) {
    static const char producer[] = "salunc";
    enum { DWARF_VERSION = 5 };
    l->debug = LLVMCreateDIBuilder(l->module);
    LLVMMetadataRef file = LLVMDIBuilderCreateFile(l->debug, source, strlen(source), "", 0);
    LLVMDIBuilderCreateCompileUnit(l->debug, LLVMDWARFSourceLanguageC99, file, producer, sizeof producer - 1, true, "", 0, 0, "", 0,
                                   LLVMDWARFEmissionLineTablesOnly, 0, false, false, "", 0, "", 0);
    add_flag(l, "Debug Info Version", (int)LLVMDebugMetadataVersion());
    add_flag(l, "Dwarf Version", DWARF_VERSION);
}

Llvm *emit_llvm_new(const Target *t, const EmitOptions *o, const char *triple, const char *source) {
    emit_llvm_initialize();
    Arena *arena = arena_new(0);
    Llvm *l = NEW(arena, Llvm);
    l->arena = arena;
    l->target = t;
    l->triple = arena_strdup(arena, triple);
    l->cpu = o->cpu;
    l->processor = emit_llvm_processor(triple);
    l->context = LLVMContextCreate();
    l->module = LLVMModuleCreateWithNameInContext(source, l->context);
    l->builder = LLVMCreateBuilderInContext(l->context);
    LLVMSetTarget(l->module, triple);
    make_types(l);
    make_structs(l);
    add_flag(l, "PIC Level", 2);
    open_debug(l, source);
    return l;
}

void emit_llvm_free(Llvm *l) {
    Arena *arena = l->arena;
    LLVMDisposeDIBuilder(l->debug);
    LLVMDisposeBuilder(l->builder);
    LLVMDisposeModule(l->module);
    LLVMContextDispose(l->context);
    arena_destroy(arena);
}

/* ---- what may overlap ---- */

static bool meets(const Kernel *k, const Call *c, int first, int second) {
    const Buffer *a = &k->buffers[first], *b = &k->buffers[second];
    const MemPlace *p = &c->args[first], *q = &c->args[second];
    int64_t a_bytes = a->count * store_bytes(a->store), b_bytes = b->count * store_bytes(b->store);
    return p->space == q->space && p->offset < q->offset + b_bytes && q->offset < p->offset + a_bytes;
}

/* Arguments are a kernel's first buffers, in call order. */
static void note_call(const Call *c, bool *may_alias) {
    const Kernel *k = c->kernel;
    for (int i = 0; i < c->arg_count; i++)
        for (int j = 0; j < c->arg_count; j++)
            if (i != j && meets(k, c, i, j))
                may_alias[i * k->buffer_count + j] = true;
}

static const bool *find_aliases(Llvm *l, const Module *m, const Kernel *k) {
    bool *may_alias = NEW_ARRAY(l->arena, bool, k->buffer_count * k->buffer_count + 1);
    for (int i = 0; i < ENTRY_COUNT; i++)
        for (int c = 0; c < m->entry[i].count; c++)
            if (m->entry[i].calls[c].kernel == k)
                note_call(&m->entry[i].calls[c], may_alias);
    return may_alias;
}

/* ---- a network ---- */

Llvm *emit_llvm_build(const Module *m, const EmitOptions *o, const char *triple, const LlvmPart *part, const char **error) {
    const char *source = m->program->file ? m->program->file : "memory";
    Llvm *l = emit_llvm_new(m->target, o, triple, source);
    l->part = *part;
    LLVMContextSetDiscardValueNames(l->context, part->unnamed);
    for (int i = 0; i < part->kernel_count; i++)
        emit_llvm_kernel(l, part->kernels[i], find_aliases(l, m, part->kernels[i]));
    if (part->tables)
        emit_llvm_api(l, m, o, emit_llvm_module(l, m, o));
    LLVMDIBuilderFinalize(l->debug);
    if (emit_llvm_verify(l, error))
        return l;
    emit_llvm_free(l);
    return NULL;
}

/* ---- files ---- */

static void write_text(Writer *out, Llvm *l) {
    char *text = LLVMPrintModuleToString(l->module);
    writer_text(out, text);
    LLVMDisposeMessage(text);
}

static void write_buffer(Writer *out, LLVMMemoryBufferRef buffer) {
    writer_bytes(out, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer));
    LLVMDisposeMemoryBuffer(buffer);
}

static bool write_machine_code(Writer *out, Llvm *l, LLVMTargetMachineRef machine, MachineForm form, const char **error) {
    char *message = NULL;
    LLVMMemoryBufferRef buffer = NULL;
    LLVMCodeGenFileType type = form == FORM_ASSEMBLY ? LLVMAssemblyFile : LLVMObjectFile;
    if (LLVMTargetMachineEmitToMemoryBuffer(machine, l->module, type, &message, &buffer)) {
        *error = arena_printf(out->arena, "LLVM: %s", message);
        LLVMDisposeMessage(message);
        return false;
    }
    write_buffer(out, buffer);
    return true;
}

static bool write_form(Writer *out, Llvm *l, LLVMTargetMachineRef machine, MachineForm form, const char **error) {
    if (form == FORM_IR)
        write_text(out, l);
    else if (form == FORM_BITCODE)
        write_buffer(out, LLVMWriteBitcodeToMemoryBuffer(l->module));
    else
        return write_machine_code(out, l, machine, form, error);
    return true;
}

static Llvm *build_whole(const Module *m, const EmitOptions *o, const char *triple, const char **error) {
    LlvmPart whole = { .kernels = m->kernels, .kernel_count = m->kernel_count, .tables = true };
    return emit_llvm_build(m, o, triple, &whole, error);
}

static bool write(Writer *out, const Module *m, const EmitOptions *o, MachineForm form, const char **error) {
    const char *triple = emit_llvm_triple(out->arena, m->target, o, error);
    LLVMTargetMachineRef machine = triple ? emit_llvm_machine(out->arena, triple, o->level, error) : NULL;
    Llvm *l = machine ? build_whole(m, o, triple, error) : NULL;
    bool done = l && emit_llvm_optimize(l, machine, o->level, error) && write_form(out, l, machine, form, error);
    if (l)
        emit_llvm_free(l);
    if (machine)
        LLVMDisposeTargetMachine(machine);
    return done;
}

/* As it is made, before LLVM optimizes. */
static bool emit(Writer *out, const Module *m, const EmitOptions *o, const char **error) {
    const char *triple = emit_llvm_triple(out->arena, m->target, o, error);
    Llvm *l = triple ? build_whole(m, o, triple, error) : NULL;
    if (!l)
        return false;
    write_text(out, l);
    emit_llvm_free(l);
    return true;
}

const Backend backend_llvm = { "llvm", ".ll", emit, write, emit_llvm_load_program, emit_llvm_unload };
