/* Kernels printed as C, compiled by every compiler of this machine for every target, give the bits of the evaluator.
 * What this processor cannot run is compiled only, and named. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/emit_c.h"
#include "emit_kernels.h"

/* calls.def says what salun.h says. */
#define CALL(id, name, result, parameters) \
    _Static_assert(__builtin_types_compatible_p(__typeof__(name), result parameters), #name " differs from salun.h");
#include "backend/calls.def"

static Arena *arena;
static char folder[] = "/tmp/salun_emit_XXXXXX";

/* ---- compiling ---- */

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) < 0, 0);
    assert_int_equal(fclose(file), 0);
}

static const char *print_file(const Target *t, Kernel *const *kernels, int count) {
    PreludeUse use = { 0 };
    Writer *body = writer_new(arena), *file = writer_new(arena);
    for (int i = 0; i < count; i++)
        emit_c_kernel(body, kernels[i], &use);
    writer_text(file, "#include <salun.h>\n");
    emit_c_prelude(file, t, &use);
    writer_text(file, body->data);
    emit_c_target_end(file, t);
    writer_text(file, "extern SalunKernel *const exported[];\nSalunKernel *const exported[] = {");
    for (int i = 0; i < count; i++)
        writer_printf(file, "kernel_%s, ", kernels[i]->name);
    writer_text(file, "};\n");
    const char *path = arena_printf(arena, "%s/%s.c", folder, t->name);
    write_file(path, file->data);
    return path;
}

static bool has_command(const char *name) {
    return system(arena_printf(arena, "command -v %s >/dev/null 2>&1", name)) == 0;
}

static void check_same(const Kernel *k, SalunKernel *compiled) {
    const char *why = kernel_compare(arena, k, compiled);
    if (why)
        fail_msg("%s", why);
}

static void check_target(const Target *t, const char *cc, const char *flags) {
    Kernel *kernels[] = { kernel_of_operations(arena, t, false), kernel_of_operations(arena, t, true), kernel_of_accesses(arena, t),
                          kernel_of_statements(arena, t), kernel_of_halves(arena, t), t->half ? kernel_of_half_arithmetic(arena, t) : NULL };
    int count = COUNT(kernels) - !t->half;
    const char *path = print_file(t, kernels, count), *object = arena_printf(arena, "%s/%s-%s-%d.so", folder, t->name, cc, (int)strlen(flags));
    const char *command = arena_printf(arena, "%s %s -ffp-contract=off -Wall -Wextra -Werror -I%s -shared -fPIC -o %s %s -lm", cc, flags, RUNTIME_DIR, object, path);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
    if (!target_runs_here(t)) {
        print_message("%s by %s: compiled, not run on this processor\n", t->name, cc);
        return;
    }
    void *library = dlopen(object, RTLD_NOW);
    if (!library)
        fail_msg("%s", dlerror());
    SalunKernel *const *exported = dlsym(library, "exported");
    assert_non_null(exported);
    for (int i = 0; i < count; i++)
        check_same(kernels[i], exported[i]);
    dlclose(library);
    print_message("%s by %s %s: equal to the evaluator\n", t->name, cc, flags);
}

static void all_targets(void **state) {
    (void)state;
    static const char *const compilers[] = { "gcc", "clang" };
    int count;
    const Target *targets = target_list(&count);
    for (int c = 0; c < COUNT(compilers); c++) {
        if (!has_command(compilers[c])) {
            print_message("%s is not installed: not tested\n", compilers[c]);
            continue;
        }
        for (int i = 0; i < count; i++) {
            bool wide = targets[i].half && targets[i].width == 16;
            if (targets[i].half && targets[i].width == 4)
                continue;                                  /* for aarch64: tests/run/cross.sh */
            check_target(&targets[i], compilers[c], wide && c ? "-O3 -mavx512fp16" : "-O3");
            check_target(&targets[i], compilers[c], wide ? "-O0 -mavx512fp16" : "-O0 -pedantic -std=c11");
        }
        check_target(&targets[0], compilers[c], "-O2 -U__SSE2__");     /* plain C, as for any other processor */
    }
}

static void same_text_twice(void **state) {
    (void)state;
    const Target *t = target_find("avx2");
    PreludeUse use = { 0 };
    Writer *a = writer_new(arena), *b = writer_new(arena);
    emit_c_kernel(a, kernel_of_operations(arena, t, true), &use);
    emit_c_kernel(b, kernel_of_operations(arena, t, true), &use);
    assert_string_equal(a->data, b->data);
}

static int setup(void **state) {
    (void)state;
    arena = arena_new(0);
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    int failed = system(arena_printf(arena, "rm -rf %s", folder));
    arena_destroy(arena);
    return failed;
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_targets), cmocka_unit_test(same_text_twice) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
