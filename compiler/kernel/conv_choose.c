/* conv_choose.c - which algorithm computes a convolution: the candidates are priced, and the cheapest is taken where no tuning
 * says which was the fastest.
 * A price is cycles of one processor for the whole batch, without what stands behind the convolution; in training the
 * packing of the weights is part of it, because it is done in every step. */
#include "kernel/conv_strassen.h"
#include "kernel/tuning.h"
#include "kernel/weight_winograd.h"

const char *const conv_algorithm_text[CONV_ALGORITHMS] = { "auto", "direct", "winograd2", "winograd4", "strassen" };

typedef struct { ConvAlgorithm algorithm; double cost; } Candidate;

static const char *price_text(const Lower *l, const Candidate *c, int count, int chosen) {
    Writer *w = writer_new(l->arena);
    writer_printf(w, "; %s at %.3g Mcycles", conv_algorithm_text[c[chosen].algorithm], c[chosen].cost / 1e6);
    for (int i = 0, shown = 0; i < count; i++)
        if (i != chosen)
            writer_printf(w, "%s %s %.3g", shown++ ? "," : ", not", conv_algorithm_text[c[i].algorithm], c[i].cost / 1e6);
    return w->data;
}

static const char *time_text(const Lower *l, const TuningRow *row) {
    Writer *w = writer_new(l->arena);
    writer_printf(w, "; %s as tuned", conv_algorithm_text[row->choice]);
    if (row->time[row->choice] > 0)
        writer_printf(w, ": %.4g us", row->time[row->choice]);
    for (int i = CONV_AUTO + 1, shown = 0; i < CONV_ALGORITHMS; i++)
        if (i != (int)row->choice && row->time[i] > 0)
            writer_printf(w, "%s %s %.4g", shown++ ? "," : ", not", conv_algorithm_text[i], row->time[i]);
    return w->data;
}

static int find_candidate(const Candidate *c, int count, ConvAlgorithm algorithm) {
    for (int i = 0; i < count; i++)
        if (c[i].algorithm == algorithm)
            return i;
    return -1;
}

/* The candidate that is asked for, else the one that was the fastest when it was timed, else the cheapest. */
static int choose(const Lower *l, const Group *g, const Candidate *c, int count, const char **why) {
    Module *m = l->module;
    ConvDecision d = { .key = tuning_key(l, g), .entry = l->entry, .group = g };
    const TuningRow *row = m->conv == CONV_AUTO ? tuning_find(m->tuning, d.key) : NULL;
    int best = find_candidate(c, count, row ? row->choice : m->conv);
    d.timed = row && best >= 0;
    if (best < 0)
        best = 0;
    for (int i = 0; i < count; i++) {
        d.price[c[i].algorithm] = c[i].cost;
        if (m->conv == CONV_AUTO && !d.timed && c[i].cost < c[best].cost)
            best = i;
    }
    d.chosen = c[best].algorithm;
    if (l->entry != ENTRY_TRAIN)                   /* entry `step` has them all */
        ARENA_PUSH(m->arena, m->decisions, m->decision_count, m->decision_cap, d);
    *why = d.timed ? time_text(l, row) : price_text(l, c, count, best);
    return best;
}

/* Plans beside the direct nest, each with its algorithm; their number. */
static int other_plans(const Lower *l, const Group *g, WinogradPlan plan[2], ConvAlgorithm algorithm[2]) {
    int count = 0;
    for (int i = 0; i < 2 && winograd_applies(l, g); i++, count++) {
        algorithm[count] = i ? CONV_WINOGRAD4 : CONV_WINOGRAD2;
        plan[count] = winograd_plan(l, g, i ? 4 : 2);
    }
    if (strassen_applies(l, g)) {
        algorithm[count] = CONV_STRASSEN;
        plan[count++] = strassen_plan(l, g);
    }
    return count;
}

ConvChoice conv_choose(const Lower *l, const Group *g, const ConvPlan *direct) {
    WinogradPlan plan[2];
    ConvAlgorithm algorithm[2];
    ConvChoice choice = { .algorithm = CONV_DIRECT, .why = "" };
    int count = other_plans(l, g, plan, algorithm);
    if (count == 0)
        return choice;
    bool packs = conv_packs_each_time(l, direct->w);
    Candidate all[3] = { { CONV_DIRECT, conv_plan_cost(direct) + (packs ? conv_pack_cost(direct) : 0) } };
    for (int i = 0; i < count; i++)
        all[1 + i] = (Candidate){ algorithm[i], plan[i].cost + (packs ? plan[i].pack_cost : 0) };
    int best = choose(l, g, all, 1 + count, &choice.why);
    choice.algorithm = all[best].algorithm;
    if (best > 0)
        choice.plan = plan[best - 1];
    return choice;
}

WeightChoice weight_choose(const Lower *l, const Group *g, double direct_cost) {
    if (!weight_winograd_applies(l, g))
        return (WeightChoice){ .algorithm = CONV_DIRECT, .why = "" };
    WeightPlan plan[2] = { weight_winograd_plan(l, g, 2), weight_winograd_plan(l, g, 4) };
    Candidate all[3] = { { CONV_DIRECT, direct_cost }, { CONV_WINOGRAD2, plan[0].cost }, { CONV_WINOGRAD4, plan[1].cost } };
    WeightChoice choice;
    int best = choose(l, g, all, COUNT(all), &choice.why);
    choice.algorithm = all[best].algorithm;
    choice.plan = plan[best == 2];
    return choice;
}
