/* Counts calls of one function and the processor time that they take; `instrument.py` puts the two calls around it.
 *
 * What is counted is processor time of the process and of the children that it waited for, as of whole runs, while some
 * thread is in the function; calls inside a call belong to it. Where the processor did nothing else meanwhile, that is
 * the time that passed: the clock of the process stands still now and then on virtual machines, which take off later
 * what was stolen from them. The numbers are in a file that is mapped, in the folder where the program starts, so that
 * they are there however it ends. `execution/region.py` reads it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define FILE_NAME ".foretune-region"
#define MAGIC 0x31676e6f69676572u

struct counts {
    uint64_t magic;
    _Atomic uint64_t calls;
    _Atomic uint64_t nanoseconds;
    _Atomic uint64_t jumps; /* calls that were left by longjmp, whose end nobody saw */
    uint64_t clock_nanoseconds; /* what one look at the clock costs */
};

static struct counts unshared, *counts = &unshared;
static atomic_flag lock = ATOMIC_FLAG_INIT;

struct moment {
    uint64_t passed, worked, children; /* nanoseconds, the latter two of processor time */
    uint64_t switches; /* to other threads and processes */
};

static uint64_t num_inside; /* threads */
static struct moment start; /* since when there is one */
static _Thread_local char *outermost; /* where the stack was when this thread came in; 0 outside */

static uint64_t clock_of(clockid_t which) {
    struct timespec at;
    clock_gettime(which, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static struct moment now(void) {
    struct rusage own, children;
    getrusage(RUSAGE_SELF, &own);
    getrusage(RUSAGE_CHILDREN, &children);
    uint64_t seconds = (uint64_t)(children.ru_utime.tv_sec + children.ru_stime.tv_sec);
    uint64_t micros = (uint64_t)(children.ru_utime.tv_usec + children.ru_stime.tv_usec);
    struct moment found = {
        .worked = clock_of(CLOCK_PROCESS_CPUTIME_ID),
        .children = seconds * 1000000000u + micros * 1000u,
        .switches = (uint64_t)(own.ru_nvcsw + own.ru_nivcsw),
    };
    found.passed = clock_of(CLOCK_MONOTONIC); /* last, likewise */
    return found;
}

static uint64_t since(struct moment before) {
    uint64_t passed = clock_of(CLOCK_MONOTONIC); /* first, so that a switch behind it is seen, too */
    struct moment after = now();
    uint64_t own = after.switches == before.switches ? passed - before.passed : after.worked - before.worked;
    return own + after.children - before.children;
}

static void take(void) {
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) sched_yield();
}

static void give(void) {
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

static void come_out(void) {
    take();
    if (num_inside && !--num_inside) atomic_fetch_add(&counts->nanoseconds, since(start));
    give();
}

void foretune_region_enter(void) {
    char *here = __builtin_frame_address(0);
    if (outermost && here < outermost) return; /* a call inside a call: stacks grow downwards */
    if (outermost) { /* the stack of the call is gone, and nobody saw it end */
        atomic_fetch_add(&counts->jumps, 1);
        come_out();
    }
    outermost = here;
    atomic_fetch_add(&counts->calls, 1);
    take();
    if (!num_inside++) start = now();
    give();
}

void foretune_region_leave(void) {
    char *here = __builtin_frame_address(0);
    if (!outermost || here < outermost) return;
    come_out();
    outermost = 0;
}

static void in_child(void) { /* of fork: its time is its parent's, who waits for it */
    outermost = 0;
    num_inside = 0;
    give();
}

__attribute__((constructor(101))) static void begin(void) {
    uint64_t least = UINT64_MAX;
    int file = open(FILE_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file >= 0 && !ftruncate(file, sizeof(struct counts))) {
        void *at = mmap(0, sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (at != MAP_FAILED) counts = at;
    }
    if (file >= 0) close(file);
    pthread_atfork(0, 0, in_child);
    for (int i = 0; i < 32; i++) {
        uint64_t taken = since(now());
        if (taken < least) least = taken;
    }
    counts->clock_nanoseconds = least;
    counts->magic = MAGIC;
}

__attribute__((destructor(101))) static void end(void) { /* some programs end inside */
    char *here = __builtin_frame_address(0);
    if (outermost && here > outermost) atomic_fetch_add(&counts->jumps, 1);
    take();
    if (num_inside) atomic_fetch_add(&counts->nanoseconds, since(start));
    num_inside = 0;
    give();
}
