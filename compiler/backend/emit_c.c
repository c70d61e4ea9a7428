/* emit_c.c - the C back end: one self-contained C file per network.
 *
 * It compiles without options but -O3 and -ffp-contract=off, without a warning, with gcc and clang, and links with the
 * runtime. Its parts in order: what it refuses, the prelude, kernels, tables, API. The same module always
 * gives the same text. */
#include "backend/emit_c.h"

#include <string.h>

void emit_c_string(Writer *out, const char *text) {
    if (!text) {
        writer_char(out, '0');
        return;
    }
    writer_char(out, '"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\n')
            writer_text(out, "\\n");
        else if (c == '"' || c == '\\')
            writer_printf(out, "\\%c", c);
        else if (c < ' ' || c >= 127 || (c == '?' && text[1] == '?'))
            writer_printf(out, "\\%03o", c);
        else
            writer_char(out, (char)c);
    }
    writer_char(out, '"');
}

void emit_c_comment(Writer *out, const char *text) {
    for (; *text; text++) {
        bool ends = (text[0] == '*' && text[1] == '/') || (text[0] == '/' && text[1] == '*');
        writer_char(out, (unsigned char)*text < ' ' ? ' ' : *text);
        if (ends)
            writer_char(out, ' ');
    }
}

static void print_opening(Writer *out, const Module *m, const EmitOptions *o) {
    writer_text(out, "/* ");
    emit_c_comment(out, emit_prefix(m));
    writer_text(out, ": written by salunc from ");
    emit_c_comment(out, m->program->file ? m->program->file : "memory");
    writer_printf(out, ", for %s (numeric class %s), at most %lld images per call.\n", m->target->name, emit_numeric(m), (long long)m->program->batch);
    if (o->command) {
        writer_text(out, " *     ");
        emit_c_comment(out, o->command);
        writer_char(out, '\n');
    }
    writer_text(out, " * Compile: cc $(pkg-config --cflags salun) -c FILE. Names of functions v_ are on vectors, s_ on scalars, i_ on indices;\n"
                     " * of registers: s float, v vector of floats, i integer, w vector of integers, m mask, p vector mask. */\n"
                     "#if defined(__FAST_MATH__)\n#error \"compile without -ffast-math: kernels say themselves what may be reordered\"\n#endif\n"
                     "#if defined(__clang__)\n#pragma STDC FP_CONTRACT OFF\n#endif\n\n#include <stddef.h>\n#include <stdint.h>\n");
}

static bool emit(Writer *out, const Module *m, const EmitOptions *o, const char **error) {
    (void)error;
    PreludeUse use;
    memset(&use, 0, sizeof use);
    Writer *kernels = writer_new(m->arena);
    for (int i = 0; i < m->kernel_count; i++)
        emit_c_kernel(kernels, m->kernels[i], &use);
    print_opening(out, m, o);
    if (o->header) {
        writer_text(out, "#include ");
        emit_c_string(out, o->header);
        writer_char(out, '\n');
    } else if (o->api) {
        emit_header(out, m);
    } else {
        writer_text(out, "#include <salun.h>\n");
    }
    if (use.blas)
        writer_text(out, "/* link with -lopenblas, or another CBLAS */\n"
                         "void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,\n"
                         "                 const float *b, int ldb, float beta, float *c, int ldc);\n");
    emit_c_prelude(out, m->target, &use);
    writer_bytes(out, kernels->data, kernels->length);
    writer_char(out, '\n');
    emit_c_target_end(out, m->target);
    emit_c_module(out, m, o);
    emit_c_api(out, m, o);
    return true;
}

const Backend backend_c = { "c", ".c", emit, NULL, NULL, NULL };
