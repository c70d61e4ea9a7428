/* table.h - a map from strings to pointers in an arena; iteration follows insertion.
 *   for (TableEntry *e = t->first; e; e = e->next) use(e->key, e->value); */
#ifndef SALUN_SUPPORT_TABLE_H
#define SALUN_SUPPORT_TABLE_H

#include "support/arena.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct TableEntry TableEntry;
struct TableEntry {
    const char *key;        /* the table's own copy */
    void *value;
    TableEntry *next;       /* in order of insertion */
    uint64_t hash;
};

typedef struct Table {
    Arena *arena;
    TableEntry *first, *last;
    TableEntry **slots;
    int count, slot_count;
} Table;

Table *table_new(Arena *arena);

/* The value under key; NULL when there is none. */
void *table_get(const Table *t, const char *key);
bool table_has(const Table *t, const char *key);

/* The entry under key; NULL when there is none. */
TableEntry *table_find(const Table *t, const char *key);

/* Sets the value under key; a key already there keeps its place in the order. */
void table_set(Table *t, const char *key, void *value);

/* FNV-1a of a byte string, the same on every machine. */
uint64_t table_hash(const void *data, size_t length);

#endif
