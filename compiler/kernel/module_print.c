/* module_print.c - a module as text: --emit=kernels and --emit=plan. Stable from run to run. */
#include "kernel/module.h"

#include <inttypes.h>

static const char *const space_names[] = {"params", "states", "raw", "grads", "slots", "prepared", "block", "constants"};

static void print_place(Writer *w, MemPlace p) {
    if (p.space >= SPACE_OUTPUT)
        writer_printf(w, "output%d", p.space - SPACE_OUTPUT);
    else if (p.space >= SPACE_INPUT)
        writer_printf(w, "input%d", p.space - SPACE_INPUT);
    else
        writer_text(w, space_names[p.space]);
    writer_printf(w, "+%" PRId64, p.offset);
}

static void print_call(Writer *w, const Call *c) {
    writer_printf(w, "  %s(", c->kernel->name);
    for (int i = 0; i < c->arg_count; i++) {
        writer_text(w, i ? ", " : "");
        print_place(w, c->args[i]);
    }
    writer_printf(w, ") tasks %" PRId64, c->tasks);
    if (c->unit)
        writer_printf(w, c->unit == 1 ? " per image" : " per %" PRId64 " images", c->unit);
    writer_printf(w, "  ; %s\n", c->title ? c->title : "");
}

void module_print(Writer *w, const Module *m) {
    writer_printf(w, "module %s target %s %s batch %" PRId64 "\n", m->program->name, m->target->name,
                  m->math == MATH_STRICT ? "strict" : "fast", m->program->batch);
    for (int e = 0; e < ENTRY_COUNT; e++) {
        if (!m->entry[e].count)
            continue;
        writer_printf(w, "\nentry %s\n", m->entry[e].name);
        for (int i = 0; i < m->entry[e].count; i++)
            print_call(w, &m->entry[e].calls[i]);
    }
    for (int i = 0; i < m->kernel_count; i++) {
        writer_char(w, '\n');
        kernel_print(w, m->kernels[i]);
    }
}

void module_print_plan(Writer *w, const Module *m) {
    writer_printf(w, "block %" PRId64 " bytes, prepared %" PRId64 ", scratch %" PRId64 " per thread\n", m->block_bytes,
                  m->prepared_bytes, m->scratch_bytes);
    writer_printf(w, "%-8s %-9s %12s %12s  %-13s %s\n", "entry", "space", "offset", "bytes", "calls", "value");
    for (int i = 0; i < m->plan_count; i++) {
        const PlanRow *r = &m->plan[i];
        writer_printf(w, "%-8s %-9s %12" PRId64 " %12" PRId64 "  %5d - %5d %s\n", entry_text[r->entry], space_names[r->place.space],
                      r->place.offset, r->bytes, r->first, r->last, r->what);
    }
}
