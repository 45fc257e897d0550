// Set bits in three ways, leading and trailing zeros, parity, reversal and Morton codes. Tags: bit manipulation.
#include "harness.h"

enum { WORDS = PICK(1024, 4096, 16384), ROUNDS = PICK(6, 12, 46) };

static uint64_t words[WORDS];
static uint8_t byte_counts[256];

static int count_by_clearing(uint64_t word) {
    int count = 0;
    while (word) {
        word &= word - 1;
        count++;
    }
    return count;
}

static int count_by_table(uint64_t word) {
    int count = 0;
    for (int i = 0; i < 8; i++) count += byte_counts[word >> 8 * i & 0xFF];
    return count;
}

static int count_in_parallel(uint64_t word) {
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0F0F0F0F0F0F0F0F);
    return (int)(word * UINT64_C(0x0101010101010101) >> 56);
}

static int leading_zeros(uint64_t word) {
    int count = 64;
    while (word) {
        word >>= 1;
        count--;
    }
    return count;
}

static int trailing_zeros(uint64_t word) {
    int count = 0;
    while (count < 64 && !(word >> count & 1)) count++;
    return count;
}

static int parity(uint32_t word) {
    for (int shift = 16; shift > 0; shift /= 2) word ^= word >> shift;
    return word & 1;
}

static uint64_t reverse_bits(uint64_t word) {
    uint64_t reversed = 0;
    for (int i = 0; i < 64; i++) reversed |= (word >> i & 1) << (63 - i);
    return reversed;
}

static uint64_t interleave(uint32_t x, uint32_t y) {
    uint64_t code = 0;
    for (int i = 0; i < 32; i++) code |= (uint64_t)(x >> i & 1) << 2 * i | (uint64_t)(y >> i & 1) << (2 * i + 1);
    return code;
}

static void make_byte_counts(void) {
    for (int i = 1; i < 256; i++) byte_counts[i] = (uint8_t)(byte_counts[i / 2] + i % 2);
}

struct counts {
    uint64_t set, zeros, odd, mixed, disagreements;
};

static void examine(struct counts *counts, uint64_t word) {
    int set = count_by_clearing(word);
    counts->disagreements += set != count_by_table(word) || set != count_in_parallel(word);
    counts->set += (uint64_t)set;
    counts->zeros += (uint64_t)(leading_zeros(word) + trailing_zeros(word));
    counts->odd += (uint64_t)(parity((uint32_t)word) ^ parity((uint32_t)(word >> 32)));
    counts->mixed = counts->mixed * 5 + (reverse_bits(word) ^ interleave((uint32_t)word, (uint32_t)(word >> 32)));
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < WORDS; i++) {
        words[i] = random_u64();
        words[i] >>= words[i] & 63;
    }
    make_byte_counts();
    struct counts counts = {0, 0, 0, 0, 0};
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < WORDS; i++) examine(&counts, words[i] ^ words[(i + round) % WORDS] >> round);
    print_u64("ways_agree", counts.disagreements == 0);
    print_u64("set", counts.set);
    print_u64("zeros", counts.zeros);
    print_u64("odd", counts.odd);
    print_u64("mixed", counts.mixed);
    return 0;
}
