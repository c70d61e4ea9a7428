/* table.c - open addressing over entries that are chained in order of insertion. */
#include "support/table.h"

#include <string.h>

enum { FIRST_SLOTS = 16 };

uint64_t table_hash(const void *data, size_t length) {
    const unsigned char *p = data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}

Table *table_new(Arena *arena) {
    Table *t = NEW(arena, Table);
    t->arena = arena;
    return t;
}

/* The slot that holds key, or the empty one where it belongs. Needs slot_count > count. */
static TableEntry **slot_of(const Table *t, const char *key, uint64_t hash) {
    uint64_t mask = (uint64_t)t->slot_count - 1;
    for (uint64_t i = hash & mask;; i = (i + 1) & mask) {
        TableEntry *e = t->slots[i];
        if (!e || (e->hash == hash && !strcmp(e->key, key)))
            return &t->slots[i];
    }
}

static void grow(Table *t) {
    t->slot_count = t->slot_count ? t->slot_count * 2 : FIRST_SLOTS;
    t->slots = NEW_ARRAY(t->arena, TableEntry *, t->slot_count);
    for (TableEntry *e = t->first; e; e = e->next)
        *slot_of(t, e->key, e->hash) = e;
}

TableEntry *table_find(const Table *t, const char *key) {
    return t->count ? *slot_of(t, key, table_hash(key, strlen(key))) : NULL;
}

void *table_get(const Table *t, const char *key) {
    TableEntry *e = table_find(t, key);
    return e ? e->value : NULL;
}

bool table_has(const Table *t, const char *key) {
    return table_find(t, key) != NULL;
}

void table_set(Table *t, const char *key, void *value) {
    if (t->count * 2 >= t->slot_count)
        grow(t);
    uint64_t hash = table_hash(key, strlen(key));
    TableEntry **slot = slot_of(t, key, hash);
    if (*slot) {
        (*slot)->value = value;
        return;
    }
    TableEntry *e = NEW(t->arena, TableEntry);
    *e = (TableEntry){ .key = arena_strdup(t->arena, key), .value = value, .hash = hash };
    *slot = e;
    if (t->last)
        t->last->next = e;
    else
        t->first = e;
    t->last = e;
    t->count++;
}
