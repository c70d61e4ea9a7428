/* prepared.c - writing, checking and using what infer reads (prepared.h).
 *
 * The file: a head, a table of pieces, the pieces. A piece is the space PREPARED, or a tensor of PARAMS or STATES that infer
 * reads; pieces stand in the order of space and offset. Everything lies as in memory, little-endian. */
#include "prepared.h"

#include "hash.h"
#include "model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "prepared weights are written as they lie in memory, which must be little-endian"
#endif

static const char magic[8] = { 'S', 'A', 'L', 'U', 'N', 'P', 'R', 'E' };
enum { VERSION = 1, PAGE = 4096 };

/* Bytes. `sum` is over the head with 0 in its place, and the table. */
typedef struct { char magic[8]; uint64_t version, bytes, hash, pieces, sum; } Head;
typedef struct { int64_t space, offset, bytes, at; } Piece;
typedef struct { Piece *piece; int count; } Pieces;

/* ---- what infer reads ---- */

/* The tensor of `space` that an offset in bytes falls into, -1: none. */
static int tensor_at(const SalunProgram *p, int space, int64_t offset) {
    for (int i = 0; i < p->tensor_count; i++) {
        const SalunTensor *t = &p->tensors[i];
        if (t->is_state == (space == SALUN_STATES) && offset / 4 >= t->offset && offset / 4 < t->offset + t->count)
            return i;
    }
    return -1;
}

static int compare_pieces(const void *a, const void *b) {
    const Piece *x = a, *y = b;
    return x->space != y->space ? (x->space > y->space) - (x->space < y->space) : (x->offset > y->offset) - (x->offset < y->offset);
}

/* Marks the tensors that an entry's arguments lie in; false: an argument lies in none. */
static bool mark_tensors(const SalunProgram *p, const SalunEntry *e, bool *marked) {
    for (int32_t i = 0; i < e->count; i++)
        for (int32_t k = 0; k < e->calls[i].arg_count; k++) {
            const SalunPlace *place = &e->calls[i].args[k];
            if (place->space != SALUN_PARAMS && place->space != SALUN_STATES)
                continue;
            int tensor = tensor_at(p, place->space, place->offset);
            if (tensor < 0)
                return false;
            if (marked)
                marked[tensor] = true;
        }
    return true;
}

bool salun_infer_reads(const SalunProgram *p, bool *read) {
    return mark_tensors(p, &p->prepare, NULL) && mark_tensors(p, &p->infer, read);
}

/* Fills pieces, with room for every tensor and one more; false: an argument lies in no tensor. */
static bool find_pieces(const SalunProgram *p, Pieces *pieces, bool *wanted) {
    if (!mark_tensors(p, &p->infer, wanted))
        return false;
    for (int i = 0; i < p->tensor_count; i++)
        if (wanted[i])
            pieces->piece[pieces->count++] = (Piece){ p->tensors[i].is_state ? SALUN_STATES : SALUN_PARAMS, p->tensors[i].offset * 4,
                                                      p->tensors[i].count * 4, 0 };
    if (p->prepared_bytes)
        pieces->piece[pieces->count++] = (Piece){ SALUN_PREPARED, 0, p->prepared_bytes, 0 };
    qsort(pieces->piece, (size_t)pieces->count, sizeof *pieces->piece, compare_pieces);
    return true;
}

/* The pieces of a program, their places in the file not yet set. pieces->piece is the caller's to free. */
static int list_pieces(const SalunProgram *p, Pieces *pieces, SalunError *err) {
    bool *wanted = calloc((size_t)p->tensor_count + 1, sizeof *wanted);
    *pieces = (Pieces){ calloc((size_t)p->tensor_count + 1, sizeof *pieces->piece), 0 };
    int code = 0;
    if (!wanted || !pieces->piece)
        code = salun_error(err, SALUN_NO_SPACE, "%s: out of memory", p->name);
    else if (!find_pieces(p, pieces, wanted))
        code = salun_error(err, SALUN_FAIL, "%s: the compiled program's tables do not fit each other", p->name);
    free(wanted);
    return code;
}

/* Where a place of the program lies in a file that was checked: in the last piece that begins before it. */
static const char *piece_at(const char *file, int64_t space, int64_t offset) {
    const Head *head = (const Head *)file;
    const Piece *table = (const Piece *)(head + 1), key = { space, offset, 0, 0 };
    uint64_t low = 0, high = head->pieces;
    while (high - low > 1) {
        uint64_t middle = (low + high) / 2;
        if (compare_pieces(&table[middle], &key) <= 0)
            low = middle;
        else
            high = middle;
    }
    return file + table[low].at + (offset - table[low].offset);
}

