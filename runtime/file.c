/* file.c - reading by mmap, and writing that is complete or did not happen. */
#include "base.h"
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map_fd(SalunMap *map, int fd, const char *path, SalunError *err) {
    struct stat st;
    if (fstat(fd, &st))
        return salun_error(err, SALUN_BAD_INPUT, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return salun_error(err, SALUN_BAD_INPUT, "%s: not a regular file", path);
    *map = (SalunMap){ .data = (const unsigned char *)"", .size = (size_t)st.st_size };
    if (!st.st_size)
        return 0;
    void *data = mmap(NULL, map->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return salun_error(err, SALUN_NO_SPACE, "%s: cannot be mapped: %s", path, strerror(errno));
    map->data = data;
    map->mapped = true;
    map->guard = salun_guard_add(data, map->size, fd, path);
    return 0;
}

int salun_map(SalunMap *map, const char *path, SalunError *err) {
    *map = (SalunMap){ 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return salun_error(err, SALUN_BAD_INPUT, "%s: %s", path, strerror(errno));
    int code = map_fd(map, fd, path, err);
    close(fd);
    return code;
}

void salun_unmap(SalunMap *map) {
    if (map->mapped) {
        salun_guard_remove(map->guard);
        munmap((void *)map->data, map->size);
    }
    *map = (SalunMap){ 0 };
}

void salun_occupy_standard(void) {
    int fd;
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static void sink_free(SalunSink *s) {
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    free(s->part);
    *s = (SalunSink){ .fd = -1 };
}

/* Opens PATH.part and locks it. Whoever held the lock before may have renamed the file away: then it is opened anew. */
static int open_part(const char *part, mode_t mode) {
    for (;;) {
        int fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
            return -1;
        while (flock(fd, LOCK_EX) && errno == EINTR)
            ;
        struct stat mine, there;
        if (!fstat(fd, &mine) && !stat(part, &there) && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev) {
            if (!ftruncate(fd, 0))
                return fd;
            int saved = errno;
            close(fd);
            errno = saved;
            return -1;
        }
        close(fd);
    }
}

int salun_sink_open(SalunSink *s, const char *path, SalunError *err) {
    *s = (SalunSink){ .fd = -1 };
    struct stat st;
    bool there = !stat(path, &st);
    s->direct = there && !S_ISREG(st.st_mode);
    s->path = there && !s->direct ? realpath(path, NULL) : strdup(path);      /* a link stays, its target is replaced */
    if (s->path && asprintf(&s->part, "%s.part", s->path) < 0)
        s->part = NULL;
    if (!s->path || !s->part) {
        sink_free(s);
        return salun_error(err, SALUN_NO_SPACE, "%s: out of memory", path);
    }
    if (s->direct)
        s->fd = open(s->path, O_WRONLY | O_CLOEXEC);
    else
        s->fd = open_part(s->part, there ? st.st_mode & 0777 : 0666);
    if (s->fd < 0) {
        int code = errno == ENOSPC || errno == EDQUOT ? SALUN_NO_SPACE : SALUN_BAD_INPUT;
        salun_error(err, code, "%s: cannot be written: %s", path, strerror(errno));
        sink_free(s);
        return code;
    }
    return 0;
}

int salun_sink_try(const char *path, SalunError *err) {
    struct stat st;
    SalunSink s;
    if (!stat(path, &st) && !S_ISREG(st.st_mode))
        return 0;
    int code = salun_sink_open(&s, path, err);
    if (!code)
        salun_sink_abort(&s);
    return code;
}

static int write_failed(const SalunSink *s, SalunError *err) {
    return salun_error(err, SALUN_NO_SPACE, "%s: writing failed: %s", s->path, strerror(errno));
}

int salun_sink_reserve(SalunSink *s, size_t bytes, SalunError *err) {
    if (s->direct || !bytes)
        return 0;
    int failed = fallocate(s->fd, 0, 0, (off_t)bytes) ? errno : 0;      /* others: a file system that cannot say */
    if (failed == ENOSPC || failed == EDQUOT || failed == EFBIG || ftruncate(s->fd, 0)) {
        errno = failed ? failed : errno;
        return write_failed(s, err);
    }
    return 0;
}

int salun_sink_write(SalunSink *s, const void *data, size_t bytes, SalunError *err) {
    const char *p = data;
    while (bytes) {
        ssize_t done = write(s->fd, p, bytes < INT_MAX / 2 ? bytes : INT_MAX / 2);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return write_failed(s, err);
        p += done;
        bytes -= (size_t)done;
    }
    return 0;
}

/* Makes a rename in the directory of path durable; file systems that cannot do that are left alone. */
static void sync_directory(const char *path) {
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(copy);
}

int salun_sink_commit(SalunSink *s, SalunError *err) {
    int code = 0;
    if (!s->direct) {
        if (fsync(s->fd) || rename(s->part, s->path)) {
            code = write_failed(s, err);
            unlink(s->part);
        } else {
            sync_directory(s->path);
        }
    }
    sink_free(s);
    return code;
}

void salun_sink_abort(SalunSink *s) {
    if (s->fd >= 0 && !s->direct)
        unlink(s->part);
    sink_free(s);
}
