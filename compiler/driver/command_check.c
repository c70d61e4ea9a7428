/* command_check.c - salunc check: every error of a file, in all of its networks and variants. */
#include "compile.h"

/* Elaborates one network for inference and training; NULL: the file's only one. */
static void check_network(Compilation *c, const char *network) {
    BuildOptions build = c->o->build;
    build.network = network;
    build.training = false;
    build.check = true;
    build_program(c->arena, c->tree, &build, c->diag);
}

static const char *network_name(const AstNode *d) {
    if (d->kind == DECL_NETWORK)
        return d->block.name.text;
    return d->kind == DECL_VARIANT ? d->variant.name.text : NULL;
}

int command_check(Options *o) {
    Compilation c = compilation_new(o);
    if (o->build.network)
        return compile_build(&c, false) ? 0 : compilation_end(&c);
    if (!compile_parse(&c))
        return compilation_end(&c);
    int networks = 0;
    for (int i = 0; i < c.tree->declarations.count; i++) {
        const char *name = network_name(c.tree->declarations.items[i]);
        if (!name)
            continue;
        networks++;
        check_network(&c, name);
    }
    if (!networks)
        check_network(&c, NULL);
    c.code = diag_errors(c.diag) ? SALUN_FAIL : SALUN_OK;
    return compilation_end(&c);
}
