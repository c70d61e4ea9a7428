/* source.c - reading sources; finding lines and columns. */
#include "support/source.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void index_lines(Arena *arena, SourceFile *s) {
    int count = 1;
    for (uint32_t i = 0; i < s->length; i++)
        count += s->text[i] == '\n';
    s->lines = NEW_ARRAY(arena, uint32_t, count);
    s->line_count = count;
    int line = 1;
    for (uint32_t i = 0; i < s->length; i++)
        if (s->text[i] == '\n')
            s->lines[line++] = i + 1;
}

SourceFile *source_from_text(Arena *arena, const char *name, const char *text, size_t length) {
    SourceFile *s = NEW(arena, SourceFile);
    s->name = arena_strdup(arena, name);
    s->text = arena_strndup(arena, text, length);
    s->length = (uint32_t)length;
    index_lines(arena, s);
    return s;
}

/* Reads what is left of a stream; NULL with *error beyond the limit or on a read error. */
static char *read_stream(Arena *arena, FILE *in, size_t *length, const char **error) {
    size_t capacity = 64 << 10;
    char *data = arena_alloc(arena, capacity);
    *length = 0;
    for (;;) {
        *length += fread(data + *length, 1, capacity - *length, in);
        if (*length < capacity)
            break;
        if (capacity > SOURCE_MAX_BYTES) {
            *error = arena_printf(arena, "the file is larger than %d MiB", SOURCE_MAX_BYTES >> 20);
            return NULL;
        }
        data = arena_grow(arena, data, capacity, capacity * 2, 1);
        capacity *= 2;
    }
    if (ferror(in)) {
        *error = arena_strdup(arena, strerror(errno));
        return NULL;
    }
    return data;
}

SourceFile *source_read(Arena *arena, const char *path, const char **error) {
    struct stat info;
    FILE *in = fopen(path, "rb");
    if (!in) {
        *error = arena_strdup(arena, strerror(errno));
        return NULL;
    }
    size_t length = 0;
    char *data = NULL;
    if (!fstat(fileno(in), &info) && S_ISDIR(info.st_mode))
        *error = "it is a directory";
    else
        data = read_stream(arena, in, &length, error);
    fclose(in);
    return data ? source_from_text(arena, path, data, length) : NULL;
}

/* Index of the line that holds a byte. */
static int line_index(const SourceFile *file, uint32_t offset) {
    int low = 0, high = file->line_count;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (file->lines[middle] <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int source_line(const SourceFile *file, uint32_t offset) {
    return line_index(file, offset) + 1;
}

static bool continues_character(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

Place source_place(const SourceFile *file, uint32_t offset) {
    if (offset > file->length)
        offset = file->length;
    int line = line_index(file, offset);
    uint32_t begin = file->lines[line];
    uint32_t end = line + 1 < file->line_count ? file->lines[line + 1] - 1 : file->length;
    if (end > begin && file->text[end - 1] == '\r')
        end--;
    int column = 1;
    for (uint32_t i = begin; i < offset; i++)
        column += !continues_character(file->text[i]);
    return (Place){ .file = file->name, .line = line + 1, .column = column, .text = file->text + begin,
                    .length = (int)(end - begin), .offset = (int)(offset - begin) };
}

const char *source_place_text(Arena *arena, Span at) {
    if (!at.file)
        return "(no place)";
    Place p = source_place(at.file, at.begin);
    return arena_printf(arena, "%s:%d:%d", p.file, p.line, p.column);
}

const char *source_span_text(Arena *arena, Span at) {
    return at.file ? arena_strndup(arena, at.file->text + at.begin, at.length) : "";
}

Span span_join(Span a, Span b) {
    if (!a.file || !b.file)
        return a.file ? a : b;
    uint32_t begin = a.begin < b.begin ? a.begin : b.begin;
    uint32_t end = span_end(a) > span_end(b) ? span_end(a) : span_end(b);
    return (Span){ a.file, begin, end - begin };
}