/* ---- writing ---- */

static uint64_t checksum(Head head, const void *table) {
    head.sum = 0;
    uint64_t sum = hash_bytes(HASH_START, &head, sizeof head);
    return hash_bytes(sum, table, head.pieces * sizeof(Piece));
}

static size_t round_up(size_t bytes, size_t to) {
    return (bytes + to - 1) / to * to;
}

/* Small pieces stand close together, large ones begin on a page. */
static Head set_places(const SalunProgram *p, Pieces *pieces) {
    Head head = { .version = VERSION, .hash = p->prepared_hash, .pieces = (uint64_t)pieces->count };
    memcpy(head.magic, magic, sizeof magic);
    head.bytes = sizeof head + (size_t)pieces->count * sizeof *pieces->piece;
    for (int i = 0; i < pieces->count; i++) {
        Piece *piece = &pieces->piece[i];
        piece->at = (int64_t)round_up(head.bytes, piece->bytes < PAGE ? SALUN_ALIGN : PAGE);
        head.bytes = (uint64_t)piece->at + (uint64_t)piece->bytes;
    }
    head.bytes = round_up(head.bytes, PAGE);               /* what reads whole vectors stays within */
    head.sum = checksum(head, pieces->piece);
    return head;
}

static int put(SalunSink *s, uint64_t *at, const void *data, uint64_t bytes, SalunError *err) {
    *at += bytes;
    return salun_sink_write(s, data, bytes, err);
}

static int fill(SalunSink *s, uint64_t *at, uint64_t to, SalunError *err) {
    static const char zero[PAGE];
    return put(s, at, zero, to - *at, err);
}

static const char *memory_of(const SalunModel *m, const Piece *piece) {
    if (m->prepared_file)
        return piece_at(m->prepared_file, piece->space, piece->offset);
    return (const char *)m->region[piece->space] + piece->offset;
}

static int write_file(const SalunModel *m, const Pieces *pieces, const Head *head, SalunSink *s, SalunError *err) {
    uint64_t at = 0;
    int code = put(s, &at, head, sizeof *head, err);
    if (!code)
        code = put(s, &at, pieces->piece, head->pieces * sizeof *pieces->piece, err);
    for (int i = 0; i < pieces->count && !code; i++) {
        const Piece *piece = &pieces->piece[i];
        code = fill(s, &at, (uint64_t)piece->at, err);
        if (!code)
            code = put(s, &at, memory_of(m, piece), (uint64_t)piece->bytes, err);
    }
    return code ? code : fill(s, &at, head->bytes, err);
}

static int save(const SalunModel *m, Pieces *pieces, const char *path, SalunError *err) {
    SalunSink sink;
    int code = salun_sink_open(&sink, path, err);
    if (code)
        return code;
    Head head = set_places(m->program, pieces);
    code = write_file(m, pieces, &head, &sink, err);
    if (!code)
        return salun_sink_commit(&sink, err);
    salun_sink_abort(&sink);
    return code;
}

int salun_save_prepared(SalunModel *m, const char *path, SalunError *err) {
    const SalunProgram *p = m->program;
    if (p->step.count || !p->infer.count)
        return salun_error(err, SALUN_FAIL, "%s: only programs that infer keep prepared weights; %s is compiled for training", path, p->name);
    Pieces pieces;
    int code = m->prepared ? 0 : salun_prepare(m, err);
    if (code)
        return code;
    code = list_pieces(p, &pieces, err);
    if (!code)
        code = save(m, &pieces, path, err);
    free(pieces.piece);
    return code;
}

/* ---- checking ---- */

bool salun_is_prepared(const void *data, size_t bytes) {
    return bytes >= sizeof magic && !memcmp(data, magic, sizeof magic);
}

static int damaged(const char *name, SalunError *err) {
    return salun_error(err, SALUN_BAD_INPUT, "%s: these prepared weights are damaged", name);
}

