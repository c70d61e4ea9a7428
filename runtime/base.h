/* base.h - errors, clock, files: what every part of the runtime stands on (error.c, file.c).
 *
 * Functions that can fail return 0 or an exit code of salun.h, with one line of text in err (which may be NULL). */
#ifndef SALUN_BASE_H
#define SALUN_BASE_H

#include "salun.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Fills err and returns code. The text is cut to fit; control characters in it become '?', so that it stays one line. */
int salun_error(SalunError *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A list of names for a message: "a, b, c and 4 more", at most ten and what fits. Zero it before use. */
typedef struct { char text[240]; int shown, total; } SalunNames;
void salun_names_add(SalunNames *list, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The finished text, with the count of what was left out. */
const char *salun_names_end(SalunNames *list);

/* "[64,3,7,7]" into text (size bytes); returns text. */
const char *salun_shape_text(char *text, size_t size, int rank, const int64_t *dim);

/* Seconds of a clock that never goes back. */
static inline double salun_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- reading: a file mapped into memory ---- */

typedef struct { const unsigned char *data; size_t size; bool mapped; int guard; } SalunMap;

/* Maps a regular file for reading; an empty file has size 0 and a data pointer that is not NULL. */
int salun_map(SalunMap *map, const char *path, SalunError *err);
void salun_unmap(SalunMap *map);

/* What a file loses while it is mapped would end the process by SIGBUS. Programs call salun_map_guard before they map (a library
 * leaves signals alone): from then on what is missing reads as zeros, and salun_map_check fails with the name of the file, asked
 * after reading and before anything is made of what was read. Without the guard it never fails. */
void salun_map_guard(void);
int salun_map_check(SalunError *err);

/* Programs call this first: where standard input, output or error is closed, it is occupied, so that no file that is opened
 * later gets its number and is written into by messages. Writing to it still fails. */
void salun_occupy_standard(void);

/* ---- writing: a file that is there whole or not at all ---- */

/* Written beside the target as PATH.part, then synced and renamed over it; the directory is synced too. What was at PATH
 * before stays until the rename. Two processes that write the same PATH take turns. A target that is not a regular file
 * (/dev/stdout, a pipe) is written directly. Errors: SALUN_BAD_INPUT when it cannot be created, SALUN_NO_SPACE when
 * writing fails. */
typedef struct { int fd; bool direct; char *path, *part; } SalunSink;

int salun_sink_open(SalunSink *s, const char *path, SalunError *err);
/* Whether salun_sink_open would succeed, for files that are written late; what is no regular file is not tried. */
int salun_sink_try(const char *path, SalunError *err);
/* Fails where the file system has no room for so many bytes now; what is behind it later may still be full. Before any writing. */
int salun_sink_reserve(SalunSink *s, size_t bytes, SalunError *err);
int salun_sink_write(SalunSink *s, const void *data, size_t bytes, SalunError *err);
int salun_sink_commit(SalunSink *s, SalunError *err);          /* frees s, on failure too */
void salun_sink_abort(SalunSink *s);                           /* frees s; the target is as it was */

#endif
