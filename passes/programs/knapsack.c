// Knapsacks: each item at most once with the choice read back, and a few of each item. Tags: dynamic programming.
#include "harness.h"

enum { ITEMS = PICK(76, 170, 450), CAPACITY = PICK(6000, 16000, 40000), WORDS = CAPACITY / 64 + 1 };

typedef struct {
    int32_t weight, value;
    uint16_t available;
} item;

static item items[ITEMS];
static int32_t best[CAPACITY + 1];
static uint64_t taken[ITEMS][WORDS]; // one bit per item and capacity

static int32_t once_each(void) {
    memset(best, 0, sizeof best);
    for (int i = 0; i < ITEMS; i++) {
        const item *it = &items[i];
        for (int room = CAPACITY; room >= it->weight; room--) {
            int32_t with = best[room - it->weight] + it->value;
            if (with <= best[room]) continue;
            best[room] = with;
            taken[i][room / 64] |= 1ull << (room % 64);
        }
    }
    return best[CAPACITY];
}

// Marks the chosen items in chosen and returns their weight.
static int32_t read_back(uint8_t *chosen) {
    int room = CAPACITY;
    for (int i = ITEMS - 1; i >= 0; i--) {
        chosen[i] = taken[i][room / 64] >> (room % 64) & 1;
        if (chosen[i]) room -= items[i].weight;
    }
    return CAPACITY - room;
}

static void take_in_place(int32_t weight, int32_t value) {
    for (int room = CAPACITY; room >= weight; room--) {
        int32_t with = best[room - weight] + value;
        best[room] = with > best[room] ? with : best[room];
    }
}

// A number of equal items as bundles of 1, 2, 4, ... of them and the rest.
static int32_t several_each(void) {
    memset(best, 0, sizeof best);
    for (int i = 0; i < ITEMS; i++) {
        int32_t left = items[i].available;
        for (int32_t bundle = 1; left > 0; bundle *= 2) {
            int32_t count = bundle < left ? bundle : left;
            take_in_place(items[i].weight * count, items[i].value * count);
            left -= count;
        }
    }
    return best[CAPACITY];
}

static void build(void) {
    for (int i = 0; i < ITEMS; i++) {
        items[i].weight = 20 + (int32_t)random_below(600);
        items[i].value = 100 + items[i].weight + (int32_t)random_below(500);
        items[i].available = (uint16_t)(1 + random_below(30));
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build();
    static uint8_t chosen[ITEMS];
    print_u64("once each", (uint64_t)once_each());
    print_u64("weight", (uint64_t)read_back(chosen));
    print_bytes("chosen", chosen, sizeof chosen);
    print_bytes("best once", best, sizeof best);
    print_u64("several each", (uint64_t)several_each());
    print_bytes("best several", best, sizeof best);
    return 0;
}
