/* emit_header.c - the header of a compiled network: its C API, documented, in its own name.
 * The same for every back end; valid C99 and C++. */
#include "backend/backend.h"

#include <ctype.h>

static const char *upper(Arena *a, const char *text) {
    char *s = arena_strdup(a, text);
    for (char *c = s; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return s;
}

static const char *element_type(const Node *n) {
    return n->type == TYPE_F32 ? "float" : n->type == TYPE_I32 ? "int32_t" : "uint8_t";
}

/* The shape of one image's part of a port. */
static Shape image_shape(const Node *n) {
    Shape s = n->shape;
    if (!s.batched)
        return s;
    s.batched = false;
    s.rank--;
    for (int i = 0; i < s.rank; i++)
        s.dim[i] = s.dim[i + 1];
    return s;
}

static void print_port(Writer *out, const Module *m, const Node *n, const char *name, const char *role) {
    const char *big = upper(m->arena, emit_prefix(m)), *port = upper(m->arena, name);
    Shape s = image_shape(n);
    writer_printf(out, "#define %s_%s_SIZE %lld   /* %s `%s`: elements of one image, %s */\n", big, port, (long long)shape_count(&s),
                  role, name, shape_text(m->arena, n->type, &s));
    writer_printf(out, "#define %s_%s_RANK %d\n#define %s_%s_DIMS {", big, port, s.rank, big, port);
    for (int i = 0; i < s.rank; i++)
        writer_printf(out, i ? ", %lld" : "%lld", (long long)s.dim[i]);
    writer_text(out, s.rank ? "}\n" : "1}\n");
}

static void print_sizes(Writer *out, const Module *m) {
    EmitPorts p = emit_ports(m);
    const char **names = emit_port_names(m);
    writer_printf(out, "#define %s_BATCH %lld   /* images of one call: 1 to this */\n", upper(m->arena, emit_prefix(m)), (long long)m->program->batch);
    for (int i = 0; i < p.input_count; i++)
        print_port(out, m, p.inputs[i].node, names[i], "input");
    for (int i = 0; i < p.output_count; i++)
        print_port(out, m, p.outputs[i].node, names[p.input_count + i], "output");
}

static const char life_text[] =
    "typedef struct SalunModel %1$s;   /* one network with its weights and memory */\n"
    "\n"
    "/* Names, sizes and tables of the network, for the functions of salun.h. */\n"
    "extern const SalunProgram %1$s_program;\n"
    "\n"
    "/* A network with the weights of a file (.safetensors, or prepared: salun_save_prepared), ready to infer. Several may live at once; one is used by\n"
    " * one thread at a time. threads: how many it computes with, 0 for all processors.\n"
    " * NULL on failure: error->text says why in one line, error->code is an exit code of salun.h. error may be NULL. */\n"
    "%1$s *%1$s_create(const char *weights, int threads, SalunError *error);\n"
    "/* The same from a file in memory, which is not needed afterwards. */\n"
    "%1$s *%1$s_create_from_memory(const void *data, size_t bytes, int threads, SalunError *error);\n"
    "/* The same from the weights inside the object (--embed-weights); fails when it holds none. */\n"
    "%1$s *%1$s_create_embedded(int threads, SalunError *error);\n"
    "/* Frees everything; NULL is allowed. */\n"
    "void %1$s_destroy(%1$s *net);\n";

static void print_infer(Writer *out, const Module *m) {
    EmitPorts p = emit_ports(m);
    const char **names = emit_port_names(m), *prefix = emit_prefix(m);
    writer_printf(out, "/* Computes n images, 1 to %s_BATCH. Arrays are plain and row-major, image after image: channels, rows, columns.\n"
                       " * Nothing is allocated. 0, or an exit code of salun.h with the reason in error, which may be NULL. */\n"
                       "int %s_infer(%s *net", upper(m->arena, prefix), prefix, prefix);
    for (int i = 0; i < p.input_count; i++)
        writer_printf(out, ", const %s *%s", element_type(p.inputs[i].node), names[i]);
    writer_text(out, ", int64_t n");
    for (int i = 0; i < p.output_count; i++)
        writer_printf(out, ", %s *%s", element_type(p.outputs[i].node), names[p.input_count + i]);
    writer_text(out, ", SalunError *error);\n");
}

void emit_header(Writer *out, const Module *m) {
    const char *prefix = emit_prefix(m), *big = upper(m->arena, prefix);
    writer_printf(out, "/* %s: a network compiled by salunc for %s (numeric class %s), %lld images at most per call.\n"
                       " * Link with the flags that `pkg-config --libs salun` prints. */\n#ifndef SALUN_NET_%s_H\n#define SALUN_NET_%s_H\n\n",
                  prefix, m->target->name, emit_numeric(m), (long long)m->program->batch, big, big);
    writer_text(out, "#include <salun.h>\n\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    print_sizes(out, m);
    writer_char(out, '\n');
    writer_printf(out, life_text, prefix);
    print_infer(out, m);
    writer_text(out, "/* Why the last call on this thread for which no error was asked failed; \"\" when none has. */\n");
    writer_printf(out, "const char *%s_error(void);\n\n#ifdef __cplusplus\n}\n#endif\n#endif\n", prefix);
}
