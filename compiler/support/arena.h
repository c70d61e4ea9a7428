/* arena.h - one zeroed arena per compilation; nothing in it is freed one by one.
 * Memory lives until arena_destroy. An arena has a byte limit, so that no input makes the compiler
 * allocate without bound; beyond it `exhausted` is called, which must not return (the default prints
 * `out of memory` with the limit and exits with status 4). Allocation therefore never yields NULL. */
#ifndef SALUN_SUPPORT_ARENA_H
#define SALUN_SUPPORT_ARENA_H

#include <stdarg.h>
#include <stddef.h>

typedef struct Arena Arena;
typedef struct ArenaBlock ArenaBlock;

struct Arena {
    ArenaBlock *top;
    size_t total;                       /* bytes taken from the system */
    size_t limit;                       /* bytes it may take */
    void (*exhausted)(const Arena *);   /* called beyond the limit or when the system has no more */
};

enum { ARENA_DEFAULT_MIB = 4096 };

/* A new, empty arena; limit in bytes, 0 for ARENA_DEFAULT_MIB. */
Arena *arena_new(size_t limit);
void arena_destroy(Arena *a);

/* Zeroed memory, aligned to 16 bytes. */
void *arena_alloc(Arena *a, size_t bytes);

/* count elements of the given size, zeroed; an overflowing product counts as beyond the limit. */
void *arena_alloc_array(Arena *a, size_t count, size_t size);

/* A larger copy of an array: `old_count` elements kept, the rest zeroed. */
void *arena_grow(Arena *a, const void *old, size_t old_count, size_t new_count, size_t size);

char *arena_strdup(Arena *a, const char *text);
char *arena_strndup(Arena *a, const char *text, size_t length);
char *arena_printf(Arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(Arena *a, const char *fmt, va_list ap);

#define NEW(arena, T) ((T *)arena_alloc((arena), sizeof(T)))
#define NEW_ARRAY(arena, T, count) ((T *)arena_alloc_array((arena), (size_t)(count), sizeof(T)))

/* Appends `value` to an array of `*(count)` elements with room for `*(capacity)`; all three are lvalues. */
#define ARENA_PUSH(arena, items, count, capacity, value)                                           \
    do {                                                                                           \
        if ((count) == (capacity)) {                                                               \
            (items) = arena_grow((arena), (items), (size_t)(count), (size_t)(count) * 2 + 4,       \
                                 sizeof *(items));                                                 \
            (capacity) = (count) * 2 + 4;                                                          \
        }                                                                                          \
        (items)[(count)++] = (value);                                                              \
    } while (0)

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

#endif
