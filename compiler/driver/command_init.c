/* command_init.c - salunc init: initial weights, the runtime's own. */
#include "compile.h"

int command_init(Options *o) {
    if (!o->output)
        return options_fail(SALUN_BAD_INPUT, "-o WEIGHTS.safetensors is missing; usage: %s", o->command->usage);
    Compilation c = compilation_new(o);
    if (!compile_build(&c, false))
        return compilation_end(&c);
    pass_tables(c.program);
    SalunError err = { .text = "" };
    SalunModel *m = salun_create(weights_program(c.arena, c.program), 0, &err);
    if (!m)
        return options_fail(err.code, "%s", err.text);
    salun_init(m, o->seed);
    int code = salun_save_file(m, SALUN_PARAMS, o->output, &err);
    salun_destroy(m);
    return code ? options_fail(code, "%s", err.text) : 0;
}