int salun_prepared_check(const SalunProgram *p, const void *data, size_t bytes, const char *name, SalunError *err) {
    Head head;
    if (bytes < sizeof head || !salun_is_prepared(data, bytes))
        return damaged(name, err);
    memcpy(&head, data, sizeof head);
    if (head.version != VERSION)
        return salun_error(err, SALUN_BAD_INPUT, "%s: prepared weights of version %" PRIu64 ", this program reads %d", name, head.version, VERSION);
    if (head.bytes != bytes)
        return salun_error(err, SALUN_BAD_INPUT, "%s: the file has %zu bytes of %" PRIu64, name, bytes, head.bytes);
    if (head.pieces > (bytes - sizeof head) / sizeof(Piece) || head.sum != checksum(head, (const char *)data + sizeof head))
        return damaged(name, err);
    if (head.hash != p->prepared_hash)
        return salun_error(err, SALUN_BAD_INPUT, "%s: these weights were prepared by another program than this %s (another network, target or "
                           "compiler): prepare them again from the .safetensors file", name, p->name);
    return 0;
}

/* Every piece that the program reads must be there; the checksum is no promise. */
static int check_pieces(const SalunProgram *p, const Head *head, const char *name, SalunError *err) {
    const Piece *table = (const Piece *)(head + 1);
    Pieces wanted;
    int code = list_pieces(p, &wanted, err);
    bool same = !code && (uint64_t)wanted.count == head->pieces;
    for (int i = 0; same && i < wanted.count; i++) {
        const Piece *w = &wanted.piece[i], *have = &table[i];
        uint64_t at = (uint64_t)have->at;
        same = !compare_pieces(w, have) && w->bytes == have->bytes && at % SALUN_ALIGN == 0 && at <= head->bytes &&
               (uint64_t)have->bytes <= head->bytes - at;
    }
    free(wanted.piece);
    return code ? code : same ? 0 : damaged(name, err);
}

/* ---- using ---- */

/* Resolves what infer reads anew; file NULL: in the model's own tables. */
static void rebind(SalunModel *m, const char *file) {
    const SalunBound *b = &m->bound[SALUN_BOUND_INFER];
    for (int32_t i = 0; i < b->entry->count; i++)
        for (int32_t k = 0; k < b->entry->calls[i].arg_count; k++) {
            const SalunPlace *place = &b->entry->calls[i].args[k];
            if (place->space != SALUN_PARAMS && place->space != SALUN_STATES && place->space != SALUN_PREPARED)
                continue;
            b->args[b->first[i] + k] = file ? (char *)piece_at(file, place->space, place->offset)
                                            : (char *)m->region[place->space] + place->offset;
        }
}

int salun_prepared_use(SalunModel *m, const void *data, size_t bytes, const char *name, SalunError *err) {
    const SalunProgram *p = m->program;
    if (p->step.count || !p->prepared_hash)
        return salun_error(err, SALUN_BAD_INPUT, "%s: prepared weights are for compiled programs that only infer: give the .safetensors file", name);
    int code = salun_prepared_check(p, data, bytes, name, err);
    if (!code && p->infer.count)
        code = check_pieces(p, data, name, err);
    if (code || !p->infer.count)
        return code;
    salun_prepared_drop(m);
    m->prepared_file = data;
    m->prepared = true;
    rebind(m, data);
    return 0;
}

/* Resolves what prepare reads anew; value NULL: in the model's own tables. */
static void rebind_prepare(SalunModel *m, const void *const *value) {
    const SalunBound *b = &m->bound[SALUN_BOUND_PREPARE];
    for (int32_t i = 0; i < b->entry->count; i++)
        for (int32_t k = 0; k < b->entry->calls[i].arg_count; k++) {
            const SalunPlace *place = &b->entry->calls[i].args[k];
            if (place->space != SALUN_PARAMS && place->space != SALUN_STATES)
                continue;
            int tensor = value ? tensor_at(m->program, place->space, place->offset) : -1;
            b->args[b->first[i] + k] = tensor >= 0 && value[tensor]
                                           ? (char *)value[tensor] + (place->offset - m->program->tensors[tensor].offset * 4)
                                           : (char *)m->region[place->space] + place->offset;
        }
}

void salun_prepare_from(SalunModel *m, const void *const *value) {
    rebind_prepare(m, value);
    salun_prepare(m, NULL);
    rebind_prepare(m, NULL);
}

void salun_prepared_drop(SalunModel *m) {
    if (!m->prepared_file)
        return;
    rebind(m, NULL);
    salun_unmap(&m->prepared_map);
    free(m->prepared_copy);
    m->prepared_copy = NULL;
    m->prepared_file = NULL;
    m->prepared = false;
}
