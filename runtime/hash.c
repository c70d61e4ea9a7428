/* hash.c - a 64-bit checksum: multiply and fold, four lanes wide so that it runs at memory speed.
 * It guards against accidents, not against forgery. */
#include "hash.h"

#include <string.h>

uint64_t hash_word(uint64_t h, uint64_t word) {
    h = (h ^ word) * 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
}

static uint64_t load_word(const unsigned char *p) {
    uint64_t w;
    memcpy(&w, p, sizeof w);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return w;
}

HashStream hash_begin(uint64_t h) {
    return (HashStream){ { h, h + 1, h + 2, h + 3 }, 0 };
}

void hash_add(HashStream *s, const void *data, size_t bytes) {
    const unsigned char *p = data;
    uint64_t lane[4] = { s->lane[0], s->lane[1], s->lane[2], s->lane[3] };
    size_t left = bytes;
    for (; left >= 32; left -= 32, p += 32)
        for (int i = 0; i < 4; i++)
            lane[i] = hash_word(lane[i], load_word(p + 8 * i));
    for (; left >= 8; left -= 8, p += 8)
        lane[0] = hash_word(lane[0], load_word(p));
    if (left) {
        unsigned char tail[8] = { 0 };
        memcpy(tail, p, left);
        lane[0] = hash_word(lane[0], load_word(tail));
    }
    memcpy(s->lane, lane, sizeof lane);
    s->bytes += bytes;
}

uint64_t hash_end(const HashStream *s) {
    uint64_t h = hash_word(s->lane[0], s->bytes);
    for (int i = 1; i < 4; i++)
        h = hash_word(h, s->lane[i]);
    return h;
}

uint64_t hash_bytes(uint64_t h, const void *data, size_t bytes) {
    HashStream s = hash_begin(h);
    hash_add(&s, data, bytes);
    return hash_end(&s);
}
