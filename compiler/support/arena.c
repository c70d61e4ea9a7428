/* arena.c - memory in blocks, handed out front to back, returned all at once. */
#include "support/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, BLOCK_BYTES = 64 << 10 };

struct ArenaBlock {
    ArenaBlock *below;
    size_t size, used;
    _Alignas(ALIGN) unsigned char data[];
};

enum { EXIT_NO_MEMORY = 4 };           /* SALUN_NO_SPACE of salun.h */

static void die_exhausted(const Arena *a) {
    fflush(stdout);
    fprintf(stderr, "salunc: error: out of memory: the program needs more than %zu MiB\n", a->limit >> 20);
    exit(EXIT_NO_MEMORY);
}

static _Noreturn void give_up(const Arena *a) {
    a->exhausted(a);
    abort();                            /* the handler broke its contract */
}

Arena *arena_new(size_t limit) {
    Arena *a = calloc(1, sizeof *a);
    if (!a) {
        fprintf(stderr, "salunc: error: out of memory\n");
        exit(EXIT_NO_MEMORY);
    }
    a->limit = limit ? limit : (size_t)ARENA_DEFAULT_MIB << 20;
    a->exhausted = die_exhausted;
    return a;
}

void arena_destroy(Arena *a) {
    for (ArenaBlock *b = a->top, *below; b; b = below) {
        below = b->below;
        free(b);
    }
    free(a);
}

static ArenaBlock *block_new(Arena *a, size_t size) {
    size_t bytes = sizeof(ArenaBlock) + size;
    if (bytes > a->limit || a->total > a->limit - bytes)
        give_up(a);
    ArenaBlock *b = calloc(1, bytes);
    if (!b)
        give_up(a);
    b->size = size;
    a->total += bytes;
    return b;
}

void *arena_alloc(Arena *a, size_t bytes) {
    if (bytes > a->limit)
        give_up(a);
    size_t need = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (need > BLOCK_BYTES / 4) {       /* a block of its own, below the one being filled */
        ArenaBlock *b = block_new(a, need);
        b->used = need;
        if (a->top) {
            b->below = a->top->below;
            a->top->below = b;
        } else {
            a->top = b;
        }
        return b->data;
    }
    if (!a->top || a->top->size - a->top->used < need) {
        ArenaBlock *b = block_new(a, BLOCK_BYTES);
        b->below = a->top;
        a->top = b;
    }
    void *p = a->top->data + a->top->used;
    a->top->used += need;
    return p;
}

void *arena_alloc_array(Arena *a, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        give_up(a);
    return arena_alloc(a, bytes);
}

void *arena_grow(Arena *a, const void *old, size_t old_count, size_t new_count, size_t size) {
    void *p = arena_alloc_array(a, new_count, size);
    if (old_count)
        if (old_count > 0)
        memcpy(p, old, old_count * size);
    return p;
}

char *arena_strndup(Arena *a, const char *text, size_t length) {
    char *copy = arena_alloc(a, length + 1);
    memcpy(copy, text, length);
    return copy;
}

char *arena_strdup(Arena *a, const char *text) {
    return arena_strndup(a, text, strlen(text));
}

char *arena_vprintf(Arena *a, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int length = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (length < 0)
        length = 0;
    char *text = arena_alloc(a, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, fmt, ap);
    return text;
}

char *arena_printf(Arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    char *text = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return text;
}
