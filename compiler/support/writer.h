/* writer.h - a growing text with indentation; printers of every form write into one.
 * Indentation is put before the first character of a line that is not empty. */
#ifndef SALUN_SUPPORT_WRITER_H
#define SALUN_SUPPORT_WRITER_H

#include "support/arena.h"

typedef struct Writer {
    Arena *arena;
    char *data;             /* length bytes, then a NUL */
    size_t length, capacity;
    int indent;             /* spaces before a line's first character */
    int column;             /* bytes written on the current line, from 0 */
} Writer;

Writer *writer_new(Arena *arena);
void writer_char(Writer *w, char c);
void writer_text(Writer *w, const char *text);
void writer_bytes(Writer *w, const char *text, size_t length);
void writer_spaces(Writer *w, int count);
void writer_printf(Writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void writer_vprintf(Writer *w, const char *fmt, va_list ap);

/* writer_printf and a line end. */
void writer_line(Writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Changes the indentation of the lines that follow. */
void writer_indent(Writer *w, int spaces);

#endif
