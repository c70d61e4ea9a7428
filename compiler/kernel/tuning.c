/* tuning.c - the file of `salunc --tune`: read without trust, kept sorted, printed so that it stays as it is. */
#include "kernel/tuning.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORD = 32, MAX_THREADS = 4096 };

static const char *const math_text[] = { [MATH_FAST] = "fast", [MATH_STRICT] = "strict" };

/* ---- sections and rows ---- */

Tuning *tuning_new(Arena *arena) {
    Tuning *t = NEW(arena, Tuning);
    t->arena = arena;
    return t;
}

TuningSection *tuning_section(const Tuning *t, const char *target, MathMode math) {
    for (int i = 0; i < t->count; i++)
        if (!strcmp(t->sections[i]->target, target) && t->sections[i]->math == math)
            return t->sections[i];
    return NULL;
}

TuningSection *tuning_add_section(Tuning *t, const char *target, MathMode math, int threads, const char *processor) {
    TuningSection *s = NEW(t->arena, TuningSection);
    *s = (TuningSection){ .target = target, .math = math, .threads = threads, .processor = processor, .rows = table_new(t->arena) };
    ARENA_PUSH(t->arena, t->sections, t->count, t->cap, s);
    return s;
}

const TuningRow *tuning_find(const TuningSection *s, const char *key) {
    return s ? table_get(s->rows, key) : NULL;
}

void tuning_add(TuningSection *s, TuningRow row) {
    TuningRow *copy = NEW(s->rows->arena, TuningRow);
    *copy = row;
    table_set(s->rows, row.key, copy);
}

/* ---- keys ---- */

static void shape_words(Writer *w, const Node *n, const char *before) {
    writer_text(w, before);
    for (int i = 1; i < n->shape.rank; i++)
        writer_printf(w, "%s%lld", i > 1 ? "x" : "", (long long)n->shape.dim[i]);
}

/* Sizes per dimension behind a word, where any is not 1. */
static void size_words(Writer *w, const char *word, const int64_t *size, int count, bool always) {
    bool shown = always;
    for (int i = 0; i < count; i++)
        shown = shown || size[i] != 1;
    for (int i = 0; shown && i < count; i++)
        writer_printf(w, "%s%lld", i ? "x" : word, (long long)size[i]);
}

static void window_words(Writer *w, const Window *win) {
    bool padded = false;
    size_words(w, " window ", win->kernel, win->spatial, true);
    size_words(w, " stride ", win->stride, win->spatial, false);
    size_words(w, " dilation ", win->dilation, win->spatial, false);
    for (int i = 0; i < win->spatial; i++)
        padded = padded || win->pad_lo[i] || win->pad_hi[i];
    for (int i = 0; padded && i < win->spatial; i++)
        writer_printf(w, "%s%lld,%lld", i ? "," : " pad ", (long long)win->pad_lo[i], (long long)win->pad_hi[i]);
    if (win->groups > 1)
        writer_printf(w, " groups %lld", (long long)win->groups);
}

/* Operations, operands, results and sums of what stands behind. */
static void body_words(Writer *w, const Group *g) {
    int operations = 0, operands = 0;
    for (int i = 0; i < g->map_count; i++)
        operations += expr_size(g->maps[i]->attr.expr);
    for (int i = 0; i < g->input_count; i++)
        operands += g->inputs[i] != g->anchor->in[0] && g->inputs[i] != g->anchor->in[1];
    writer_printf(w, " body %d %d %d %d", operations, operands, g->output_count, g->sum_count);
}

const char *tuning_key(const Lower *l, const Group *g) {
    const Node *a = g->anchor;
    Writer *w = writer_new(l->arena);
    bool weight = a->op == OP_CONV_WEIGHT;
    EntryId entry = l->entry == ENTRY_TRAIN ? ENTRY_STEP : l->entry;       /* the same bits in both */
    writer_printf(w, "%s n%lld %s", entry_text[entry], (long long)module_images(l->module, l->entry), op_info[a->op].text);
    shape_words(w, a->in[0], " ");
    shape_words(w, weight ? a->in[1] : a, weight ? " with " : " to ");
    window_words(w, &a->attr.window);
    if (weight)
        writer_text(w, " body 0 0 1 0");           /* as if the gradient were all */
    else
        body_words(w, g);
    if (lower_storage(l, true) != STORE_WHOLE)
        writer_printf(w, " weights %s", store_text[lower_storage(l, true)]);
    return w->data;
}

