/* command_fmt.c - salunc fmt: files in the canonical style. */
#include "compile.h"

#include <string.h>

/* One file's canonical text; NULL after errors, *code set. */
static Writer *format(const Options *o, const char *path, const SourceFile **source, int *code) {
    Diag *diag = diag_new(o->arena, stderr);
    const char *error = NULL;
    *source = source_read(o->arena, path, &error);
    if (!*source) {
        *code = options_fail(SALUN_BAD_INPUT, "%s: %s", path, error);
        return NULL;
    }
    AstFile *tree = syntax_parse(o->arena, *source, diag);
    if (diag_errors(diag)) {
        *code = SALUN_FAIL;
        return NULL;
    }
    Writer *w = writer_new(o->arena);
    ast_print(w, tree);
    return w;
}

static int format_file(const Options *o, const char *path) {
    int code = 0;
    const SourceFile *source;
    Writer *w = format(o, path, &source, &code);
    if (!w)
        return code;
    bool same = w->length == source->length && !memcmp(w->data, source->text, w->length);
    if (o->check_only) {
        if (!same)
            printf("%s\n", path);
        return same ? 0 : SALUN_FAIL;
    }
    if (o->in_place)
        return same ? 0 : output_write(path, w->data, w->length);
    return output_write(NULL, w->data, w->length);
}

int command_fmt(Options *o) {
    int worst = 0;
    if (o->check_only && o->in_place)
        return options_fail(SALUN_BAD_INPUT, "--check and --in-place exclude each other");
    for (int i = 0; i < o->file_count; i++) {
        int code = format_file(o, o->files[i]);
        if (code > worst)
            worst = code;
    }
    return worst;
}
