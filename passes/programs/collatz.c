// Collatz sequences: lengths with a memory of small starts, highest values, and a histogram. Tags: number theory.
#include "harness.h"

enum { STARTS = PICK(3000, 28000, 280000), MEMORY = 1 << 14, BINS = 16 };

struct record {
    uint64_t start;
    uint64_t value;
};

static uint16_t known_lengths[MEMORY]; // 0: not known yet
static uint32_t histogram[BINS];

static uint64_t next_value(uint64_t value) { return value % 2 == 0 ? value / 2 : 3 * value + 1; }

static uint32_t length_from(uint64_t start) {
    uint32_t length = 0;
    uint64_t value = start;
    while (value != 1 && !(value < MEMORY && known_lengths[value])) {
        value = next_value(value);
        length++;
    }
    if (value < MEMORY) length += known_lengths[value];
    if (start < MEMORY) known_lengths[start] = (uint16_t)length;
    return length;
}

static uint64_t highest_from(uint64_t start) {
    uint64_t highest = start;
    for (uint64_t value = start; value >= start && value != 1; value = next_value(value))
        if (value > highest) highest = value;
    return highest;
}

static void improve(struct record *best, uint64_t start, uint64_t value) {
    if (value <= best->value) return;
    best->start = start;
    best->value = value;
}

static uint64_t explore(uint64_t from, int count, struct record *longest, struct record *highest) {
    uint64_t total = 0;
    for (int i = 0; i < count; i++) {
        uint64_t start = from + (uint64_t)i;
        uint32_t length = length_from(start);
        total += length;
        histogram[length / 32 < BINS ? length / 32 : BINS - 1]++;
        improve(longest, start, length);
        improve(highest, start, highest_from(start));
    }
    return total;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    struct record longest = {0, 0}, highest = {0, 0};
    uint64_t offset = 1000000 + random_below(1000000);
    print_u64("total_small", explore(1, STARTS / 2, &longest, &highest));
    print_u64("known_answer_ok", length_from(27) == 111);
    print_u64("total_large", explore(offset, STARTS, &longest, &highest));
    print_u64("offset", offset);
    print_u64("longest_start", longest.start);
    print_u64("longest", longest.value);
    print_u64("highest_start", highest.start);
    print_u64("highest", highest.value);
    print_bytes("histogram", histogram, sizeof histogram);
    return 0;
}
