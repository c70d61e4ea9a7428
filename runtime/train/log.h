/* log.h - JSON-lines files: one object per line, each line there whole or not at all. */
#ifndef TRAIN_LOG_H
#define TRAIN_LOG_H

#include "base.h"

typedef struct { char text[1536]; size_t used; } Line;

/* A line begins as a zeroed Line; strings are escaped, numbers that are not finite become null. What does not fit is left out. */
void line_text(Line *line, const char *key, const char *value);
void line_count(Line *line, const char *key, int64_t value);
void line_number(Line *line, const char *key, double value);
void line_exact(Line *line, const char *key, double value);      /* hexadecimal, "0x1.8p+1" */
void line_hash(Line *line, const char *key, uint64_t value);
void line_bool(Line *line, const char *key, bool value);

typedef struct {
    int fd;                            /* -1: not open; writing then does nothing */
    bool cuttable;                     /* a regular file */
    const char *path;
    int64_t offset;                    /* behind the last complete line */
} Log;

/* Opens path (NULL: stays closed) and cuts it to offset bytes, to none when offset is below 0. A file that is shorter stays
 * as it is, and *lost, if not NULL, becomes true. SALUN_BAD_INPUT when it cannot be opened. */
int log_open(Log *log, const char *path, int64_t offset, bool *lost, SalunError *err);
/* Appends the line; on failure the file ends where it ended before. SALUN_NO_SPACE. */
int log_write(Log *log, const Line *line, SalunError *err);
/* To disk; the offset to store in a checkpoint, -1 for a log that is not open. */
int64_t log_sync(Log *log);
void log_close(Log *log);

#endif
