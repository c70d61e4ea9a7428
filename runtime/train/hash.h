/* hash.h - the checksum of checkpoints and data sets. */
#ifndef TRAIN_HASH_H
#define TRAIN_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_START 0x9e3779b97f4a7c15u

/* Continues h over bytes. A change within one 8-byte word always changes the result; splitting a buffer
 * into several calls gives another result than one call. The same on every machine. */
uint64_t hash_bytes(uint64_t h, const void *data, size_t bytes);
uint64_t hash_word(uint64_t h, uint64_t word);

#endif
