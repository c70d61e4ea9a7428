/* fuse_order.c - the order in which groups run: what gives memory away early, what is computed again late. */
#include "kernel/fuse.h"

#include <assert.h>

typedef struct { Fuse *f; bool *done, *sink, *late; } Sorting;

/* Whether nothing that must run before group i is still to come; but_late: but for groups computed again. */
static bool is_free(const Sorting *s, int i, bool but_late) {
    for (int b = 0; b < s->f->count; b++)
        if (fuse_before(s->f, b, i) && !s->done[b] && !(but_late && s->late[b]))
            return false;
    return true;
}

static int oldest_free(const Sorting *s, const bool *of, bool is, bool but_late) {
    for (int i = 0; i < s->f->count; i++)
        if (!s->done[i] && of[i] == is && is_free(s, i, but_late))
            return i;
    return -1;
}

/* What runs next: a group that only gives something away, so that what it reads is done with; else the oldest that is
 * no forward value's second time. The oldest of the second time that it waits for goes before it. */
static int next_group(const Sorting *s) {
    int pick = oldest_free(s, s->sink, true, true);
    if (pick < 0)
        pick = oldest_free(s, s->late, false, true);
    for (int i = 0; pick >= 0 && !is_free(s, pick, false); i++)
        if (!s->done[i] && fuse_before(s->f, i, pick) && is_free(s, i, false))
            pick = i;
    return pick >= 0 ? pick : oldest_free(s, s->late, true, false);
}

static bool gives_away(const Fuse *f, const Group *g) {
    for (int i = 0; i < f->count; i++)
        if (fuse_before(f, g->id, i))
            return false;
    return true;
}

/* A pass that does nothing but store what is computed again. */
static bool only_copies(const Group *g) {
    bool only = !g->anchor && !g->sum_count;
    for (int i = 0; i < g->map_count; i++)
        only = only && value_info(g->maps[i])->copy_of;
    return only;
}

/* Groups in an order that `before` allows. */
Group **fuse_order(Fuse *f) {
    Group **sorted = NEW_ARRAY(f->arena, Group *, f->count + 1);
    Sorting s = {f, NEW_ARRAY(f->arena, bool, f->count + 1), NEW_ARRAY(f->arena, bool, f->count + 1), NEW_ARRAY(f->arena, bool, f->count + 1)};
    for (int i = 0; i < f->count; i++) {
        s.sink[i] = fuse_trains(f) && gives_away(f, f->groups[i]);
        s.late[i] = fuse_late(f->groups[i]) || only_copies(f->groups[i]);
    }
    for (int at = 0; at < f->count; at++) {
        int pick = next_group(&s);
        assert(pick >= 0 && "groups wait for each other");
        s.done[pick] = true;
        sorted[at] = f->groups[pick];
    }
    for (int i = 0; i < f->count; i++)
        sorted[i]->id = i;
    return sorted;
}
