/* emit_llvm_api.c - the network's own functions, thin wrappers over salun.h, and main.
 * They are compiled for the baseline processor: salun_create checks for the target's instructions first. */
#include "backend/emit_llvm.h"

#include <assert.h>
#include <string.h>

typedef struct { const char *name, *result, *parameters; } CallRow;
static const CallRow calls[CALL_COUNT] = {
#define CALL(id, name, result, parameters) { #name, #result, #parameters },
#include "backend/calls.def"
};

typedef struct {
    Llvm *l;
    LLVMBuilderRef b;
    const char *prefix;
    LLVMValueRef program, last_error;
} Api;

/* ---- functions of the runtime, by the rows of calls.def ---- */

/* A type of C among those that calls.def holds. */
static LLVMTypeRef type_of(Llvm *l, const char *text, size_t length) {
    while (length && *text == ' ') {
        text++;
        length--;
    }
    if (memchr(text, '*', length))
        return l->ptr;
    if (length == 4 && !memcmp(text, "void", 4))
        return l->none;
    if (length == 3 && !memcmp(text, "int", 3))
        return l->i32;
    assert((length == 6 && !memcmp(text, "size_t", 6)) || (length == 7 && !memcmp(text, "int64_t", 7)));
    return l->i64;
}

/* "(const SalunProgram *, int, SalunError *)": parameters are parted by commas outside of inner parentheses. */
static LLVMTypeRef call_type(Llvm *l, CallId id) {
    LLVMTypeRef types[16];
    int count = 0, depth = 0;
    const char *begin = calls[id].parameters + 1;
    for (const char *c = begin; *c; c++) {
        bool last = *c == ')' && !depth;
        if (last || (*c == ',' && !depth)) {
            types[count++] = type_of(l, begin, (size_t)(c - begin));
            begin = c + 1;
        }
        if (last)
            break;
        depth += (*c == '(') - (*c == ')');
    }
    return LLVMFunctionType(type_of(l, calls[id].result, strlen(calls[id].result)), types, (unsigned)count, false);
}

static LLVMValueRef call(Api *a, CallId id, LLVMValueRef *args, int count) {
    LLVMTypeRef type = call_type(a->l, id);
    assert((int)LLVMCountParamTypes(type) == count);
    bool none = LLVMGetReturnType(type) == a->l->none;
    return LLVMBuildCall2(a->b, type, emit_llvm_function(a->l, calls[id].name, type), args, (unsigned)count, none ? "" : "code");
}

/* ---- parts ---- */

static LLVMValueRef null_pointer(Api *a) { return LLVMConstNull(a->l->ptr); }

/* Opens NAME_suffix with parameters of these names and types. */
static LLVMValueRef open_function(Api *a, const char *suffix, LLVMTypeRef result, LLVMTypeRef *types, const char *const *names, int count) {
    LLVMTypeRef type = LLVMFunctionType(result, types, (unsigned)count, false);
    LLVMValueRef f = emit_llvm_function(a->l, suffix ? arena_printf(a->l->arena, "%s_%s", a->prefix, suffix) : "main", type);
    for (int i = 0; i < count; i++)
        LLVMSetValueName2(LLVMGetParam(f, (unsigned)i), names[i], strlen(names[i]));
    LLVMPositionBuilderAtEnd(a->b, LLVMAppendBasicBlockInContext(a->l->context, f, "entry"));
    return f;
}

static LLVMBasicBlockRef add_block(Api *a, LLVMValueRef f, const char *name) {
    return LLVMAppendBasicBlockInContext(a->l->context, f, name);
}

static LLVMValueRef is_null(Api *a, LLVMValueRef p) { return LLVMBuildICmp(a->b, LLVMIntEQ, p, null_pointer(a), ""); }

static LLVMValueRef error_or_last(Api *a, LLVMValueRef error) {
    return LLVMBuildSelect(a->b, is_null(a, error), a->last_error, error, "error_or_last");
}

/* Goes on to a new block when the condition is true, else to `otherwise`. */
static void go_on_if(Api *a, LLVMValueRef f, LLVMValueRef condition, const char *name, LLVMBasicBlockRef otherwise) {
    LLVMBasicBlockRef next = add_block(a, f, name);
    LLVMBuildCondBr(a->b, condition, next, otherwise);
    LLVMMoveBasicBlockBefore(next, otherwise);
    LLVMPositionBuilderAtEnd(a->b, next);
}

static LLVMValueRef is_zero(Api *a, LLVMValueRef code) { return LLVMBuildICmp(a->b, LLVMIntEQ, code, emit_llvm_i32(a->l, 0), ""); }

/* ---- life ---- */

static void make_error(Api *a) {
    open_function(a, "error", a->l->ptr, NULL, NULL, 0);
    LLVMBuildRet(a->b, LLVMBuildStructGEP2(a->b, a->l->structs[ABI_ERROR], a->last_error, (unsigned)emit_llvm_field(ABI_ERROR_text), ""));
}

