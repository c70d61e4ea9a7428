/* diag.c - prints located messages; keeps count; finds the name that was meant. */
#include "support/diag.h"

#include "support/writer.h"

#include <stdlib.h>
#include <string.h>

enum {
    SHOWN_BYTES = 120,          /* of a long line; it is clipped around the caret */
    SHOWN_BEFORE = 60,
    LONGEST_NAME = 64           /* that edit distances are taken of */
};

typedef struct DiagMessage {
    Span at;
    int order;
    Writer *text;               /* with its notes and helps */
} DiagMessage;

Diag *diag_new(Arena *arena, FILE *out) {
    Diag *d = NEW(arena, Diag);
    d->arena = arena;
    d->out = out;
    d->seen = table_new(arena);
    return d;
}

static bool inside_character(const char *text, int i, int length) {
    return i < length && ((unsigned char)text[i] & 0xc0) == 0x80;
}

/* Bytes a terminal must not get: control characters, and what is no UTF-8 (a lone byte of 0x80 and up). */
static int printable_bytes(const char *text, int i, int length) {
    unsigned char c = (unsigned char)text[i];
    if (c < 0x80)
        return c >= ' ' && c != 0x7f;
    int need = c >= 0xf0 && c < 0xf5 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 0;
    if (!need || i + need > length || (c == 0xc2 && (unsigned char)text[i + 1] < 0xa0))
        return 0;
    for (int k = 1; k < need; k++)
        if (!inside_character(text, i + k, length))
            return 0;
    return need;
}

/* The line's characters from..to; a tab stays one, anything unprintable becomes `?`. */
static void show_text(Writer *w, const char *text, int from, int to) {
    for (int i = from; i < to;) {
        int bytes = printable_bytes(text, i, to);
        if (bytes)
            writer_bytes(w, text + i, (size_t)bytes);
        else
            writer_char(w, text[i] == '\t' ? '\t' : '?');
        i += bytes ? bytes : 1;
    }
}

/* `mark` under each character of from..to, or blanks that keep tabs. */
static void show_marks(Writer *w, const char *text, int from, int to, char mark) {
    for (int i = from; i < to;) {
        int bytes = printable_bytes(text, i, to);
        writer_char(w, !mark && text[i] == '\t' ? '\t' : mark ? mark : ' ');
        i += bytes ? bytes : 1;
    }
}

/* The part from..to of a line that is shown: all, or what stands around the caret. */
static void clip_line(const Place *p, int caret, int *from, int *to) {
    *from = 0;
    *to = p->length;
    if (p->length <= SHOWN_BYTES)
        return;
    *from = caret > SHOWN_BEFORE ? caret - SHOWN_BEFORE : 0;
    *to = *from + SHOWN_BYTES < p->length ? *from + SHOWN_BYTES : p->length;
    for (int k = 0; k < 3 && *from > 0 && inside_character(p->text, *from, p->length); k++)
        --*from;
    for (int k = 0; k < 3 && inside_character(p->text, *to, p->length); k++)
        ++*to;
}

static void show_line(Writer *w, const Place *p, uint32_t span_length) {
    int caret = p->offset < p->length ? p->offset : p->length, from, to;
    clip_line(p, caret, &from, &to);
    const char *head = from > 0 ? "... " : "";
    writer_printf(w, "%5d | %s", p->line, head);
    show_text(w, p->text, from, to);
    writer_printf(w, "%s\n      | %*s", to < p->length ? " ..." : "", (int)strlen(head), "");
    show_marks(w, p->text, from, caret, 0);
    writer_char(w, '^');
    int64_t end = (int64_t)caret + span_length < to ? (int64_t)caret + span_length : to;
    int first = caret < to ? printable_bytes(p->text, caret, to) : 0;
    int next = caret + (first ? first : 1);
    if (next < end)
        show_marks(w, p->text, next, (int)end, '~');
    writer_char(w, '\n');
}

static void show(Diag *d, const char *level, Span at, const char *message) {
    if (!d->out)
        return;
    bool starts = strcmp(level, "note") && strcmp(level, "help");   /* the others follow the message before */
    if (d->held && (starts || !d->waiting_count)) {
        DiagMessage m = { .at = at, .order = d->waiting_count, .text = writer_new(d->arena) };
        ARENA_PUSH(d->arena, d->waiting, d->waiting_count, d->waiting_capacity, m);
    }
    Writer *w = d->held ? d->waiting[d->waiting_count - 1].text : writer_new(d->arena);
    if (at.file) {
        Place p = source_place(at.file, at.begin);
        writer_printf(w, "%s:%d:%d: %s: %s\n", p.file, p.line, p.column, level, message);
        show_line(w, &p, at.length);
    } else {
        writer_printf(w, "%s: %s\n", level, message);
    }
    if (!d->held)
        fwrite(w->data, 1, w->length, d->out);
}

