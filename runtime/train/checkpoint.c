/* checkpoint.c - writing, checking and reading checkpoints. */
#include "checkpoint.h"

#include "hash.h"
#include "model.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checkpoints are written as they lie in memory, which must be little-endian"
#endif

enum { TABLES = 4 };
static const int spaces[TABLES] = { SALUN_PARAMS, SALUN_STATES, SALUN_RAW, SALUN_SLOTS };
static const char magic[8] = { 'S', 'A', 'L', 'U', 'N', 'C', 'K', 'P' };
#define VERSION 2

typedef struct {
    char magic[8];
    uint64_t version, bytes, text_bytes, table_bytes[TABLES];
    TrainPoint at;
} Head;

void identity_add(Identity *id, const char *name, const char *format, ...) {
    size_t room = sizeof id->text - id->used;
    int head = snprintf(id->text + id->used, room, "%s=", name);
    if (head < 0 || (size_t)head >= room)
        return;
    va_list args;
    va_start(args, format);
    int value = vsnprintf(id->text + id->used + head, room - (size_t)head, format, args);
    va_end(args);
    if (value < 0 || (size_t)(head + value + 1) >= room)
        return;
    id->used += (size_t)(head + value);
    id->text[id->used++] = '\n';
    id->text[id->used] = 0;
}

static size_t padded(size_t bytes) {
    return (bytes + 7) / 8 * 8;
}

/* m NULL: no tables. */
static Head head_of(SalunModel *m, const Identity *id, const TrainPoint *at, void *table[TABLES]) {
    Head head = { .version = VERSION, .text_bytes = id->used, .at = *at };
    memcpy(head.magic, magic, sizeof magic);
    head.bytes = sizeof head + padded(id->used) + sizeof(uint64_t);
    for (int i = 0; i < TABLES; i++) {
        int64_t floats = 0;
        table[i] = m ? salun_table(m, spaces[i], &floats) : NULL;
        head.table_bytes[i] = (uint64_t)floats * sizeof(float);
        head.bytes += padded(head.table_bytes[i]);
    }
    return head;
}

/* Writes bytes, filled up to a multiple of 8, and continues the checksum over them. */
static int put(SalunSink *s, uint64_t *sum, const void *data, size_t bytes, SalunError *err) {
    static const char zero[8];
    if (bytes == 0)
        return SALUN_OK;
    *sum = hash_bytes(*sum, data, bytes);
    int code = salun_sink_write(s, data, bytes, err);
    return code ? code : salun_sink_write(s, zero, padded(bytes) - bytes, err);
}

/* start: without tables, but as much room must be there as with them. */
static int write_file(const char *path, SalunModel *m, bool start, const Identity *id, const TrainPoint *at, SalunError *err) {
    void *table[TABLES];
    Head whole = head_of(m, id, at, table), head = start ? head_of(NULL, id, at, table) : whole;
    uint64_t sum = HASH_START;
    SalunSink sink;
    int code = salun_sink_open(&sink, path, err);
    if (code)
        return code;
    if (start)
        code = salun_sink_reserve(&sink, whole.bytes, err);
    if (!code)
        code = put(&sink, &sum, &head, sizeof head, err);
    if (!code)
        code = put(&sink, &sum, id->text, id->used, err);
    for (int i = 0; i < TABLES && !code; i++)
        code = put(&sink, &sum, table[i], head.table_bytes[i], err);
    if (!code)
        code = salun_sink_write(&sink, &sum, sizeof sum, err);
    if (!code)
        return salun_sink_commit(&sink, err);
    salun_sink_abort(&sink);
    return code;
}

int checkpoint_write(const char *path, SalunModel *m, const Identity *id, const TrainPoint *at, SalunError *err) {
    return write_file(path, m, false, id, at, err);
}

int checkpoint_write_start(const char *path, SalunModel *m, const Identity *id, const TrainPoint *at, SalunError *err) {
    return write_file(path, m, true, id, at, err);
}

/* The value of a line of an identity; its length, or -1 where the name is missing. */
static int find_value(const char *text, size_t bytes, const char *name, size_t name_length, const char **value) {
    const char *end = text + bytes;
    for (const char *line = text; line < end;) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        if (!next)
            next = end;
        if ((size_t)(next - line) > name_length && memcmp(line, name, name_length) == 0 && line[name_length] == '=') {
            *value = line + name_length + 1;
            return (int)(next - *value);
        }
        line = next + 1;
    }
    return -1;
}

