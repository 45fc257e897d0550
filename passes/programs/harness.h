// Shared by all programs here: problem sizes, inputs that no compiler can know, and results at full precision.
//
// SCALE picks the problem size: 0 runs in about a millisecond (for tests), 1 in some 5 ms, 2 in 20 to 60 ms at -O3 (for measuring).
#ifndef FORETUNE_HARNESS_H
#define FORETUNE_HARNESS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef SCALE
#define SCALE 2
#endif
#define PICK(tiny, small, full) (SCALE == 0 ? (tiny) : SCALE == 1 ? (small) : (full))

static uint64_t random_state;

// Numbers depend on how the program was called, so nothing that is made from them can be computed at compile time.
static inline void seed_random(int argc) { random_state = 0x9E3779B97F4A7C15ull * (uint64_t)(argc + 1); }

static inline uint64_t random_u64(void) { // xorshift64*, Vigna 2016
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545F4914F6CDD1Dull;
}

static inline uint32_t random_below(uint32_t bound) { return (uint32_t)((random_u64() >> 32) * bound >> 32); }

static inline double random_f64(void) { return (double)(random_u64() >> 11) * 0x1p-53; } // in [0, 1)

static inline void fill_f64(double *values, size_t count) {
    for (size_t i = 0; i < count; i++) values[i] = random_f64() - 0.5;
}

static inline void fill_f32(float *values, size_t count) {
    for (size_t i = 0; i < count; i++) values[i] = (float)(random_f64() - 0.5);
}

static inline void print_u64(const char *name, uint64_t value) { printf("%s %016llx\n", name, (unsigned long long)value); }

static inline void print_f64(const char *name, double value) { printf("%s %a\n", name, value); }

// All bits count: FNV-1a (Fowler, Noll, Vo) over 64-bit words, so that any difference anywhere shows.
static inline uint64_t hash_word(uint64_t hash, uint64_t word) { return (hash ^ word) * 0x100000001B3ull; }

static inline void print_bytes(const char *name, const void *bytes, size_t count) {
    uint64_t hash = 0xCBF29CE484222325ull, word = 0;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        memcpy(&word, (const char *)bytes + i, 8);
        hash = hash_word(hash, word);
    }
    word = 0;
    memcpy(&word, (const char *)bytes + i, count - i);
    print_u64(name, hash_word(hash, word));
}

// A hash for exact comparison, and eight of the values for comparison within a tolerance.
static inline void print_f64s(const char *name, const double *values, size_t count) {
    print_bytes(name, values, count * sizeof *values);
    for (size_t i = 0; i < 8 && i < count; i++) print_f64(name, values[count * i / 8]);
}

static inline void print_f32s(const char *name, const float *values, size_t count) {
    print_bytes(name, values, count * sizeof *values);
    for (size_t i = 0; i < 8 && i < count; i++) print_f64(name, values[count * i / 8]);
}

#endif
