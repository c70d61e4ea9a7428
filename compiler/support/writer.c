/* writer.c - a text that doubles when full. */
#include "support/writer.h"

#include <stdio.h>
#include <string.h>

Writer *writer_new(Arena *arena) {
    Writer *w = NEW(arena, Writer);
    w->arena = arena;
    w->capacity = 256;
    w->data = arena_alloc(arena, w->capacity);
    return w;
}

static void put(Writer *w, const char *text, size_t length) {
    if (w->capacity - w->length <= length) {
        size_t capacity = w->capacity * 2 + length;
        w->data = arena_grow(w->arena, w->data, w->length, capacity, 1);
        w->capacity = capacity;
    }
    memcpy(w->data + w->length, text, length);
    w->length += length;
    w->data[w->length] = '\0';
}

void writer_spaces(Writer *w, int count) {
    for (int i = 0; i < count; i++)
        put(w, " ", 1);
    w->column += count > 0 ? count : 0;
}

void writer_bytes(Writer *w, const char *text, size_t length) {
    while (length) {
        const char *end = memchr(text, '\n', length);
        size_t part = end ? (size_t)(end - text) : length;
        if (part) {
            if (w->column == 0)
                writer_spaces(w, w->indent);
            put(w, text, part);
            w->column += (int)part;
        }
        if (!end)
            return;
        put(w, "\n", 1);
        w->column = 0;
        text += part + 1;
        length -= part + 1;
    }
}

void writer_text(Writer *w, const char *text) {
    writer_bytes(w, text, strlen(text));
}

void writer_char(Writer *w, char c) {
    writer_bytes(w, &c, 1);
}

void writer_vprintf(Writer *w, const char *fmt, va_list ap) {
    char line[256];
    va_list again;
    va_copy(again, ap);
    int length = vsnprintf(line, sizeof line, fmt, ap);
    if (length >= 0 && length < (int)sizeof line)
        writer_bytes(w, line, (size_t)length);
    else
        writer_text(w, arena_vprintf(w->arena, fmt, again));
    va_end(again);
}

void writer_printf(Writer *w, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    writer_vprintf(w, fmt, ap);
    va_end(ap);
}

void writer_line(Writer *w, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    writer_vprintf(w, fmt, ap);
    va_end(ap);
    writer_char(w, '\n');
}

void writer_indent(Writer *w, int spaces) {
    w->indent += spaces;
}
