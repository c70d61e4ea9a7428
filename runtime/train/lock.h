/* lock.h - that one training at a time writes to a file. */
#ifndef TRAIN_LOCK_H
#define TRAIN_LOCK_H

#include "base.h"

typedef struct { int fd; char *path; } Lock;

/* Locks the empty file PATH.lock, which is there while it is locked; a process that dies leaves the file, unlocked. What is no
 * regular file is not locked, nor is anything where the file system has no locks. SALUN_BAD_INPUT when another process has the
 * lock or the file cannot be made, SALUN_NO_SPACE without memory. */
int lock_take(Lock *l, const char *path, SalunError *err);
void lock_release(Lock *l);            /* also of a zeroed one, or one that was not taken */

#endif
