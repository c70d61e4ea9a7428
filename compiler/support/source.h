/* source.h - source texts, spans within them, and the line and column of a byte. */
#ifndef SALUN_SUPPORT_SOURCE_H
#define SALUN_SUPPORT_SOURCE_H

#include "support/arena.h"

#include <stdint.h>

enum { SOURCE_MAX_BYTES = 4 << 20 };

typedef struct SourceFile {
    const char *name;       /* as diagnostics show it */
    const char *text;       /* length bytes, then a NUL */
    uint32_t length;
    uint32_t *lines;        /* offset of each line's first byte */
    int line_count;         /* at least 1 */
} SourceFile;

/* Bytes begin .. begin + length of a file; file is NULL where nothing in a source is meant. */
typedef struct Span {
    const SourceFile *file;
    uint32_t begin, length;
} Span;

typedef struct Place {
    const char *file;
    int line, column;       /* from 1; columns count characters (UTF-8), not bytes */
    const char *text;       /* the line, not terminated, without its line end */
    int length;             /* bytes of it */
    int offset;             /* of the place in it, in bytes */
} Place;

/* Reads a file. On failure NULL, and *error says why without the path (a text in the arena). */
SourceFile *source_read(Arena *arena, const char *path, const char **error);

/* A source from memory; name and text are copied. */
SourceFile *source_from_text(Arena *arena, const char *name, const char *text, size_t length);

Place source_place(const SourceFile *file, uint32_t offset);
int source_line(const SourceFile *file, uint32_t offset);

/* `file:line:column` of a span's begin; "(no place)" without a file. */
const char *source_place_text(Arena *arena, Span at);

/* The characters of a span. */
const char *source_span_text(Arena *arena, Span at);

/* From the first byte of a to the last of b; either may be without file. */
Span span_join(Span a, Span b);
static inline uint32_t span_end(Span s) { return s.begin + s.length; }

#endif
