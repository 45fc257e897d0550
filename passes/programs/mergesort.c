// Stable merge sort of records with a comparison function passed in, by one key and then by another. Tags: sorting.
#include "harness.h"

enum { N = PICK(3000, 17000, 130000) };

struct record {
    int64_t key;
    uint32_t order;
    int16_t group;
    uint16_t weight;
};

typedef int (*compare_fn)(const struct record *, const struct record *);

static struct record records[N], scratch[N];

static int compare_keys(const struct record *a, const struct record *b) {
    return (a->key > b->key) - (a->key < b->key);
}

static int compare_groups(const struct record *a, const struct record *b) { return a->group - b->group; }

static int compare_weights_down(const struct record *a, const struct record *b) { return b->weight - a->weight; }

static void merge(struct record *to, const struct record *left, size_t left_count, const struct record *right,
                  size_t right_count, compare_fn compare) {
    while (left_count > 0 && right_count > 0) {
        if (compare(right, left) < 0) {
            *to++ = *right++;
            right_count--;
        } else {
            *to++ = *left++;
            left_count--;
        }
    }
    while (left_count-- > 0) *to++ = *left++;
    while (right_count-- > 0) *to++ = *right++;
}

static void merge_sort(struct record *from, struct record *work, size_t count, compare_fn compare) {
    if (count < 2) return;
    size_t half = count / 2;
    merge_sort(from, work, half, compare);
    merge_sort(from + half, work + half, count - half, compare);
    if (compare(&from[half - 1], &from[half]) <= 0) return;
    merge(work, from, half, from + half, count - half, compare);
    memcpy(from, work, count * sizeof *from);
}

static uint64_t weighted_positions(const struct record *sorted, size_t count) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += (uint64_t)sorted[i].weight * i;
    return sum;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (uint32_t i = 0; i < N; i++) {
        uint64_t bits = random_u64();
        records[i].key = (int64_t)bits >> 20;
        records[i].order = i;
        records[i].group = (int16_t)((int)(bits & 63) - 32);
        records[i].weight = (uint16_t)(bits >> 6 & 4095);
    }
    merge_sort(records, scratch, N, compare_weights_down);
    print_u64("by_weight", weighted_positions(records, N));
    merge_sort(records, scratch, N, compare_keys);
    print_u64("by_key", weighted_positions(records, N));
    merge_sort(records, scratch, N, compare_groups);
    print_u64("by_group", weighted_positions(records, N));
    print_bytes("records", records, sizeof records);
    return 0;
}