/* Creates a model, loads with `load`, prepares; destroys it again when one fails. The load's arguments begin with the
 * model and end with the error; both are put in here. */
static void create_with(Api *a, LLVMValueRef f, CallId load, LLVMValueRef *args, int count, LLVMValueRef threads, LLVMValueRef error) {
    LLVMBasicBlockRef failed = add_block(a, f, "failed"), none = add_block(a, f, "none");
    LLVMValueRef safe = error_or_last(a, error), create[] = { a->program, threads, safe };
    LLVMValueRef net = call(a, CALL_CREATE, create, COUNT(create)), prepare[] = { net, safe };
    args[0] = net;
    args[count - 1] = safe;
    LLVMSetValueName2(net, "net", 3);
    go_on_if(a, f, LLVMBuildNot(a->b, is_null(a, net), ""), "load", none);
    LLVMMoveBasicBlockBefore(LLVMGetInsertBlock(a->b), failed);
    go_on_if(a, f, is_zero(a, call(a, load, args, count)), "prepare", failed);
    go_on_if(a, f, is_zero(a, call(a, CALL_PREPARE, prepare, COUNT(prepare))), "ready", failed);
    LLVMBuildRet(a->b, net);
    LLVMPositionBuilderAtEnd(a->b, failed);
    call(a, CALL_DESTROY, &net, 1);
    LLVMBuildBr(a->b, none);
    LLVMPositionBuilderAtEnd(a->b, none);
    LLVMBuildRet(a->b, null_pointer(a));
}

static void make_create(Api *a) {
    static const char *const names[] = { "weights", "threads", "error" };
    LLVMTypeRef types[] = { a->l->ptr, a->l->i32, a->l->ptr };
    LLVMValueRef f = open_function(a, "create", a->l->ptr, types, names, COUNT(names)), none = null_pointer(a);
    LLVMValueRef load[] = { NULL, LLVMGetParam(f, 0), none, none, none, NULL };
    create_with(a, f, CALL_LOAD_FILE, load, COUNT(load), LLVMGetParam(f, 1), LLVMGetParam(f, 2));
}

static LLVMTypeRef from_memory_type(Api *a) {
    LLVMTypeRef types[] = { a->l->ptr, a->l->i64, a->l->i32, a->l->ptr };
    return LLVMFunctionType(a->l->ptr, types, COUNT(types), false);
}

static void make_create_from_memory(Api *a) {
    static const char *const names[] = { "data", "bytes", "threads", "error" };
    LLVMTypeRef types[] = { a->l->ptr, a->l->i64, a->l->i32, a->l->ptr };
    LLVMValueRef f = open_function(a, "create_from_memory", a->l->ptr, types, names, COUNT(names)), none = null_pointer(a);
    LLVMValueRef load[] = { NULL, LLVMGetParam(f, 0), LLVMGetParam(f, 1), emit_llvm_text(a->l, "weights in memory"), none, none, none, NULL };
    create_with(a, f, CALL_LOAD_MEMORY, load, COUNT(load), LLVMGetParam(f, 2), LLVMGetParam(f, 3));
}

static LLVMValueRef program_pointer(Api *a, AbiField field) {
    LLVMValueRef p = LLVMBuildStructGEP2(a->b, a->l->structs[ABI_PROGRAM], a->program, (unsigned)emit_llvm_field(field), "");
    return LLVMBuildLoad2(a->b, a->l->ptr, p, "");
}

static void return_embedded(Api *a, LLVMValueRef f) {
    LLVMTypeRef type = from_memory_type(a);
    LLVMValueRef weights = program_pointer(a, ABI_PROGRAM_weights), end = program_pointer(a, ABI_PROGRAM_weights_end);
    LLVMValueRef first = LLVMBuildPtrToInt(a->b, weights, a->l->i64, ""), last = LLVMBuildPtrToInt(a->b, end, a->l->i64, "");
    LLVMValueRef bytes = LLVMBuildSub(a->b, last, first, "bytes");
    LLVMValueRef args[] = { weights, bytes, LLVMGetParam(f, 0), LLVMGetParam(f, 1) };
    LLVMValueRef create = emit_llvm_function(a->l, arena_printf(a->l->arena, "%s_create_from_memory", a->prefix), type);
    LLVMBuildRet(a->b, LLVMBuildCall2(a->b, type, create, args, COUNT(args), "net"));
}

