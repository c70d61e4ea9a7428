/* files.c - what a file is called decides what it is and who makes it: a table of endings. */
#include "compile.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum { BY_C, BY_EITHER, BY_LLVM, BY_NONE } Maker;
typedef struct {
    const char *ending;                /* NULL: any other name is an executable */
    Maker maker;
    MachineForm form;                  /* what the LLVM back end is asked for */
    BuildKind build;                   /* what the C compiler is asked for */
    bool linked;                       /* LLVM's object goes on to the C compiler or the archiver */
} FileKind;

static const FileKind kinds[] = {
    { ".c",  BY_C,      FORM_OBJECT,   BUILD_OBJECT,    false },
    { ".h",  BY_NONE,   FORM_OBJECT,   BUILD_OBJECT,    false },
    { ".ll", BY_LLVM,   FORM_IR,       BUILD_OBJECT,    false },
    { ".bc", BY_LLVM,   FORM_BITCODE,  BUILD_OBJECT,    false },
    { ".s",  BY_EITHER, FORM_ASSEMBLY, BUILD_ASSEMBLY,  false },
    { ".o",  BY_EITHER, FORM_OBJECT,   BUILD_OBJECT,    false },
    { ".a",  BY_EITHER, FORM_OBJECT,   BUILD_ARCHIVE,   true },
    { ".so", BY_EITHER, FORM_OBJECT,   BUILD_SHARED,    true },
    { NULL,  BY_EITHER, FORM_OBJECT,   BUILD_INFERENCE, true },
};

/* ---- which ---- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool ends_with(const char *text, const char *tail) {
    size_t n = strlen(text), k = strlen(tail);
    return n > k && !strcmp(text + n - k, tail);
}

static const FileKind *kind_of(const char *output) {
    const FileKind *k = kinds;
    while (k->ending && !ends_with(output, k->ending))
        k++;
    return k;
}

static const Backend *find_backend(const char *name, const char *what) {
    const Backend *b = backend_find(name);
    if (!b)
        options_fail(SALUN_BAD_INPUT, "%s: this salunc was built without LLVM (cmake -DSALUN_LLVM=ON builds it with)", what);
    return b;
}

/* A program of this process is made by LLVM where there is LLVM. */
static const Backend *memory_backend(const Options *o) {
    if (o->triple) {
        options_fail(SALUN_BAD_INPUT, "--target=%s: what is run at once is for this machine", o->triple);
        return NULL;
    }
    if (o->backend)
        return find_backend(o->backend, "--backend=llvm");
    const Backend *b = backend_find("llvm");
    return b ? b : backend_find("c");
}

const Backend *files_backend(const Options *o, const char *output) {
    if (!output)
        return memory_backend(o);
    for (int i = 0; i < COUNT(kinds); i++)
        if (kinds[i].ending && !strcmp(base_name(output), kinds[i].ending)) {
            options_fail(SALUN_BAD_INPUT, "-o %s: the file has no name before its ending", output);
            return NULL;
        }
    if (ends_with(output, ".snet") || ends_with(output, ".safetensors")) {
        options_fail(SALUN_BAD_INPUT, "-o %s: the output's name ends in .c, .h, .ll, .bc, .s, .o, .a or .so, or names an executable", output);
        return NULL;
    }
    const FileKind *k = kind_of(output);
    const char *wanted = o->backend ? o->backend : k->maker == BY_LLVM || o->triple ? "llvm" : "c";
    bool llvm = !strcmp(wanted, "llvm");
    const Backend *b = find_backend(wanted, o->backend ? "--backend=llvm" : k->maker == BY_LLVM ? arena_printf(o->arena, "-o %s", output) : "--target");
    if (!b || k->maker == BY_NONE || k->maker == BY_EITHER)
        return b;
    if (llvm == (k->maker == BY_LLVM))
        return b;
    options_fail(SALUN_BAD_INPUT, "-o %s: the %s back end does not write such files", output, b->name);
    return NULL;
}

