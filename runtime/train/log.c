/* log.c - JSON-lines files. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TAIL = 3 };                     /* room for the closing brace, newline and end */

__attribute__((format(printf, 3, 4)))
static void add(Line *line, const char *key, const char *format, ...) {
    size_t room = sizeof line->text - TAIL - line->used;
    int head = snprintf(line->text + line->used, room, "%s\"%s\": ", line->used ? ", " : "{", key);
    if (head < 0 || (size_t)head >= room)
        return;
    va_list args;
    va_start(args, format);
    int value = vsnprintf(line->text + line->used + head, room - (size_t)head, format, args);
    va_end(args);
    if (value >= 0 && (size_t)(head + value) < room)
        line->used += (size_t)(head + value);
    line->text[line->used] = 0;
}

void line_text(Line *line, const char *key, const char *value) {
    char escaped[1024];
    size_t used = 0;
    for (const char *c = value; *c && used + 8 < sizeof escaped; c++) {
        if (*c == '"' || *c == '\\')
            used += (size_t)snprintf(escaped + used, sizeof escaped - used, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            used += (size_t)snprintf(escaped + used, sizeof escaped - used, "\\u%04x", (unsigned char)*c);
        else
            escaped[used++] = *c;
    }
    escaped[used] = 0;
    add(line, key, "\"%s\"", escaped);
}

void line_count(Line *line, const char *key, int64_t value) {
    add(line, key, "%" PRId64, value);
}

void line_number(Line *line, const char *key, double value) {
    if (isfinite(value))
        add(line, key, "%.9g", value);
    else
        add(line, key, "null");
}

void line_exact(Line *line, const char *key, double value) {
    add(line, key, "\"%a\"", value);
}

void line_hash(Line *line, const char *key, uint64_t value) {
    add(line, key, "\"%016" PRIx64 "\"", value);
}

void line_bool(Line *line, const char *key, bool value) {
    add(line, key, value ? "true" : "false");
}

int log_open(Log *log, const char *path, int64_t offset, bool *lost, SalunError *err) {
    *log = (Log){ .fd = -1, .path = path };
    if (!path)
        return SALUN_OK;
    log->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    struct stat st;
    if (log->fd < 0 || fstat(log->fd, &st) != 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: cannot be written: %s", path, strerror(errno));
    log->cuttable = S_ISREG(st.st_mode);
    if (!log->cuttable)
        return SALUN_OK;
    log->offset = offset < 0 ? 0 : offset;
    if (st.st_size < log->offset) {
        log->offset = st.st_size;
        if (lost)
            *lost = true;
    }
    if (ftruncate(log->fd, log->offset) != 0 || lseek(log->fd, log->offset, SEEK_SET) < 0)
        return salun_error(err, SALUN_NO_SPACE, "%s: cannot be cut: %s", path, strerror(errno));
    return SALUN_OK;
}

int log_write(Log *log, const Line *line, SalunError *err) {
    if (log->fd < 0)
        return SALUN_OK;
    char text[sizeof line->text];
    size_t bytes = (size_t)snprintf(text, sizeof text, "%s}\n", line->used ? line->text : "{");
    for (size_t done = 0; done < bytes;) {
        ssize_t put = write(log->fd, text + done, bytes - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            int cause = errno;
            if (log->cuttable && ftruncate(log->fd, log->offset) == 0)
                lseek(log->fd, log->offset, SEEK_SET);
            return salun_error(err, SALUN_NO_SPACE, "%s: writing failed: %s", log->path, strerror(cause));
        }
        done += (size_t)put;
    }
    log->offset += (int64_t)bytes;
    return SALUN_OK;
}

int64_t log_sync(Log *log) {
    if (log->fd < 0)
        return -1;
    if (log->cuttable)
        fdatasync(log->fd);
    return log->offset;
}

void log_close(Log *log) {
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
}
