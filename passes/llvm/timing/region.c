/* Counts calls of one function and the processor time that they take; `instrument.py` puts the two calls around it.
 *
 * What is counted is time of the process and of the children that it waited for, as of whole runs, while some thread
 * is in the function; calls inside a call belong to it. The numbers are in a file that is mapped, in the folder where
 * the program starts, so that they are there however it ends. `execution/region.py` reads it.
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
#define LOOKED_AT 50000u /* nanoseconds */
#define MOST_AWAITED 20000000u

struct counts {
    uint64_t magic;
    _Atomic uint64_t calls;
    _Atomic uint64_t nanoseconds;
    _Atomic uint64_t jumps; /* calls that were left by longjmp, whose end nobody saw */
    uint64_t clock_nanoseconds; /* what one look at the clock costs */
};

static struct counts unshared, *counts = &unshared;
static atomic_flag lock = ATOMIC_FLAG_INIT;
static uint64_t num_inside, start; /* threads, and since when there is one */
static _Thread_local char *outermost; /* where the stack was when this thread came in; 0 outside */

static uint64_t now(void) {
    struct timespec own;
    struct rusage children;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    getrusage(RUSAGE_CHILDREN, &children);
    uint64_t seconds = (uint64_t)(own.tv_sec + children.ru_utime.tv_sec + children.ru_stime.tv_sec);
    uint64_t micros = (uint64_t)(children.ru_utime.tv_usec + children.ru_stime.tv_usec);
    return seconds * 1000000000u + micros * 1000u + (uint64_t)own.tv_nsec;
}

static void take(void) {
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) sched_yield();
}

static void give(void) {
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

static void come_out(void) {
    take();
    if (num_inside && !--num_inside) atomic_fetch_add(&counts->nanoseconds, now() - start);
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

static uint64_t wall(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* On virtual machines time that was stolen before is taken off afterwards, so that the clock of a process that has just
 * begun may stand still for some milliseconds. */
static void await_clock(void) {
    uint64_t begun = wall();
    for (uint64_t since = begun; since < begun + MOST_AWAITED; since = wall()) {
        uint64_t before = now();
        while (wall() < since + LOOKED_AT) {}
        if (now() - before > LOOKED_AT / 2) return;
    }
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
    await_clock();
    for (int i = 0; i < 32; i++) {
        uint64_t before = now(), taken = now() - before;
        if (taken < least) least = taken;
    }
    counts->clock_nanoseconds = least;
    counts->magic = MAGIC;
}

__attribute__((destructor(101))) static void end(void) { /* some programs end inside */
    char *here = __builtin_frame_address(0);
    if (outermost && here > outermost) atomic_fetch_add(&counts->jumps, 1);
    take();
    if (num_inside) atomic_fetch_add(&counts->nanoseconds, now() - start);
    num_inside = 0;
    give();
}
