/* command_explain.c - salunc explain: what became of the network, and why. */
#include "compile.h"

int command_explain(Options *o) {
    Compilation c = compilation_new(o);
    if (!compile_module(&c, o->train))
        return compilation_end(&c);
    Writer *w = writer_new(c.arena);
    return output_write(NULL, w->data, w->length);
}
