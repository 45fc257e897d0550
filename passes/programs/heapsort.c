// Heapsort of prioritised items with a binary heap in place. Tags: sorting.
#include "harness.h"

enum { N = PICK(4000, 30000, 240000) };

struct item {
    uint32_t priority;
    uint32_t id;
};

static struct item items[N];

static int before(const struct item *a, const struct item *b) {
    if (a->priority != b->priority) return a->priority < b->priority;
    return a->id < b->id;
}

static void swap_items(struct item *a, struct item *b) {
    struct item old = *a;
    *a = *b;
    *b = old;
}

static void sift_down(struct item *heap, size_t root, size_t count) {
    for (;;) {
        size_t largest = root, left = 2 * root + 1, right = left + 1;
        if (left < count && before(&heap[largest], &heap[left])) largest = left;
        if (right < count && before(&heap[largest], &heap[right])) largest = right;
        if (largest == root) return;
        swap_items(&heap[root], &heap[largest]);
        root = largest;
    }
}

static void make_heap(struct item *heap, size_t count) {
    for (size_t root = count / 2; root-- > 0;) sift_down(heap, root, count);
}

static void heapsort_items(struct item *heap, size_t count) {
    make_heap(heap, count);
    while (count > 1) {
        count--;
        swap_items(&heap[0], &heap[count]);
        sift_down(heap, 0, count);
    }
}

static size_t count_misplaced(const struct item *sorted, size_t count) {
    size_t misplaced = 0;
    for (size_t i = 1; i < count; i++)
        if (!before(&sorted[i - 1], &sorted[i])) misplaced++;
    return misplaced;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (uint32_t i = 0; i < N; i++) {
        items[i].priority = random_below(N / 4);
        items[i].id = i;
    }
    heapsort_items(items, N);
    print_u64("misplaced", count_misplaced(items, N));
    print_bytes("items", items, sizeof items);
    return 0;
}
