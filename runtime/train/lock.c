/* lock.c - lock files. Whoever releases a lock removes the file first; so what was opened is compared with what is there. */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_there(int fd, const char *path) {
    struct stat mine, there;
    return !fstat(fd, &mine) && !stat(path, &there) && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

/* The lock's file, -1 where there is none; *busy: another process has it. */
static int open_locked(const char *path, bool *busy) {
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666), code;
        if (fd < 0)
            return -1;
        while ((code = flock(fd, LOCK_EX | LOCK_NB)) && errno == EINTR)
            ;
        *busy = code && errno == EWOULDBLOCK;
        if (!*busy && is_there(fd, path))
            return fd;
        close(fd);
        if (*busy)
            return -1;
    }
}

int lock_take(Lock *l, const char *path, SalunError *err) {
    struct stat st;
    bool there = !stat(path, &st), busy = false;
    *l = (Lock){ .fd = -1 };
    if (there && !S_ISREG(st.st_mode))
        return SALUN_OK;
    char *real = there ? realpath(path, NULL) : strdup(path);          /* by whatever link it is named */
    int length = real ? asprintf(&l->path, "%s.lock", real) : -1;
    free(real);
    if (length < 0) {
        l->path = NULL;
        return salun_error(err, SALUN_NO_SPACE, "%s: out of memory", path);
    }
    l->fd = open_locked(l->path, &busy);
    if (l->fd >= 0)
        return SALUN_OK;
    int cause = errno;
    free(l->path);
    l->path = NULL;
    if (busy)
        return salun_error(err, SALUN_BAD_INPUT, "%s: another training is writing here", path);
    return salun_error(err, SALUN_BAD_INPUT, "%s: cannot be written: %s", path, strerror(cause));
}

void lock_release(Lock *l) {
    if (!l->path)
        return;
    unlink(l->path);
    close(l->fd);
    free(l->path);
    *l = (Lock){ .fd = -1 };
}
