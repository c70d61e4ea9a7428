/* emit_c_api.c - the network's own functions, thin wrappers over salun.h, and main.
 * They are compiled for the baseline processor: salun_create checks for the target's instructions first. */
#include "backend/emit_c.h"

enum {
#define CALL(id, name, result, parameters) CALL_##id,
#include "backend/calls.def"
    CALL_COUNT
};
static const char *const call_names[CALL_COUNT] = {
#define CALL(id, name, result, parameters) #name,
#include "backend/calls.def"
};

static const char life_text[] =
    "\n"
    "static _Thread_local SalunError last_error;\n"
    "\n"
    "static SalunError *error_or_last(SalunError *error) {\n"
    "    return error ? error : &last_error;\n"
    "}\n"
    "\n"
    "const char *%1$s_error(void) {\n"
    "    return last_error.text;\n"
    "}\n"
    "\n"
    "%1$s *%1$s_create(const char *weights, int threads, SalunError *error) {\n"
    "    error = error_or_last(error);\n"
    "    %1$s *net = %2$s(&%1$s_program, threads, error);\n"
    "    if (net && (%4$s(net, weights, 0, 0, 0, error) || %6$s(net, error))) {\n"
    "        %3$s(net);\n"
    "        net = 0;\n"
    "    }\n"
    "    return net;\n"
    "}\n"
    "\n"
    "%1$s *%1$s_create_from_memory(const void *data, size_t bytes, int threads, SalunError *error) {\n"
    "    error = error_or_last(error);\n"
    "    %1$s *net = %2$s(&%1$s_program, threads, error);\n"
    "    if (net && (%5$s(net, data, bytes, \"weights in memory\", 0, 0, 0, error) || %6$s(net, error))) {\n"
    "        %3$s(net);\n"
    "        net = 0;\n"
    "    }\n"
    "    return net;\n"
    "}\n"
    "\n";

static const char embedded_text[] =
    "%1$s *%1$s_create_embedded(int threads, SalunError *error) {\n"
    "    return %1$s_create_from_memory(%1$s_program.weights, (size_t)(%1$s_program.weights_end - %1$s_program.weights), threads, error);\n"
    "}\n"
    "\n";

static const char not_embedded_text[] =
    "%1$s *%1$s_create_embedded(int threads, SalunError *error) {\n"
    "    static const char text[] = \"%1$s was compiled without --embed-weights\";\n"
    "    (void)threads;\n"
    "    error = error_or_last(error);\n"
    "    error->code = SALUN_BAD_INPUT;\n"
    "    for (size_t i = 0; i < sizeof text; i++)\n"
    "        error->text[i] = text[i];\n"
    "    return 0;\n"
    "}\n"
    "\n";

static const char *element_type(const Node *n) {
    return n->type == TYPE_F32 ? "float" : n->type == TYPE_I32 ? "int32_t" : "uint8_t";
}

static void print_infer(Writer *out, const Module *m) {
    EmitPorts p = emit_ports(m);
    const char **names = emit_port_names(m), *prefix = emit_prefix(m);
    writer_printf(out, "int %s_infer(%s *net", prefix, prefix);
    for (int i = 0; i < p.input_count; i++)
        writer_printf(out, ", const %s *%s", element_type(p.inputs[i].node), names[i]);
    writer_text(out, ", int64_t n");
    for (int i = 0; i < p.output_count; i++)
        writer_printf(out, ", %s *%s", element_type(p.outputs[i].node), names[p.input_count + i]);
    writer_text(out, ", SalunError *error) {\n    const void *inputs_[] = {");
    for (int i = 0; i < p.input_count; i++)
        writer_printf(out, i ? ", %s" : "%s", names[i]);
    writer_text(out, "};\n    void *outputs_[] = {");
    for (int i = 0; i < p.output_count; i++)
        writer_printf(out, i ? ", %s" : "%s", names[p.input_count + i]);
    writer_printf(out, "};\n    return %s(net, n, inputs_, outputs_, error_or_last(error));\n}\n", call_names[CALL_INFER]);
}

static void print_main(Writer *out, const Module *m) {
    bool train = m->entry[ENTRY_STEP].count > 0;
    writer_printf(out, "\nint main(int argc, char **argv) {\n    return %s(&%s_program, argc, argv);\n}\n",
                  call_names[train ? CALL_MAIN_TRAIN : CALL_MAIN_INFER], emit_prefix(m));
}

void emit_c_api(Writer *out, const Module *m, const EmitOptions *o) {
    const char *prefix = emit_prefix(m);
    if (o->header || o->api) {
        writer_printf(out, life_text, prefix, call_names[CALL_CREATE], call_names[CALL_DESTROY], call_names[CALL_LOAD_FILE],
                      call_names[CALL_LOAD_MEMORY], call_names[CALL_PREPARE]);
        writer_printf(out, o->embed ? embedded_text : not_embedded_text, prefix);
        writer_printf(out, "void %s_destroy(%s *net) {\n    %s(net);\n}\n\n", prefix, prefix, call_names[CALL_DESTROY]);
        print_infer(out, m);
    }
    if (o->main)
        print_main(out, m);
}
