/* conv_choose.c - which algorithm computes a convolution: the candidates are priced, the cheapest is taken.
 * A price is cycles of one processor for the whole batch, without what stands behind the convolution; in training the
 * packing of the weights is part of it, because it is done in every step. */
#include "kernel/conv_winograd.h"

const char *const conv_algorithm_text[CONV_ALGORITHMS] = { "auto", "direct", "winograd2", "winograd4" };

typedef struct { ConvAlgorithm algorithm; double cost; WinogradPlan plan; } Candidate;

static const char *price_text(const Lower *l, const Candidate *c, int count, int chosen) {
    Writer *w = writer_new(l->arena);
    if (count == 1)
        return "";
    writer_printf(w, "; %s at %.3g Mcycles", conv_algorithm_text[c[chosen].algorithm], c[chosen].cost / 1e6);
    for (int i = 0, shown = 0; i < count; i++)
        if (i != chosen)
            writer_printf(w, "%s %s %.3g", shown++ ? "," : ", not", conv_algorithm_text[c[i].algorithm], c[i].cost / 1e6);
    return w->data;
}

/* Cycles of packing directly, per step. */
static double pack_cost(const ConvPlan *p) { return (double)(p->panels * p->panel_floats) * 1.5; }

ConvChoice conv_choose(const Lower *l, const Group *g, const ConvPlan *direct) {
    Candidate all[3] = { { .algorithm = CONV_DIRECT } };
    int count = 1, best = 0;
    if (!winograd_applies(l, g))
        return (ConvChoice){ .algorithm = CONV_DIRECT, .why = "" };
    bool packs = !(pack_is_constant(direct->w) && l->entry == ENTRY_INFER);
    all[0].cost = conv_plan_cost(direct) + (packs ? pack_cost(direct) : 0);
    for (ConvAlgorithm a = CONV_WINOGRAD2; a <= CONV_WINOGRAD4; a++) {
        WinogradPlan plan = winograd_plan(l, g, a == CONV_WINOGRAD2 ? 2 : 4);
        all[count++] = (Candidate){ a, plan.cost + (packs ? plan.pack_cost : 0), plan };
    }
    for (int i = 1; i < count; i++)
        if (l->module->conv == CONV_AUTO ? all[i].cost < all[best].cost : all[i].algorithm == l->module->conv)
            best = i;
    return (ConvChoice){ all[best].algorithm, all[best].plan, price_text(l, all, count, best) };
}
