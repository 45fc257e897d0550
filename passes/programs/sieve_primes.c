// Primes in windows far up the number line by a segmented sieve of Eratosthenes. Tags: number theory.
#include "harness.h"

enum {
    SMALL_LIMIT = PICK(4000, 20000, 60000), WINDOW = PICK(32768, 65536, 131072), WINDOWS = PICK(2, 20, 100),
    MAX_SMALL = SMALL_LIMIT / 4
};

struct statistics {
    uint64_t primes;
    uint64_t twins;
    uint64_t sum;
    uint64_t largest_gap;
    uint64_t last;
};

static uint8_t composite_small[SMALL_LIMIT + 1], composite[WINDOW];
static uint32_t small_primes[MAX_SMALL];

static int find_small_primes(void) {
    int count = 0;
    for (uint32_t n = 2; n <= SMALL_LIMIT; n++) {
        if (composite_small[n]) continue;
        small_primes[count++] = n;
        for (uint32_t multiple = 2 * n; multiple <= SMALL_LIMIT; multiple += n) composite_small[multiple] = 1;
    }
    return count;
}

// Crosses out multiples of the small primes among start .. start + WINDOW - 1.
static void sieve_window(uint64_t start, int count) {
    memset(composite, 0, sizeof composite);
    for (int i = 0; i < count; i++) {
        uint64_t prime = small_primes[i], first = prime * prime;
        if (first >= start + WINDOW) break;
        if (first < start) first = (start + prime - 1) / prime * prime;
        for (uint64_t multiple = first; multiple < start + WINDOW; multiple += prime) composite[multiple - start] = 1;
    }
}

static void tally_prime(struct statistics *statistics, uint64_t prime) {
    uint64_t gap = prime - statistics->last;
    if (statistics->last != 0) {
        statistics->twins += gap == 2;
        if (gap > statistics->largest_gap) statistics->largest_gap = gap;
    }
    statistics->primes++;
    statistics->sum += prime;
    statistics->last = prime;
}

static void tally_window(struct statistics *statistics, uint64_t start) {
    for (uint64_t i = 0; i < WINDOW; i++)
        if (!composite[i] && start + i > 1) tally_prime(statistics, start + i);
}

static uint64_t largest_start(void) { return (uint64_t)SMALL_LIMIT * SMALL_LIMIT - (uint64_t)WINDOW * WINDOWS; }

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    int count = find_small_primes();
    struct statistics near = {0, 0, 0, 0, 0}, far = {0, 0, 0, 0, 0};
    uint64_t start = random_u64() % largest_start();
    sieve_window(0, count);
    tally_window(&near, 0);
    for (int i = 0; i < WINDOWS; i++) {
        sieve_window(start + (uint64_t)i * WINDOW, count);
        tally_window(&far, start + (uint64_t)i * WINDOW);
    }
    print_u64("small_primes", (uint64_t)count);
    print_u64("near_primes", near.primes);
    print_u64("near_sum", near.sum);
    print_u64("start", start);
    print_u64("primes", far.primes);
    print_u64("twins", far.twins);
    print_u64("sum", far.sum);
    print_u64("largest_gap", far.largest_gap);
    return 0;
}
