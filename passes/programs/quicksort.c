// Quicksort of 32-bit integers: median of three, insertion sort for short ranges. Tags: sorting.
#include "harness.h"

enum { N = PICK(4000, 35000, 300000), SHORT_RANGE = 12 };

static int32_t spread[N], clustered[N];

static void swap(int32_t *a, int32_t *b) {
    int32_t old = *a;
    *a = *b;
    *b = old;
}

static void insertion_sort(int32_t *first, int32_t *last) {
    for (int32_t *i = first + 1; i <= last; i++) {
        int32_t value = *i, *j = i;
        while (j > first && j[-1] > value) {
            *j = j[-1];
            j--;
        }
        *j = value;
    }
}

// Leaves smaller values up to the place it returns, larger ones after it (Hoare's scheme).
static int32_t *partition(int32_t *first, int32_t *last) {
    int32_t *middle = first + (last - first) / 2;
    if (*middle < *first) swap(middle, first);
    if (*last < *first) swap(last, first);
    if (*last < *middle) swap(last, middle);
    int32_t pivot = *middle, *i = first, *j = last;
    for (;;) {
        while (*i < pivot) i++;
        while (pivot < *j) j--;
        if (i >= j) return j;
        swap(i++, j--);
    }
}

static void quicksort(int32_t *first, int32_t *last) {
    if (last - first < SHORT_RANGE) {
        insertion_sort(first, last);
        return;
    }
    int32_t *split = partition(first, last);
    quicksort(first, split);
    quicksort(split + 1, last);
}

static int count_distinct(const int32_t *sorted, int count) {
    int distinct = 1;
    for (int i = 1; i < count; i++) {
        if (sorted[i] < sorted[i - 1]) return -1;
        distinct += sorted[i] != sorted[i - 1];
    }
    return distinct;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < N; i++) {
        uint64_t bits = random_u64();
        spread[i] = (int32_t)(bits >> 33) - (1 << 30);
        clustered[i] = (int32_t)(bits & 1023) - 512;
    }
    quicksort(spread, spread + N - 1);
    quicksort(clustered, clustered + N - 1);
    print_u64("spread_distinct", (uint64_t)count_distinct(spread, N));
    print_u64("clustered_distinct", (uint64_t)count_distinct(clustered, N));
    print_bytes("spread", spread, sizeof spread);
    print_bytes("clustered", clustered, sizeof clustered);
    return 0;
}
