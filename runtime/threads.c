/* threads.c - the thread pool: fork and join in about a microsecond.
 *
 * A job is open while `epoch` is odd. Every thread has a lane: a range of tasks that it takes first, before it takes from
 * the other lanes; so the same thread tends to meet the same data in consecutive jobs, and no thread waits for a slow one.
 * A worker that enters a job raises its own flag and looks again whether the job is still open; the caller closes the job when
 * every task is taken, and waits for the raised flags only. A worker that sleeps or is not scheduled therefore delays nobody.
 * Workers spin for SPIN_SECONDS after the last job and then sleep on `epoch` (futex). A child of fork has no workers: there a
 * pool of its parent runs every task on the caller's thread. */
#include "model.h"

#include <errno.h>
#include <linux/futex.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define SPIN_SECONDS 2e-3
enum {
    LINE = 128,                              /* two cache lines: the processor fetches them in pairs */
    MOST_THREADS = 1024,
    PURE_SPINS = 4096,                       /* pauses before the first sched_yield */
    SPINS_PER_YIELD = 64
};

typedef struct {
    _Alignas(LINE) _Atomic int64_t next;
    int64_t end;
    _Alignas(LINE) _Atomic uint32_t inside;
    pthread_t handle;
    SalunPool *pool;
    int thread;
} Lane;

struct SalunPool {
    _Alignas(LINE) _Atomic uint32_t epoch;
    _Alignas(LINE) _Atomic uint32_t sleepers;
    _Atomic bool stop;
    _Alignas(LINE) SalunTask *task;
    void *arg;
    int threads;
    bool flush;
    unsigned born;                           /* `forks` when the workers started */
    Lane *lanes;
};

static unsigned forks;                       /* between this process and the first that made a pool */

