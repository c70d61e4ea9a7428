/* command_run.c - salunc run, salunc train: a network compiled into this process and run at once, with the options of the
 * program that it would be compiled to. */
#include "compile.h"

static int run_program(Options *o, bool train, int (*program_main)(const SalunProgram *, int, char **)) {
    Compilation c = compilation_new(o);
    InMemory p = { .backend = files_backend(o, NULL) };
    if (!p.backend)
        return SALUN_BAD_INPUT;
    if (!compile_module(&c, train))
        return compilation_end(&c);
    if (o->time && train)
        ARENA_PUSH(o->arena, o->rest, o->rest_count, o->rest_cap, arena_strdup(o->arena, "--time"));
    ARENA_PUSH(o->arena, o->rest, o->rest_count, o->rest_cap, NULL);
    double start = compile_clock();
    int code = memory_load(&c, &p);
    compile_report(&c, "load", start);
    if (!code)
        code = program_main(p.program, o->rest_count - 1, o->rest);
    memory_unload(&p);
    return code;
}

int command_run(Options *o) { return run_program(o, false, salun_main_infer); }
int command_train(Options *o) { return run_program(o, true, salun_main_train); }