static void show_overflow(Diag *d) {
    show(d, "note", (Span){ 0 }, "there are more errors, which are not shown");
}

void diag_hold(Diag *d) {
    d->held = true;
}

static int by_place(const void *a, const void *b) {
    const DiagMessage *x = a, *y = b;
    if (x->at.begin != y->at.begin)
        return x->at.begin < y->at.begin ? -1 : 1;
    return x->order - y->order;
}

void diag_release(Diag *d) {
    if (d->waiting_count)
        qsort(d->waiting, (size_t)d->waiting_count, sizeof *d->waiting, by_place);
    for (int i = 0; i < d->waiting_count; i++)
        fwrite(d->waiting[i].text->data, 1, d->waiting[i].text->length, d->out);
    d->waiting_count = 0;
    d->held = false;
    if (d->errors > DIAG_MAX_ERRORS)
        show_overflow(d);
}

/* Whether the message is new at its place. */
static bool first_time(Diag *d, Span at, const char *message) {
    const char *key = arena_printf(d->arena, "%s:%u:%u:%s", at.file ? at.file->name : "", at.begin, at.length, message);
    if (table_has(d->seen, key))
        return false;
    table_set(d->seen, key, d);
    return true;
}

void diag_error(Diag *d, Span at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *message = arena_vprintf(d->arena, fmt, ap);
    va_end(ap);
    d->silent = !first_time(d, at, message);
    if (d->silent)
        return;
    d->silent = diag_full(d);
    if (!d->silent)
        show(d, "error", at, message);
    else if (d->errors == DIAG_MAX_ERRORS && !d->held)
        show_overflow(d);
    d->errors++;
}

void diag_warning(Diag *d, Span at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *message = arena_vprintf(d->arena, fmt, ap);
    va_end(ap);
    d->silent = diag_full(d) || !first_time(d, at, message);
    if (d->silent)
        return;
    show(d, "warning", at, message);
    d->warnings++;
}

void diag_note(Diag *d, Span at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (!d->silent)
        show(d, "note", at, arena_vprintf(d->arena, fmt, ap));
    va_end(ap);
}

void diag_trace(Diag *d, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (!d->silent)
        show(d, "note", (Span){ 0 }, arena_vprintf(d->arena, fmt, ap));
    va_end(ap);
}

void diag_help(Diag *d, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (!d->silent)
        show(d, "help", (Span){ 0 }, arena_vprintf(d->arena, fmt, ap));
    va_end(ap);
}

void diag_did_you_mean(Diag *d, const char *candidate) {
    if (candidate)
        diag_help(d, "did you mean `%s`?", candidate);
}

int edit_distance(const char *a, const char *b) {
    int row[3][LONGEST_NAME + 1];
    int m = (int)strnlen(a, LONGEST_NAME), n = (int)strnlen(b, LONGEST_NAME);
    for (int j = 0; j <= n; j++)
        row[0][j] = j;
    for (int i = 1; i <= m; i++) {
        int *now = row[i % 3], *before = row[(i + 2) % 3], *two = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = before[j - 1] + (a[i - 1] != b[j - 1]);
            if (before[j] + 1 < best)
                best = before[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && two[j - 2] + 1 < best)
                best = two[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[m % 3][n];
}

/* Takes candidate over *best when it is nearer; a third of the name may differ, at least one letter. */
static void consider(const char *name, const char *candidate, const char **best, int *distance) {
    size_t length = strlen(name);
    if (!candidate || length > LONGEST_NAME || strlen(candidate) > LONGEST_NAME)
        return;
    int allowed = length < 3 ? 1 : (int)(length + 2) / 3;
    int edits = edit_distance(name, candidate);
    if (edits <= allowed && edits < *distance && edits < (int)strlen(candidate)) {
        *best = candidate;
        *distance = edits;
    }
}

const char *nearest(const char *name, const char *const *candidates, int count) {
    const char *best = NULL;
    int distance = LONGEST_NAME + 1;
    for (int i = 0; i < count; i++)
        consider(name, candidates[i], &best, &distance);
    return best;
}

const char *nearest_key(const char *name, const Table *table) {
    const char *best = NULL;
    int distance = LONGEST_NAME + 1;
    for (const TableEntry *e = table->first; e; e = e->next)
        consider(name, e->key, &best, &distance);
    return best;
}