static int compare_identity(const char *path, const char *text, size_t bytes, const Identity *id, SalunError *err) {
    char list[400] = "";
    size_t used = 0;
    for (const char *line = id->text; *line;) {
        const char *equals = strchr(line, '='), *next = strchr(line, '\n'), *there = "";
        int length = find_value(text, bytes, line, (size_t)(equals - line), &there);
        int here = (int)(next - equals - 1);
        if ((length != here || memcmp(there, equals + 1, (size_t)here) != 0) && used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%.*s was %.*s, now %.*s", used ? "; " : "", (int)(equals - line), line,
                                     length < 0 ? 7 : length, length < 0 ? "unknown" : there, here, equals + 1);
        line = next + 1;
    }
    return used ? salun_error(err, SALUN_BAD_INPUT, "%s: the checkpoint is of another training: %s", path, list) : SALUN_OK;
}

/* The head, once all of the file's content is known to be as it was written. */
static int check(const char *path, const SalunMap *map, Head *head, SalunError *err) {
    if (map->size < sizeof *head || memcmp(map->data, magic, sizeof magic) != 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: not a checkpoint", path);
    memcpy(head, map->data, sizeof *head);
    if (head->version != VERSION)
        return salun_error(err, SALUN_BAD_INPUT, "%s: a checkpoint of version %" PRIu64 ", this program reads %d", path, head->version, VERSION);
    if (head->bytes != map->size)
        return salun_error(err, SALUN_BAD_INPUT, "%s: the file has %zu bytes of %" PRIu64, path, map->size, head->bytes);
    uint64_t sum = hash_bytes(HASH_START, map->data, sizeof *head), stored;
    const unsigned char *p = map->data + sizeof *head;
    size_t left = map->size - sizeof *head;
    for (int i = -1; i < TABLES; i++) {
        uint64_t bytes = i < 0 ? head->text_bytes : head->table_bytes[i];
        if (bytes > left || padded(bytes) > left)
            return salun_error(err, SALUN_BAD_INPUT, "%s: the checkpoint is damaged: its sizes do not add up", path);
        if (bytes)
            sum = hash_bytes(sum, p, bytes);
        for (size_t k = bytes; k < padded(bytes); k++)
            sum += p[k];                                    /* the filling is zero */
        p += padded(bytes);
        left -= padded(bytes);
    }
    if (left != sizeof stored)
        return salun_error(err, SALUN_BAD_INPUT, "%s: the checkpoint is damaged: its sizes do not add up", path);
    memcpy(&stored, p, sizeof stored);
    if (stored != sum)
        return salun_error(err, SALUN_BAD_INPUT, "%s: the checkpoint is damaged: its checksum differs", path);
    return SALUN_OK;
}

static bool is_start(const Head *head) {
    static const uint64_t none[TABLES];
    return head->at.step == 0 && !memcmp(head->table_bytes, none, sizeof none);
}

/* The state that the seed in the text gives. */
static int restore_start(const char *path, SalunModel *m, const char *text, size_t bytes, SalunError *err) {
    const char *seed;
    int64_t floats;
    if (find_value(text, bytes, "--seed", strlen("--seed"), &seed) < 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: the checkpoint is damaged: it names no seed", path);
    salun_init(m, strtoull(seed, NULL, 10));
    float *slots = salun_table(m, SALUN_SLOTS, &floats);
    if (floats)
        memset(slots, 0, (size_t)floats * sizeof *slots);
    return SALUN_OK;
}

static int restore(const char *path, const SalunMap *map, SalunModel *m, const Identity *id, TrainPoint *at, SalunError *err) {
    Head head;
    int code = check(path, map, &head, err);
    if (code)
        return code;
    const unsigned char *p = map->data + sizeof head;
    if ((code = compare_identity(path, (const char *)p, head.text_bytes, id, err)))
        return code;
    if (is_start(&head)) {
        code = restore_start(path, m, (const char *)p, head.text_bytes, err);
        if (!code)
            *at = head.at;
        return code;
    }
    void *table[TABLES];
    Head own = head_of(m, id, &head.at, table);
    if (memcmp(own.table_bytes, head.table_bytes, sizeof own.table_bytes) != 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: the checkpoint's tables have other sizes than the program's", path);
    p += padded(head.text_bytes);
    for (int i = 0; i < TABLES; i++) {
        if (head.table_bytes[i])
            memcpy(table[i], p, head.table_bytes[i]);
        p += padded(head.table_bytes[i]);
    }
    salun_touch(m);
    *at = head.at;
    return SALUN_OK;
}

int checkpoint_read(const char *path, SalunModel *m, const Identity *id, TrainPoint *at, SalunError *err) {
    SalunMap map;
    int code = salun_map(&map, path, err);
    if (code)
        return code;
    code = restore(path, &map, m, id, at, err);
    salun_unmap(&map);
    return code;
}

bool checkpoint_peek(const char *path, TrainPoint *at) {
    Head head;
    FILE *file = fopen(path, "rb");
    bool whole = file && fread(&head, sizeof head, 1, file) == 1;
    if (file)
        fclose(file);
    if (!whole || memcmp(head.magic, magic, sizeof magic) != 0 || head.version != VERSION)
        return false;
    *at = head.at;
    return true;
}
