/* emit_c_kernel.h - one kernel being printed: what emit_c_live.c, emit_c_value.c and emit_c_kernel.c share. */
#ifndef SALUN_BACKEND_EMIT_C_KERNEL_H
#define SALUN_BACKEND_EMIT_C_KERNEL_H

#include "backend/emit_c.h"

typedef struct Scope Scope;
struct Scope { const Scope *outer; int depth; };

typedef struct {
    const Scope *scope;            /* the innermost block around all that refers to the register */
    const Stm *first;              /* what refers to it first, NULL: nothing */
    const Scope *first_scope;
    bool live;                     /* a store depends on it */
} RegInfo;

typedef struct {
    Writer *out;
    const Kernel *k;
    PreludeUse *use;
    RegInfo *reg;
    bool *var_live, *buffer_used;
    bool run_used, live_changed;
    Scope **scopes;                /* of all loops and ifs, in order of the text */
    int scope_count, scope_cap, scope_next;
    const char **var_name, **buffer_name;
    Writer *text;                  /* the statement being printed */
    const char *declaring;         /* type of the declaration that is still open on this line, or NULL */
    bool on_line;                  /* the line holds something */
} Emit;

/* emit_c_live.c: what stores depend on, and where every register belongs. Fills reg, var_live, buffer_used, scopes. */
void emit_c_live(Emit *e, const Scope *outermost);
bool emit_c_is_live(const Emit *e, const Stm *s);

/* emit_c_value.c: parts of statements, into e->text. */
void emit_c_index(Emit *e, const Index *x);
void emit_c_reg(Emit *e, Reg r);
const char *emit_c_reg_type(RegType t);
void emit_c_element(Emit *e, const Stm *s);               /* x[row*56 + 3] */
void emit_c_address(Emit *e, const Stm *s);               /* x + row*56 + 3 */
void emit_c_store(Emit *e, const Stm *s);
void emit_c_value(Emit *e, const Stm *s);                 /* the right side of a statement that sets a register */

#endif
