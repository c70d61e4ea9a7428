/* main.c - salunc: the compiler as a command. The driver alone links compiler and runtime together. */
#include "options.h"

#include "base.h"

#include <signal.h>

int main(int argc, char **argv) {
    salun_occupy_standard();
    salun_map_guard();
    signal(SIGXFSZ, SIG_IGN);                /* a size limit is a write that fails */
    Arena *arena = arena_new(0);
    Options options = { .arena = arena };
    bool done = false;
    int code = options_read(&options, argc, argv, &done);
    if (!code && !done)
        code = options.command->run(&options);
    if (fflush(stdout) != 0 && !code)
        code = options_fail(SALUN_NO_SPACE, "standard output cannot be written");
    arena_destroy(arena);
    return code;
}
