/* guard.h - private to file.c: mapped files of which salun_map_check (base.h) knows. */
#ifndef SALUN_GUARD_H
#define SALUN_GUARD_H

#include <stddef.h>

/* A number for salun_guard_remove; 0: not guarded. */
int salun_guard_add(const void *data, size_t bytes, int fd, const char *path);
/* Before it is unmapped. */
void salun_guard_remove(int number);

#endif
