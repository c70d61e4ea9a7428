/* diag.c - prints located messages; keeps count; finds the name that was meant. */
#include "support/diag.h"

#include <string.h>

enum {
    SHOWN_BYTES = 120,          /* of a long line; it is clipped around the caret */
    SHOWN_BEFORE = 60,
    LONGEST_NAME = 64           /* that edit distances are taken of */
};

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
static void show_text(FILE *out, const char *text, int from, int to) {
    for (int i = from; i < to;) {
        int bytes = printable_bytes(text, i, to);
        if (bytes)
            fwrite(text + i, 1, (size_t)bytes, out);
        else
            fputc(text[i] == '\t' ? '\t' : '?', out);
        i += bytes ? bytes : 1;
    }
}

/* `mark` under each character of from..to, or blanks that keep tabs. */
static void show_marks(FILE *out, const char *text, int from, int to, char mark) {
    for (int i = from; i < to;) {
        int bytes = printable_bytes(text, i, to);
        fputc(!mark && text[i] == '\t' ? '\t' : mark ? mark : ' ', out);
        i += bytes ? bytes : 1;
    }
}

static void show_line(FILE *out, const Place *p, uint32_t span_length) {
    int caret = p->offset < p->length ? p->offset : p->length;
    int from = 0, to = p->length;
    if (to > SHOWN_BYTES) {
        from = caret > SHOWN_BEFORE ? caret - SHOWN_BEFORE : 0;
        to = from + SHOWN_BYTES < p->length ? from + SHOWN_BYTES : p->length;
        for (int k = 0; k < 3 && from > 0 && inside_character(p->text, from, p->length); k++)
            from--;
        for (int k = 0; k < 3 && inside_character(p->text, to, p->length); k++)
            to++;
    }
    const char *head = from > 0 ? "... " : "";
    fprintf(out, "%5d | %s", p->line, head);
    show_text(out, p->text, from, to);
    fprintf(out, "%s\n      | %*s", to < p->length ? " ..." : "", (int)strlen(head), "");
    show_marks(out, p->text, from, caret, 0);
    fputc('^', out);
    int64_t end = (int64_t)caret + span_length < to ? (int64_t)caret + span_length : to;
    int first = caret < to ? printable_bytes(p->text, caret, to) : 0;
    if (caret + (first ? first : 1) < end)
        show_marks(out, p->text, caret + (first ? first : 1), (int)end, '~');
    fputc('\n', out);
}

static void show(Diag *d, const char *level, Span at, const char *message) {
    if (!d->out)
        return;
    if (!at.file) {
        fprintf(d->out, "%s: %s\n", level, message);
        return;
    }
    Place p = source_place(at.file, at.begin);
    fprintf(d->out, "%s:%d:%d: %s: %s\n", p.file, p.line, p.column, level, message);
    show_line(d->out, &p, at.length);
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
    else if (d->errors == DIAG_MAX_ERRORS && d->out)
        fprintf(d->out, "note: more than %d errors; the rest is not shown\n", DIAG_MAX_ERRORS);
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
