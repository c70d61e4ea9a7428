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

uint64_t hash_bytes(uint64_t h, const void *data, size_t bytes) {
    const unsigned char *p = data;
    uint64_t lane[4] = { h, h + 1, h + 2, h + 3 };
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
    h = hash_word(lane[0], bytes);
    for (int i = 1; i < 4; i++)
        h = hash_word(h, lane[i]);
    return h;
}