static inline void relax(void) {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- floating-point control ---- */

#if defined(__x86_64__)
uint64_t salun_float_mode(bool flush) {
    uint64_t saved = _mm_getcsr();
    _mm_setcsr(flush ? 0x9fc0 : 0x1f80);     /* all exceptions masked, round to nearest; flush-to-zero, denormals-are-zero */
    return saved;
}
void salun_float_restore(uint64_t saved) {
    _mm_setcsr((unsigned)saved);
}
#elif defined(__aarch64__)
uint64_t salun_float_mode(bool flush) {
    uint64_t saved, mode = flush ? (uint64_t)1 << 24 : 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
    return saved;
}
void salun_float_restore(uint64_t saved) {
    __asm__ volatile("msr fpcr, %0" : : "r"(saved));
}
#else
uint64_t salun_float_mode(bool flush) {
    return flush;
}
void salun_float_restore(uint64_t saved) {
    (void)saved;
}
#endif

/* ---- the tasks of a job ---- */

static void work(SalunPool *p, int thread) {
    for (int i = 0; i < p->threads; i++) {
        int from = thread + i < p->threads ? thread + i : thread + i - p->threads;
        Lane *lane = &p->lanes[from];
        while (atomic_load_explicit(&lane->next, memory_order_relaxed) < lane->end) {
            int64_t task = atomic_fetch_add_explicit(&lane->next, 1, memory_order_relaxed);
            if (task >= lane->end)
                break;
            p->task(p->arg, thread, task);
        }
    }
}

static void futex_wait(SalunPool *p, uint32_t seen) {
    syscall(SYS_futex, &p->epoch, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(SalunPool *p) {
    syscall(SYS_futex, &p->epoch, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Returns an odd epoch other than `done`. */
static uint32_t wait_open(SalunPool *p, uint32_t done) {
    double sleep_at = 0;
    for (unsigned spins = 1;; spins++) {
        uint32_t epoch = atomic_load_explicit(&p->epoch, memory_order_acquire);
        if ((epoch & 1) && epoch != done)
            return epoch;
        relax();
        if (spins < PURE_SPINS || spins % SPINS_PER_YIELD)
            continue;
        sched_yield();
        double now = salun_seconds();
        if (sleep_at == 0)
            sleep_at = now + SPIN_SECONDS;
        if (now < sleep_at)
            continue;
        atomic_fetch_add(&p->sleepers, 1);
        futex_wait(p, epoch);
        atomic_fetch_sub(&p->sleepers, 1);
        sleep_at = 0;
        spins = 0;
    }
}

static void *worker(void *arg) {
    Lane *lane = arg;
    SalunPool *p = lane->pool;
    salun_float_mode(p->flush);
    for (uint32_t done = 0;;) {
        uint32_t epoch = wait_open(p, done);
        if (atomic_load(&p->stop))
            return NULL;
        atomic_store(&lane->inside, 1);
        if (atomic_load(&p->epoch) == epoch)
            work(p, lane->thread);
        atomic_store_explicit(&lane->inside, 0, memory_order_release);
        done = epoch;
    }
}

static void open_job(SalunPool *p) {
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->sleepers))
        futex_wake(p);
}

static void wait_outside(Lane *lane) {
    for (unsigned spins = 1; atomic_load(&lane->inside); spins++) {
        relax();
        if (spins >= PURE_SPINS && spins % SPINS_PER_YIELD == 0)
            sched_yield();
    }
}

void salun_pool_run(SalunPool *p, SalunTask *task, void *arg, int64_t tasks) {
    if (p->threads == 1 || tasks <= 1 || p->born != forks) {
        for (int64_t i = 0; i < tasks; i++)
            task(arg, 0, i);
        return;
    }
    p->task = task;
    p->arg = arg;
    int64_t share = tasks / p->threads, rest = tasks % p->threads, begin = 0;
    for (int i = 0; i < p->threads; i++) {
        int64_t end = begin + share + (i < rest);
        atomic_store_explicit(&p->lanes[i].next, begin, memory_order_relaxed);
        p->lanes[i].end = end;
        begin = end;
    }
    open_job(p);
    work(p, 0);
    atomic_fetch_add(&p->epoch, 1);
    for (int i = 1; i < p->threads; i++)
        wait_outside(&p->lanes[i]);
}

/* ---- life ---- */

static int processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 && count <= MOST_THREADS ? (int)count : 1;
}

static void count_fork(void) {
    forks++;
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, count_fork);
}

int salun_pool_threads(const SalunPool *pool) {
    return pool->threads;
}

/* Workers inherit a mask that blocks all signals: the program's handlers run on its own threads. */
static int start(SalunPool *p, int thread) {
    Lane *lane = &p->lanes[thread];
    lane->pool = p;
    lane->thread = thread;
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);              /* raised by the thread itself: guard.c */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&lane->handle, NULL, worker, lane);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

SalunPool *salun_pool_create(int threads, bool flush, SalunError *err) {
    if (threads < 0 || threads > MOST_THREADS) {
        salun_error(err, SALUN_BAD_INPUT, "%d threads: from 1 to %d, or 0 for one per processor", threads, MOST_THREADS);
        return NULL;
    }
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    int wanted = threads ? threads : processors();
    SalunPool *p = aligned_alloc(LINE, sizeof *p);
    Lane *lanes = aligned_alloc(LINE, (size_t)wanted * sizeof *lanes);
    if (!p || !lanes) {
        free(p);
        free(lanes);
        salun_error(err, SALUN_NO_SPACE, "out of memory for %d threads", wanted);
        return NULL;
    }
    memset(p, 0, sizeof *p);
    memset(lanes, 0, (size_t)wanted * sizeof *lanes);
    p->lanes = lanes;
    p->flush = flush;
    p->born = forks;
    p->threads = 1;
    for (int i = 1; i < wanted; i++) {
        int failed = start(p, i);
        if (failed) {
            salun_pool_destroy(p);
            salun_error(err, SALUN_NO_SPACE, "thread %d of %d cannot be started: %s", i + 1, wanted, strerror(failed));
            return NULL;
        }
        p->threads = i + 1;
    }
    return p;
}

void salun_pool_destroy(SalunPool *p) {
    if (!p)
        return;
    if (p->born == forks) {
        atomic_store(&p->stop, true);
        open_job(p);
        for (int i = 1; i < p->threads; i++)
            pthread_join(p->lanes[i].handle, NULL);
    }
    free(p->lanes);
    free(p);
}