/* ---- beside ---- */

/* net.so -> net.h */
static const char *header_path(Arena *a, const char *output, const FileKind *k) {
    return arena_printf(a, "%.*s.h", (int)(strlen(output) - strlen(k->ending)), output);
}

/* The assembler reads the weights later and from elsewhere: an absolute path of a file that is there. */
/* The file must be this network's: what the program would refuse when it starts is refused here. */
static int check_embedded(Compilation *c, const char *path) {
    SalunError err;
    SalunProgram tables = *weights_program(c->arena, c->program);
    if (!c->o->train)
        tables.prepared_hash = c->module->prepared_hash;
    SalunModel *m = salun_create(&tables, 1, &err);
    int code = m ? salun_load_file(m, path, NULL, NULL, NULL, &err) : err.code;
    if (code)
        options_fail(code, "--embed-weights: %s", err.text);
    salun_destroy(m);
    return code;
}

static int embedded_path(Compilation *c, const char **path) {
    const Options *o = c->o;
    *path = NULL;
    if (!o->embed)
        return 0;
    char *absolute = realpath(o->embed, NULL);
    if (!absolute)
        return options_fail(SALUN_BAD_INPUT, "--embed-weights %s: %s", o->embed, strerror(errno));
    *path = arena_strdup(o->arena, absolute);
    free(absolute);
    struct stat st;
    if (!stat(*path, &st) && !S_ISREG(st.st_mode))
        return options_fail(SALUN_BAD_INPUT, "--embed-weights %s: not a regular file", o->embed);
    if (access(*path, R_OK))
        return options_fail(SALUN_BAD_INPUT, "--embed-weights %s: %s", o->embed, strerror(errno));
    return check_embedded(c, *path);
}

/* ---- writing ---- */

static int fail(const char *error) { return options_fail(SALUN_FAIL, "%s", error); }

static int write_c(Compilation *c, const FileKind *k, EmitOptions *e) {
    Writer *text = writer_new(c->arena), *header = writer_new(c->arena);
    const char *path = header_path(c->arena, c->o->output, k), *error = NULL;
    e->header = base_name(path);
    e->main = c->o->train;
    emit_header(header, c->module);
    if (!backend_c.emit(text, c->module, e, &error))
        return fail(error);
    return output_write_pair(c->o->output, text, path, header);
}

static int write_header(Compilation *c, const char *path) {
    Writer *header = writer_new(c->arena);
    emit_header(header, c->module);
    return output_write(path, header->data, header->length);
}

/* What the back end makes goes through $CC unless it is what was asked for. */
static int write_built(Compilation *c, const FileKind *k, const Backend *b, const EmitOptions *e) {
    const Options *o = c->o;
    Writer *text = writer_new(c->arena);
    const char *error = NULL;
    BuildKind build = !k->ending && o->train ? BUILD_TRAINING : k->build;
    if (!(b->write ? b->write(text, c->module, e, k->form, &error) : b->emit(text, c->module, e, &error)))
        return fail(error);
    if (b->write && !k->linked)
        return output_write(o->output, text->data, text->length);
    return toolchain_build(c->arena, text, b->write != NULL, o->output, build, o->blas);
}

int files_write(Compilation *c) {
    const Options *o = c->o;
    const Backend *b = files_backend(o, o->output);
    const FileKind *k = kind_of(o->output);
    EmitOptions e = { .command = o->line, .triple = o->triple, .cpu = o->cpu, .level = options_level(o, 3) };
    int code = b ? embedded_path(c, &e.embed) : SALUN_BAD_INPUT;
    if (code)
        return code;
    if (k->maker == BY_C)
        return write_c(c, k, &e);
    if (k->maker == BY_NONE)
        return write_header(c, o->output);
    e.api = k->ending != NULL;
    e.main = !k->ending;
    code = write_built(c, k, b, &e);
    return code || !k->ending ? code : write_header(c, header_path(c->arena, o->output, k));
}
