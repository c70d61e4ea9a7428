/* conv_inputs.c - which units of input channels the panels of a convolution with groups read (conv.h). */
#include "kernel/conv.h"

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

/* The units that a panel's groups touch: first, and one past the last. */
static void touched(const PanelInputs *s, int64_t panel, int64_t *first, int64_t *end) {
    int64_t lo = panel * s->channels, hi = min64(lo + s->channels, s->out_channels) - 1;
    *first = lo / s->group_out * s->group_in / s->unit;
    *end = ceil_div((hi / s->group_out + 1) * s->group_in, s->unit);
}

/* Whether panels touch equal numbers of units and their first ones lie at equal steps, `together` panels at a time. */
static bool is_even(PanelInputs *s, int64_t panels, int64_t together) {
    int64_t first, end, at, at_end;
    touched(s, 0, &first, &end);
    s->base = first;
    s->step = 0;
    s->together = together;
    for (int64_t i = 0; i < panels; i++) {
        touched(s, i, &at, &at_end);
        if (i == together)
            s->step = at - first;
        if (at != first + i / together * s->step || at_end - at != end - first)
            return false;
    }
    s->most = end - first;
    s->mean = (double)s->most;
    return true;
}

void panel_inputs_plan(PanelInputs *s, bool equal) {
    int64_t panels = ceil_div(s->out_channels, s->channels), first, end, sum = 0;
    s->uneven = false;
    if (is_even(s, panels, 1) || is_even(s, panels, s->group_out % s->channels ? 1 : s->group_out / s->channels))
        return;
    s->base = s->step = 0;
    s->most = equal ? ceil_div(s->in_channels, s->unit) : 0;
    s->mean = (double)s->most;
    if (equal)
        return;
    for (int64_t i = 0; i < panels; i++) {
        touched(s, i, &first, &end);
        sum += end - first;
        s->most = s->most > end - first ? s->most : end - first;
    }
    s->uneven = true;
    s->mean = (double)sum / (double)panels;
}

static Index divide(Kernel *k, const char *name, Index a, int64_t d) {
    return d == 1 ? a : index_var(kb_index(k, name, INDEX_DIV, a, index_const(d)));
}

void panel_lanes(Kernel *k, const PanelInputs *s, const InputRange *r, Index block, int unroll, Index *begin, Index *end) {
    Index from = index_scale(index_add(r->first, block), -s->unit);
    *begin = index_const(0);
    *end = index_const(s->unit);
    if (s->uneven) {
        Index before = index_var(kb_index(k, "before", INDEX_MAX, index_add(r->begin, from), index_const(0)));
        *begin = index_scale(divide(k, "steps", before, unroll), unroll);
    }
    if (s->uneven || (s->group_in == s->in_channels && s->in_channels % s->unit))
        *end = index_var(kb_index(k, "lanes", INDEX_MIN, index_add(r->end, from), *end));
}

InputRange panel_inputs(Kernel *k, const PanelInputs *s, Index panel) {
    if (!s->uneven) {
        if (s->step)
            panel = divide(k, "group", panel, s->together);
        return (InputRange){ index_plus(index_scale(panel, s->step), s->base), index_const(s->most), index_const(0), index_const(s->in_channels) };
    }
    Index lo = index_scale(panel, s->channels);
    Index hi = index_var(kb_index(k, "channels", INDEX_MIN, index_plus(lo, s->channels), index_const(s->out_channels)));
    Index group = divide(k, "group", lo, s->group_out), groups = divide(k, "groups", index_plus(hi, s->group_out - 1), s->group_out);
    Index begin = index_scale(group, s->group_in), end = index_scale(groups, s->group_in);
    Index first = divide(k, "first", begin, s->unit), last = divide(k, "last", index_plus(end, s->unit - 1), s->unit);
    return (InputRange){ first, index_add(last, index_scale(first, -1)), begin, end };
}
