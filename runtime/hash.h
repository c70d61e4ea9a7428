/* hash.h - the checksum of checkpoints, data sets and prepared weights. */
#ifndef SALUN_HASH_H
#define SALUN_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_START 0x9e3779b97f4a7c15u

/* Continues h over bytes. A change within one 8-byte word always changes the result; splitting a buffer
 * into several calls gives another result than one call. The same on every machine. */
uint64_t hash_bytes(uint64_t h, const void *data, size_t bytes);
uint64_t hash_word(uint64_t h, uint64_t word);

/* hash_bytes of what is added piece by piece; all pieces but the last have a multiple of 32 bytes. */
typedef struct { uint64_t lane[4], bytes; } HashStream;
HashStream hash_begin(uint64_t h);
void hash_add(HashStream *s, const void *data, size_t bytes);
uint64_t hash_end(const HashStream *s);

#endif
