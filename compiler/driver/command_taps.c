/* command_taps.c - salunc taps: what placements can change. */
#include "compile.h"

int command_taps(Options *o) {
    Compilation c = compilation_new(o);
    if (!compile_build(&c, false))
        return compilation_end(&c);
    Writer *w = writer_new(c.arena);
    build_taps_print(w, c.program);
    return output_write(NULL, w->data, w->length);
}
