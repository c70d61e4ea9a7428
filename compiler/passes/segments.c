/* segments.c - parts of the forward pass computed a second time, as a whole, when the backward pass gets there.
 * needs: autodiff, topological order, no dead nodes     keeps: order, every value's bits     spoils: use counts
 *
 * The forward pass is cut where little goes from one side to the other. Of a segment only what goes over its cuts is
 * kept. What else the backward pass reads is computed again from there, convolutions included, by nodes of the kind
 * AGAIN_LATE. With k segments of S bytes in all, about S / k and what goes over the cuts is live at a time, for one more
 * forward pass but for the last segment (Chen et al. 2016, arXiv 1604.06174). */
#include "passes/recompute.h"

typedef struct {
    Recompute *r;
    int *last;                   /* by id: position (id) of the last forward reader */
    int64_t *kept;               /* by id: bytes kept up to and with this node */
    int64_t *over;               /* by id: bytes that go over a cut behind this node */
    int *cut; int cuts;          /* ids, ascending */
    bool *wanted;                /* by id: to be computed a second time */
} Segments;

static bool counts(const Segments *s, const Node *n) {
    return value_of(s->r, n)->forward && op_info[n->op].class != CLASS_LEAF && recompute_is_large(s->r, n);
}

static void find_last_readers(Segments *s) {
    for (const Node *n = s->r->g->first; n; n = n->next)
        for (int i = 0; i < n->arity && value_of(s->r, n)->forward; i++)
            s->last[n->in[i]->id] = n->id;
}

/* Ids are positions: the graph was sorted. */
static void weigh(Segments *s) {
    int64_t kept = 0;
    for (const Node *n = s->r->g->first; n; n = n->next) {
        const Value *v = value_of(s->r, n);
        int64_t bytes = 4 * shape_count(&n->shape);
        if (counts(s, n) && v->kept && !v->dropped)
            kept += bytes;
        s->kept[n->id] = kept;
        for (int i = n->id; counts(s, n) && i < s->last[n->id]; i++)
            s->over[i] += bytes;
    }
}

/* The cheapest place for a cut near `target` kept bytes, `slack` more or fewer; of equal ones the nearest, the last. */
static int cheapest_cut(const Segments *s, int64_t target, int64_t slack) {
    int best = -1;
    int64_t best_off = slack;
    for (const Node *n = s->r->g->first; n; n = n->next) {
        int64_t off = s->kept[n->id] > target ? s->kept[n->id] - target : target - s->kept[n->id];
        int64_t more = best < 0 ? -1 : s->over[n->id] - s->over[best];
        if (!value_of(s->r, n)->forward || off > slack || more > 0 || (more == 0 && off > best_off))
            continue;
        best = n->id;
        best_off = off;
    }
    return best;
}

static void choose_cuts(Segments *s, int count) {
    int64_t all = s->kept[s->r->g->last->id];
    s->cut = NEW_ARRAY(s->r->arena, int, count);
    for (int k = 1; k < count; k++) {
        int at = cheapest_cut(s, all / count * k, all / count / 2);
        if (at > (s->cuts ? s->cut[s->cuts - 1] : -1))
            s->cut[s->cuts++] = at;
    }
}

/* Whether n lies before the end of the segments that are computed again, and goes over none of their cuts. */
static bool is_inner(const Segments *s, const Node *n) {
    if (!counts(s, n) || value_of(s->r, n)->fixed || s->cuts == 0 || n->id > s->cut[s->cuts - 1])
        return false;
    for (int i = 0; i < s->cuts; i++)
        if (n->id <= s->cut[i] && s->last[n->id] > s->cut[i])
            return false;
    return true;
}

static void find_wanted(Segments *s) {
    for (const Node *n = s->r->g->last; n; n = n->prev)
        for (int i = 0; i < n->arity; i++)
            if ((!value_of(s->r, n)->forward || s->wanted[n->id]) && is_inner(s, n->in[i]))
                s->wanted[n->in[i]->id] = true;
}

static void copy_wanted(Segments *s) {
    for (Node *n = s->r->g->first; n; n = n->next) {
        if (n->id >= s->r->count || !s->wanted[n->id])
            continue;
        Node *copy = graph_copy(s->r->g, n);
        copy->again = AGAIN_LATE;
        for (int i = 0; i < n->arity; i++)
            if (s->wanted[n->in[i]->id])
                copy->in[i] = value_of(s->r, n->in[i])->again;
        value_of(s->r, n)->again = copy;
    }
}

static void read_copies(Segments *s) {
    for (Node *n = s->r->g->first; n; n = n->next)
        for (int i = 0; n->id < s->r->count && i < n->arity && !value_of(s->r, n)->forward; i++)
            if (s->wanted[n->in[i]->id])
                n->in[i] = value_of(s->r, n->in[i])->again;
}

void recompute_segments(Graph *g, Limits limit, int count, int again) {
    graph_sort(g);
    Arena *scratch = arena_new(0);
    Segments s = { .r = recompute_look(g, scratch, limit) };
    s.last = NEW_ARRAY(scratch, int, s.r->count);
    s.kept = NEW_ARRAY(scratch, int64_t, s.r->count);
    s.over = NEW_ARRAY(scratch, int64_t, s.r->count);
    s.wanted = NEW_ARRAY(scratch, bool, s.r->count);
    find_last_readers(&s);
    weigh(&s);
    choose_cuts(&s, count);
    s.cuts = s.cuts < again ? s.cuts : again;
    find_wanted(&s);
    copy_wanted(&s);
    read_copies(&s);
    graph_sort(g);
    arena_destroy(scratch);
}
