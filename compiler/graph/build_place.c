/* build_place.c - placements: what a variant or --place puts at the taps that a pattern matches.
 * A placement does not look inside what a placement put there. */
#include "graph/build_parts.h"

#include <string.h>

/* ---- patterns ---- */

/* The class that begins at `[`: whether c is in it, and what stands behind it; NULL without a `]`. */
static const char *match_class(const char *p, char c, bool *in) {
    bool negated = *++p == '!';
    p += negated;
    *in = false;
    for (const char *first = p; *p && (*p != ']' || p == first); p++) {
        if (p[1] == '-' && p[2] && p[2] != ']') {
            *in = *in || (p[0] <= c && c <= p[2]);
            p += 2;
        } else {
            *in = *in || *p == c;
        }
    }
    *in = *in != negated;
    return *p ? p + 1 : NULL;
}

/* One character of the name against one element of the pattern; NULL: no match. */
static const char *match_one(const char *p, char c) {
    bool in;
    const char *after = *p == '[' ? match_class(p, c, &in) : NULL;
    if (after)
        return in ? after : NULL;
    return *p == '?' || *p == c ? p + 1 : NULL;
}

bool build_pattern_matches(const char *p, const char *name) {
    const char *star = NULL, *resume = NULL;
    while (*name) {
        const char *next;
        if (*p == '*') {
            star = ++p;
            resume = name;
        } else if (*p && (next = match_one(p, *name))) {
            p = next;
            name++;
        } else if (star) {
            p = star;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (*p == '*')
        p++;
    return !*p;
}

/* ---- collecting ---- */

static void add(Builder *b, int position, const char *pattern, bool append, const AstNode *value, Span at) {
    Value v = value ? build_eval(b, value) : value_bad();
    if (!is_bad(v) && v.kind != VALUE_LAYER) {
        build_error(b, value->span, "a placement puts a layer, not %s", value_text(b, v));
        v = value_bad();
    }
    if (position < b->placement_count) {        /* the second elaboration */
        b->placements[position].layer = v;
        return;
    }
    Placement p = { .pattern = pattern, .append = append, .layer = v, .span = at };
    ARENA_PUSH(b->arena, b->placements, b->placement_count, b->placement_capacity, p);
}

/* pattern=layer or pattern+=layer. */
static void add_option(Builder *b, int position, const char *text) {
    const char *equals = strchr(text, '=');
    SourceFile *all = source_from_text(b->arena, "--place", text, strlen(text));
    Span at = { all, 0, equals ? (uint32_t)(equals - text) : all->length };
    if (!equals || equals == text) {
        build_error(b, at, "`--place` takes 'pattern=layer' or 'pattern+=layer'");
        add(b, position, "", false, NULL, at);
        return;
    }
    bool append = equals[-1] == '+';
    const char *pattern = arena_strndup(b->arena, text, (size_t)(equals - text - append));
    const char *name = arena_printf(b->arena, "--place '%s'", pattern);
    at.length -= append;
    const SourceFile *source = source_from_text(b->arena, name, equals + 1, strlen(equals + 1));
    add(b, position, pattern, append, syntax_parse_expression(b->arena, source, b->diag), at);
}

void place_collect(Builder *b) {
    int position = 0;
    for (int i = 0; i < b->variant_count; i++) {
        const AstList *lines = &b->variants[i]->variant.body.lines;
        for (int k = 0; k < lines->count; k++) {
            const AstNode *line = lines->items[k];
            if (line->kind == ITEM_PLACE)
                add(b, position++, line->place.pattern->string.text, line->place.append, line->place.value, line->place.pattern->span);
        }
    }
    for (int i = 0; i < b->options->place_count; i++)
        add_option(b, position++, b->options->place[i]);
}

/* ---- placing ---- */

/* The layer that stands at the tap instead; NULL: what was written. */
const Layer *place_replace(Builder *b, const char *tap, bool replaceable, const Layer *layer) {
    const Layer *found = NULL;
    for (int i = 0; i < b->placement_count && !b->placing; i++) {
        Placement *p = &b->placements[i];
        if (p->append || !build_pattern_matches(p->pattern, tap))
            continue;
        if (!replaceable) {
            p->refused = tap;
            continue;
        }
        p->matched = true;
        found = is_bad(p->layer) ? layer : p->layer.layer;
    }
    return found;
}

Value place_append(Builder *b, const char *tap, Value result, Span at) {
    for (int i = 0; i < b->placement_count && !b->placing; i++) {
        Placement *p = &b->placements[i];
        if (!p->append || !build_pattern_matches(p->pattern, tap))
            continue;
        if (result.kind != VALUE_TENSOR) {
            p->refused = tap;
            continue;
        }
        p->matched = true;
        if (is_bad(p->layer))
            continue;
        const char *prefix = b->prefix;
        Bound arg = { .value = result, .span = at };
        b->prefix = tap;
        b->placing++;
        result = build_apply(b, p->layer.layer, &arg, 1, &(Site){ .auto_name = "post", .span = at });
        b->placing--;
        b->prefix = prefix;
        if (is_bad(result))
            return result;
    }
    return result;
}

/* ---- patterns that matched nothing ---- */

enum { NEAREST_SHOWN = 3 };

static void list_nearest(Builder *b, const char *pattern) {
    const char *best[NEAREST_SHOWN];
    int distance[NEAREST_SHOWN], count = 0;
    for (int i = 0; i < b->program->tap_count; i++) {
        const char *name = b->program->taps[i].name;
        int edits = edit_distance(pattern, name), at = count;
        while (at > 0 && distance[at - 1] > edits)
            at--;
        if (at == NEAREST_SHOWN)
            continue;
        int last = count < NEAREST_SHOWN ? count++ : NEAREST_SHOWN - 1;
        for (; last > at; last--) {
            best[last] = best[last - 1];
            distance[last] = distance[last - 1];
        }
        best[at] = name;
        distance[at] = edits;
    }
    Writer *w = writer_new(b->arena);
    for (int i = 0; i < count; i++)
        writer_printf(w, "%s`%s`", i ? ", " : "", best[i]);
    if (count)
        diag_help(b->diag, "the nearest taps are %s; `salunc taps` prints all", w->data);
}

void place_finish(Builder *b) {
    for (int i = 0; i < b->placement_count; i++) {
        const Placement *p = &b->placements[i];
        if (p->matched)
            continue;
        if (p->refused) {
            build_error(b, p->span, "`%s` cannot be %s", p->refused, p->append ? "followed by a layer" : "replaced");
            diag_help(b->diag, p->append ? "it gives more than one tensor" : "it takes more than one tensor");
            continue;
        }
        build_error(b, p->span, "no tap matches `%s`", p->pattern);
        list_nearest(b, p->pattern);
    }
}

/* ---- the list of taps ---- */

void build_taps_print(Writer *out, const Program *program) {
    int width = 0, shapes = 0;
    for (int i = 0; i < program->tap_count; i++) {
        const Tap *t = &program->taps[i];
        int name = (int)strlen(t->name), shape = (int)strlen(shape_text(program->arena, TYPE_F32, &t->shape));
        width = name > width ? name : width;
        shapes = shape > shapes ? shape : shapes;
    }
    for (int i = 0; i < program->tap_count; i++) {
        const Tap *t = &program->taps[i];
        writer_line(out, "%-*s  %-*s  %s%s", width, t->name, shapes, shape_text(program->arena, TYPE_F32, &t->shape), t->what,
                    t->replaceable ? "" : "  (cannot be replaced)");
    }
}