/* ---- reading ---- */

/* A line being read: what is left of it. */
typedef struct { const SourceFile *file; const char *at, *end; Span span; Diag *d; bool failed; } Line;

static Span here(const Line *l, const char *at, const char *end) {
    return (Span){ l->file, (uint32_t)(at - l->file->text), (uint32_t)(end > at ? end - at : 1) };
}

static void fail(Line *l, const char *at, const char *what) {
    if (!l->failed)
        diag_error(l->d, here(l, at, at), "%s", what);
    l->failed = true;
}

static bool take(Line *l, const char *text) {
    size_t length = strlen(text);
    if (l->failed || (size_t)(l->end - l->at) < length || memcmp(l->at, text, length))
        return false;
    l->at += length;
    return true;
}

static void need(Line *l, const char *text, const char *what) {
    if (!l->failed && !take(l, text))
        fail(l, l->at, what);
}

/* A word of letters, digits and . - _ into text; empty after an error. */
static void read_word(Line *l, char text[MAX_WORD], const char *what) {
    const char *begin = l->at;
    text[0] = 0;
    while (l->at < l->end && (strchr("._-", *l->at) || (*l->at >= '0' && *l->at <= '9') || (*l->at >= 'a' && *l->at <= 'z')) && *l->at)
        l->at++;
    if (l->at == begin || l->at - begin >= MAX_WORD) {
        fail(l, begin, what);
        return;
    }
    memcpy(text, begin, (size_t)(l->at - begin));
    text[l->at - begin] = 0;
}

/* One of `count` words; 0 after an error that names the nearest. */
static int read_choice(Line *l, const char *const *words, int count, const char *what) {
    char word[MAX_WORD];
    const char *begin = l->at;
    read_word(l, word, what);
    if (l->failed)
        return 0;
    for (int i = 0; i < count; i++)
        if (words[i] && !strcmp(words[i], word))
            return i;
    l->failed = true;
    diag_error(l->d, here(l, begin, l->at), "%s: there is no `%s`", what, word);
    diag_did_you_mean(l->d, nearest(word, words, count));
    return 0;
}

/* A positive number of at most 30 characters. */
static double read_number(Line *l, const char *what) {
    char text[MAX_WORD];
    const char *begin = l->at;
    read_word(l, text, what);
    char *end = text;
    double value = l->failed || strspn(text, "0123456789.") != strlen(text) ? 0 : strtod(text, &end);
    if (!l->failed && (*end || !(value > 0) || !isfinite(value) || value > 1e15))
        fail(l, begin, what);
    return l->failed ? 0 : value;
}

static void read_section(Tuning *t, Line *l, TuningSection **section) {
    int count;
    const char *names[16] = { NULL };
    const Target *list = target_list(&count);
    for (int i = 0; i < count && i < COUNT(names); i++)
        names[i] = list[i].name;
    int target = read_choice(l, names, count, "a target is needed");
    need(l, " ", "`fast` or `strict` is needed here");
    MathMode math = (MathMode)read_choice(l, math_text, COUNT(math_text), "`fast` or `strict` is needed");
    need(l, ", ", "`, N threads: PROCESSOR` is needed here");
    double threads = read_number(l, "a number of threads is needed");
    if (!l->failed && (threads != (int)threads || threads > MAX_THREADS))
        fail(l, l->at, "a number of threads is needed");
    need(l, threads == 1 ? " thread: " : " threads: ", "`threads: PROCESSOR` is needed here");
    if (!l->failed && l->at == l->end)
        fail(l, l->at, "the name of a processor is needed here");
    if (!l->failed && tuning_section(t, names[target], math))
        fail(l, l->span.file->text + l->span.begin, "this target has a section already");
    if (l->failed)
        return;
    *section = tuning_add_section(t, names[target], math, (int)threads, arena_strndup(t->arena, l->at, (size_t)(l->end - l->at)));
    (*section)->span = l->span;
}

/* Any algorithm but AUTO. */
static ConvAlgorithm read_algorithm(Line *l) {
    return (ConvAlgorithm)(1 + read_choice(l, conv_algorithm_text + 1, CONV_ALGORITHMS - 1, "an algorithm is needed"));
}

static void read_times(Line *l, TuningRow *row) {
    do {
        const char *begin = l->at;
        ConvAlgorithm i = read_algorithm(l);
        need(l, " ", "a time is needed here");
        double time = read_number(l, "a time in microseconds is needed");
        if (!l->failed && row->time[i] > 0)
            fail(l, begin, "this algorithm has a time already");
        row->time[i] = time;
    } while (take(l, ", "));
    need(l, " us)", "`, ALGORITHM TIME` or ` us)` is needed here");
}

