// Least-significant-digit radix sort of signed 64-bit keys with their positions. Tags: sorting.
#include "harness.h"

enum { N = PICK(5000, 120000, 640000), DIGIT_BITS = 8, BUCKETS = 1 << DIGIT_BITS, DIGITS = 64 / DIGIT_BITS };

struct entry {
    int64_t key;
    uint64_t position;
};

static struct entry entries[N], scratch[N];

static unsigned digit_of(int64_t key, int digit) {
    uint64_t ordered = (uint64_t)key ^ (UINT64_C(1) << 63); // so that negative keys come first
    return (unsigned)(ordered >> (digit * DIGIT_BITS)) & (BUCKETS - 1);
}

static void count_digits(const struct entry *from, size_t count, int digit, uint32_t *counts) {
    memset(counts, 0, BUCKETS * sizeof *counts);
    for (size_t i = 0; i < count; i++) counts[digit_of(from[i].key, digit)]++;
}

static void counts_to_starts(uint32_t *counts) {
    uint32_t start = 0;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        uint32_t count = counts[bucket];
        counts[bucket] = start;
        start += count;
    }
}

static void scatter(struct entry *to, const struct entry *from, size_t count, int digit, uint32_t *starts) {
    for (size_t i = 0; i < count; i++) to[starts[digit_of(from[i].key, digit)]++] = from[i];
}

static void radix_sort(struct entry *values, struct entry *work, size_t count) {
    uint32_t counts[BUCKETS];
    for (int digit = 0; digit < DIGITS; digit++) {
        count_digits(values, count, digit, counts);
        counts_to_starts(counts);
        scatter(work, values, count, digit, counts);
        struct entry *old = values;
        values = work;
        work = old;
    }
}

static int is_sorted(const struct entry *values, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (values[i - 1].key > values[i].key) return 0;
    return 1;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (size_t i = 0; i < N; i++) {
        entries[i].key = (int64_t)random_u64();
        entries[i].position = i;
    }
    radix_sort(entries, scratch, N); // an even number of digits: the result is back where it began
    print_u64("sorted", (uint64_t)is_sorted(entries, N));
    print_bytes("entries", entries, sizeof entries);
    return 0;
}
