// Cheapest order of a chain of matrix products, with the order read back, and its depth. Tags: dynamic programming.
#include "harness.h"

enum { COUNT = PICK(130, 260, 540) };

typedef struct {
    uint64_t cost;
    uint16_t split;
} plan;

typedef struct {
    int depth;
    uint64_t largest; // entries of the largest matrix in between
    uint64_t hash;
} summary;

static uint32_t sizes[COUNT + 1]; // matrix i is sizes[i] x sizes[i + 1]
static plan plans[COUNT][COUNT];

static uint64_t product_cost(int first, int split, int last) {
    return (uint64_t)sizes[first] * sizes[split + 1] * sizes[last + 1];
}

static void find_plans(void) {
    for (int length = 2; length <= COUNT; length++)
        for (int first = 0; first + length <= COUNT; first++) {
            int last = first + length - 1;
            plan best = {UINT64_MAX, 0};
            for (int split = first; split < last; split++) {
                uint64_t cost = plans[first][split].cost + plans[split + 1][last].cost;
                cost += product_cost(first, split, last);
                if (cost < best.cost) {
                    best.cost = cost;
                    best.split = (uint16_t)split;
                }
            }
            plans[first][last] = best;
        }
}

static summary summarise(int first, int last) {
    if (first == last) return (summary){0, 0, (uint64_t)first};
    int split = plans[first][last].split;
    summary left = summarise(first, split), right = summarise(split + 1, last);
    uint64_t entries = (uint64_t)sizes[first] * sizes[last + 1];
    summary both;
    both.depth = 1 + (left.depth > right.depth ? left.depth : right.depth);
    both.largest = left.largest > right.largest ? left.largest : right.largest;
    if (entries > both.largest) both.largest = entries;
    both.hash = hash_word(hash_word(left.hash, right.hash), (uint64_t)split);
    return both;
}

// What the plain order from left to right costs, for comparison.
static uint64_t left_to_right(void) {
    uint64_t cost = 0;
    for (int i = 1; i < COUNT; i++) cost += product_cost(0, i - 1, i);
    return cost;
}

static uint64_t hash_costs(void) {
    uint64_t hash = 0;
    for (int i = 0; i < COUNT; i++)
        for (int j = i; j < COUNT; j++) hash = hash_word(hash, plans[i][j].cost);
    return hash;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i <= COUNT; i++) sizes[i] = 4 + random_below(400);
    find_plans();
    summary s = summarise(0, COUNT - 1);
    print_u64("cheapest", plans[0][COUNT - 1].cost);
    print_u64("left to right", left_to_right());
    print_u64("costs", hash_costs());
    print_u64("depth", (uint64_t)s.depth);
    print_u64("largest", s.largest);
    print_u64("order", s.hash);
    return 0;
}
