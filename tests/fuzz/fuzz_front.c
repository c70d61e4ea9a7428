/* fuzz_front.c - libFuzzer target over the front of the compiler.
 * Whatever the bytes, parsing ends without a crash; what parses without an error prints to a text that
 * parses to the same tree and prints to itself, and elaborates, for inference and training, to sound graphs
 * or to errors. */
#include "graph/build.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static AstFile *parse(Arena *arena, const char *text, size_t length, Diag *diag) {
    return syntax_parse(arena, source_from_text(arena, "fuzz.snet", text, length), diag);
}

static char *print(Arena *arena, const AstFile *file) {
    Writer *w = writer_new(arena);
    ast_print(w, file);
    return w->data;
}

static void check_printing(Arena *arena, const AstFile *file) {
    Diag *diag = diag_new(arena, NULL);
    char *once = print(arena, file);
    AstFile *again = parse(arena, once, strlen(once), diag);
    if (diag_errors(diag) || !ast_file_equal(file, again) || again->comment_count != file->comment_count)
        abort();
    if (strcmp(once, print(arena, again)))
        abort();
}

/* Files named by `use` do not exist. */
static SourceFile *no_file(void *context, Arena *arena, const char *path, const char **error) {
    (void)context, (void)arena, (void)path;
    *error = "there are no files here";
    return NULL;
}

static void check_elaboration(Arena *arena, const AstFile *file, Diag *diag) {
    BuildOptions options = BUILD_DEFAULTS;
    options.check = true;
    options.training = build_has_train(file, NULL);
    options.batch = 2;
    options.load = no_file;
    Program *p = build_program(arena, file, &options, diag);
    if (!p == !diag_errors(diag))
        abort();
    if (p)
        build_taps_print(writer_new(arena), p);
}

static void front_end(Arena *arena, const AstFile *file, Diag *diag) {
    check_printing(arena, file);
    check_elaboration(arena, file, diag);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static FILE *sink;
    if (!sink)
        sink = fopen("/dev/null", "w");
    Arena *arena = arena_new((size_t)1 << 30);
    Diag *diag = diag_new(arena, sink);
    AstFile *file = parse(arena, (const char *)data, size, diag);
    if (!diag_errors(diag))
        front_end(arena, file, diag);
    syntax_parse_expression(arena, file->source, diag_new(arena, NULL));    /* as the value of -D */
    arena_destroy(arena);
    return 0;
}