static void read_row(Line *l, TuningSection *s) {
    const char *begin = l->at, *equals = begin;
    while (l->end - equals >= 3 && memcmp(equals, " = ", 3))
        equals++;
    if (l->end - equals < 3 || equals == begin) {
        fail(l, begin, "neither `target NAME MATH, N threads: PROCESSOR` nor `PROBLEM = ALGORITHM (ALGORITHM TIME, .. us)`");
        return;
    }
    TuningRow row = { .key = arena_strndup(s->rows->arena, begin, (size_t)(equals - begin)), .span = l->span };
    l->at = equals + 3;
    row.choice = read_algorithm(l);
    if (take(l, " ("))
        read_times(l, &row);
    if (!l->failed && l->at < l->end)
        fail(l, l->at, "nothing more belongs on this line");
    const TuningRow *before = l->failed ? NULL : tuning_find(s, row.key);
    if (before) {
        fail(l, begin, "this problem stands here twice");
        diag_note(l->d, before->span, "here it stands first");
    }
    if (!l->failed)
        tuning_add(s, row);
}

static void read_line(Tuning *t, Line *l, TuningSection **section) {
    for (const char *c = l->at; c < l->end; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~') {
            fail(l, c, "this is no text of `salunc --tune`");
            return;
        }
    if (l->at == l->end || *l->at == '#')
        return;
    if (take(l, "target "))
        read_section(t, l, section);
    else if (*section)
        read_row(l, *section);
    else
        fail(l, l->at, "a line `target NAME MATH, N threads: PROCESSOR` comes first");
}

void tuning_read(Tuning *t, const SourceFile *source, Diag *d) {
    TuningSection *section = NULL;
    for (int i = 0; i < source->line_count && !diag_full(d); i++) {
        uint32_t begin = source->lines[i], end = i + 1 < source->line_count ? source->lines[i + 1] - 1 : source->length;
        if (end > begin && source->text[end - 1] == '\r')
            end--;
        Span span = { source, begin, end > begin ? end - begin : 1 };
        Line l = { .file = source, .at = source->text + begin, .end = source->text + end, .span = span, .d = d };
        read_line(t, &l, &section);
    }
}

/* ---- printing ---- */

static int compare_rows(const void *a, const void *b) {
    return strcmp((*(const TuningRow *const *)a)->key, (*(const TuningRow *const *)b)->key);
}

static int compare_sections(const void *a, const void *b) {
    const TuningSection *x = *(TuningSection *const *)a, *y = *(TuningSection *const *)b;
    int order = strcmp(x->target, y->target);
    return order ? order : (int)x->math - (int)y->math;
}

static void print_row(Writer *out, const TuningRow *r) {
    const char *separator = " (";
    writer_printf(out, "%s = %s", r->key, conv_algorithm_text[r->choice]);
    for (int i = CONV_AUTO + 1; i < CONV_ALGORITHMS; i++) {
        if (!(r->time[i] > 0))
            continue;
        writer_printf(out, "%s%s %.2f", separator, conv_algorithm_text[i], r->time[i]);
        separator = ", ";
    }
    writer_text(out, separator[0] == ',' ? " us)\n" : "\n");
}

static void print_section(Writer *out, const TuningSection *s) {
    int count = 0;
    const TuningRow **rows = NEW_ARRAY(out->arena, const TuningRow *, s->rows->count + 1);
    for (const TableEntry *e = s->rows->first; e; e = e->next)
        rows[count++] = e->value;
    qsort(rows, (size_t)count, sizeof *rows, compare_rows);
    writer_printf(out, "\ntarget %s %s, %d thread%s: %s\n", s->target, math_text[s->math], s->threads, s->threads == 1 ? "" : "s", s->processor);
    for (int i = 0; i < count; i++)
        print_row(out, rows[i]);
}

void tuning_print(Writer *out, Tuning *t) {
    writer_text(out, "# Times of `salunc --tune`: for every convolution what is to compute it, and what each way took.\n"
                     "# body: operations, operands, results and sums of what is fused behind it. A line taken away is timed again.\n");
    if (t->count)
        qsort(t->sections, (size_t)t->count, sizeof *t->sections, compare_sections);
    for (int i = 0; i < t->count; i++)
        print_section(out, t->sections[i]);
}