static void return_not_embedded(Api *a, LLVMValueRef f) {
    enum { BAD_INPUT = 2 };
    const char *text = arena_printf(a->l->arena, "%s was compiled without --embed-weights", a->prefix);
    LLVMTypeRef type = a->l->structs[ABI_ERROR];
    LLVMValueRef error = error_or_last(a, LLVMGetParam(f, 1));
    LLVMValueRef to = LLVMBuildStructGEP2(a->b, type, error, (unsigned)emit_llvm_field(ABI_ERROR_text), "");
    LLVMBuildStore(a->b, emit_llvm_i32(a->l, BAD_INPUT), LLVMBuildStructGEP2(a->b, type, error, (unsigned)emit_llvm_field(ABI_ERROR_code), ""));
    LLVMBuildMemCpy(a->b, to, 1, emit_llvm_text(a->l, text), 1, emit_llvm_i64(a->l, (int64_t)strlen(text) + 1));
    LLVMBuildRet(a->b, null_pointer(a));
}

static void make_create_embedded(Api *a, bool embedded) {
    static const char *const names[] = { "threads", "error" };
    LLVMTypeRef types[] = { a->l->i32, a->l->ptr };
    LLVMValueRef f = open_function(a, "create_embedded", a->l->ptr, types, names, COUNT(names));
    if (embedded)
        return_embedded(a, f);
    else
        return_not_embedded(a, f);
}

static void make_destroy(Api *a) {
    static const char *const names[] = { "net" };
    LLVMValueRef f = open_function(a, "destroy", a->l->none, &a->l->ptr, names, 1), net = LLVMGetParam(f, 0);
    call(a, CALL_DESTROY, &net, 1);
    LLVMBuildRetVoid(a->b);
}

/* ---- inference ---- */

/* An array of the parameters first .. first + count of f, for the length of the call. */
static LLVMValueRef pointers(Api *a, LLVMValueRef f, int first, int count, const char *name) {
    LLVMTypeRef type = LLVMArrayType(a->l->ptr, (unsigned)count);
    LLVMValueRef array = LLVMBuildAlloca(a->b, type, name);
    for (int i = 0; i < count; i++) {
        LLVMValueRef at = emit_llvm_i64(a->l, i);
        LLVMBuildStore(a->b, LLVMGetParam(f, (unsigned)(first + i)), LLVMBuildGEP2(a->b, a->l->ptr, array, &at, 1, ""));
    }
    return array;
}

/* net, inputs, n, outputs, error */
static void make_infer(Api *a, const Module *m) {
    EmitPorts p = emit_ports(m);
    const char **ports = emit_port_names(m);
    int inputs = p.input_count, outputs = p.output_count, count = inputs + outputs + 3;
    const char **names = NEW_ARRAY(a->l->arena, const char *, count);
    LLVMTypeRef *types = NEW_ARRAY(a->l->arena, LLVMTypeRef, count);
    for (int i = 0; i < count; i++)
        types[i] = i == inputs + 1 ? a->l->i64 : a->l->ptr;
    names[0] = "net";
    names[inputs + 1] = "n";
    names[count - 1] = "error";
    for (int i = 0; i < inputs; i++)
        names[1 + i] = ports[i];
    for (int i = 0; i < outputs; i++)
        names[inputs + 2 + i] = ports[inputs + i];
    LLVMValueRef f = open_function(a, "infer", a->l->i32, types, names, count);
    LLVMValueRef in = pointers(a, f, 1, inputs, "inputs"), out = pointers(a, f, inputs + 2, outputs, "outputs");
    LLVMValueRef args[] = { LLVMGetParam(f, 0), LLVMGetParam(f, (unsigned)inputs + 1), in, out, error_or_last(a, LLVMGetParam(f, (unsigned)count - 1)) };
    LLVMBuildRet(a->b, call(a, CALL_INFER, args, COUNT(args)));
}

static void make_main(Api *a, bool train) {
    static const char *const names[] = { "argc", "argv" };
    LLVMTypeRef types[] = { a->l->i32, a->l->ptr };
    LLVMValueRef f = open_function(a, NULL, a->l->i32, types, names, COUNT(names));
    LLVMValueRef args[] = { a->program, LLVMGetParam(f, 0), LLVMGetParam(f, 1) };
    LLVMBuildRet(a->b, call(a, train ? CALL_MAIN_TRAIN : CALL_MAIN_INFER, args, COUNT(args)));
}

void emit_llvm_api(Llvm *l, const Module *m, const EmitOptions *o, LLVMValueRef program) {
    Api a = { .l = l, .b = l->builder, .prefix = emit_prefix(m), .program = program };
    if (o->header || o->api) {
        a.last_error = LLVMAddGlobal(l->module, l->structs[ABI_ERROR], "last_error");
        LLVMSetInitializer(a.last_error, LLVMConstNull(l->structs[ABI_ERROR]));
        LLVMSetLinkage(a.last_error, LLVMInternalLinkage);
        LLVMSetThreadLocal(a.last_error, true);
        make_error(&a);
        make_create(&a);
        make_create_from_memory(&a);
        make_create_embedded(&a, o->embed);
        make_destroy(&a);
        make_infer(&a, m);
    }
    if (o->main)
        make_main(&a, m->entry[ENTRY_STEP].count > 0);
}
