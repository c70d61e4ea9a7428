/* guard.c - files that are cut short while they are mapped.
 *
 * Reading what is missing raises SIGBUS. The handler puts zeros there, so that whoever reads comes to his end, and a check says
 * which file it was before anything is made of what was read. */
#include "base.h"
#include "guard.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GUARDS = 64 };

/* begin is set last and cleared first: the handler believes a guard that has one. */
typedef struct { atomic_uintptr_t begin; size_t bytes; int fd; char path[512]; } Guard;

static Guard guards[GUARDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool on;
static atomic_int cut;                 /* the guard of the first file that was cut, counted from 1; 0: none */
static char cut_path[sizeof guards->path];

/* Kept beyond the guard's life. */
static void note_cut(int i) {
    int none = 0;
    if (atomic_compare_exchange_strong(&cut, &none, i + 1))
        memcpy(cut_path, guards[i].path, sizeof cut_path);
}

static void on_bus_error(int number, siginfo_t *info, void *context) {
    uintptr_t at = (uintptr_t)info->si_addr, page = (uintptr_t)sysconf(_SC_PAGESIZE);
    (void)context;
    for (int i = 0; i < GUARDS; i++) {
        uintptr_t begin = atomic_load(&guards[i].begin), from = at / page * page, end = begin + guards[i].bytes;
        if (!begin || at < begin || at >= end)
            continue;
        note_cut(i);
        if (mmap((void *)from, end - from, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
            return;
    }
    signal(number, SIG_DFL);               /* not ours: it is raised again */
}

void salun_map_guard(void) {
    struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, NULL) == 0)
        atomic_store(&on, true);
}

int salun_guard_add(const void *data, size_t bytes, int fd, const char *path) {
    if (!atomic_load(&on))
        return 0;
    int number = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < GUARDS && !number; i++) {
        if (atomic_load(&guards[i].begin))
            continue;
        guards[i].bytes = bytes;
        guards[i].fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        snprintf(guards[i].path, sizeof guards[i].path, "%s", path);
        atomic_store(&guards[i].begin, (uintptr_t)data);
        number = i + 1;
    }
    pthread_mutex_unlock(&lock);
    return number;
}

/* Cut off on a page's border or within it, read already or not. */
static void look(int i) {
    struct stat st;
    if (guards[i].fd >= 0 && !fstat(guards[i].fd, &st) && (size_t)st.st_size < guards[i].bytes)
        note_cut(i);
}

void salun_guard_remove(int number) {
    if (!number)
        return;
    pthread_mutex_lock(&lock);
    look(number - 1);
    atomic_store(&guards[number - 1].begin, 0);
    if (guards[number - 1].fd >= 0)
        close(guards[number - 1].fd);
    pthread_mutex_unlock(&lock);
}

int salun_map_check(SalunError *err) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < GUARDS; i++)
        if (atomic_load(&guards[i].begin))
            look(i);
    pthread_mutex_unlock(&lock);
    return atomic_load(&cut) ? salun_error(err, SALUN_BAD_INPUT, "%s: the file was cut short while it was read", cut_path) : 0;
}
