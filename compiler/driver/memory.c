/* memory.c - a network compiled into this process. Without LLVM a shared object by $CC stands for the code in memory. */
#include "compile.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- by $CC ---- */

static int open_library(Compilation *c, InMemory *p, const char *path) {
    p->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    p->program = p->library ? dlsym(p->library, arena_printf(c->arena, "%s_program", emit_prefix(c->module))) : NULL;
    return p->program ? 0 : options_fail(SALUN_FAIL, "%s", dlerror());
}

static int load_by_compiler(Compilation *c, InMemory *p) {
    const char *temporary = getenv("TMPDIR"), *error = NULL;
    char *folder = arena_printf(c->arena, "%s/salunc-XXXXXX", temporary && temporary[0] ? temporary : "/tmp");
    EmitOptions e = { .api = true };
    Writer *text = writer_new(c->arena);
    if (!p->backend->emit(text, c->module, &e, &error))
        return options_fail(SALUN_FAIL, "%s", error);
    if (!mkdtemp(folder))
        return options_fail(SALUN_NO_SPACE, "%s: %s", folder, strerror(errno));
    const char *path = arena_printf(c->arena, "%s/%s.so", folder, emit_prefix(c->module));
    int code = toolchain_build(c->arena, text, false, path, BUILD_SHARED, c->o->blas);
    if (!code)
        code = open_library(c, p, path);
    unlink(path);
    rmdir(folder);
    return code;
}

/* ---- by either ---- */

static void report(const char *stage, double milliseconds) {
    fprintf(stderr, "%-10s %8.2f ms\n", stage, milliseconds);
}

int memory_load(Compilation *c, InMemory *p) {
    EmitOptions e = { .cpu = c->o->cpu, .level = options_level(c->o, 2), .profile = c->o->profile, .report = c->o->time ? report : NULL };
    const void *program = NULL;
    const char *error = NULL;
    if (!p->backend->load)
        return load_by_compiler(c, p);
    p->loaded = p->backend->load(c->module, &e, &program, &error);
    p->program = program;
    return p->loaded ? 0 : options_fail(SALUN_FAIL, "%s", error);
}

void memory_unload(InMemory *p) {
    if (p->loaded)
        p->backend->unload(p->loaded);
    if (p->library)
        dlclose(p->library);
}
