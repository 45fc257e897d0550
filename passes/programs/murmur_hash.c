// MurmurHash3 (Appleby), the 32-bit variant, over keys of mixed lengths, and how evenly they spread. Tags: hashing.
#include "harness.h"

enum { POOL = 1 << 15, KEYS = PICK(2000, 10000, 20000), ROUNDS = PICK(4, 16, 75), BUCKETS = 256 };

struct key {
    uint16_t offset;
    uint16_t length;
};

static uint8_t pool[POOL];
static struct key keys[KEYS];
static uint32_t spread[BUCKETS];

static uint32_t rotate_left(uint32_t value, int by) { return value << by | value >> (32 - by); }

static uint32_t load_u32(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint32_t scramble(uint32_t word) { return rotate_left(word * UINT32_C(0xCC9E2D51), 15) * UINT32_C(0x1B873593); }

static uint32_t finish(uint32_t hash) {
    hash = (hash ^ hash >> 16) * UINT32_C(0x85EBCA6B);
    hash = (hash ^ hash >> 13) * UINT32_C(0xC2B2AE35);
    return hash ^ hash >> 16;
}

static uint32_t murmur3(const void *key, uint32_t length, uint32_t seed) {
    const uint8_t *bytes = key;
    uint32_t hash = seed, left = length;
    for (; left >= 4; left -= 4, bytes += 4) hash = rotate_left(hash ^ scramble(load_u32(bytes)), 13) * 5 + 0xE6546B64u;
    uint32_t tail = 0;
    switch (left) {
    case 3:
        tail ^= (uint32_t)bytes[2] << 16; // fall through
    case 2:
        tail ^= (uint32_t)bytes[1] << 8; // fall through
    case 1:
        hash ^= scramble(tail ^ bytes[0]);
    }
    return finish(hash ^ length);
}

static uint32_t hash_keys(uint32_t seed) {
    uint32_t mixed = 0;
    for (int i = 0; i < KEYS; i++) {
        uint32_t hash = murmur3(pool + keys[i].offset, keys[i].length, seed);
        spread[hash % BUCKETS]++;
        mixed = rotate_left(mixed, 5) ^ hash;
    }
    return mixed;
}

static int known_answers_ok(void) {
    return murmur3("", 0, 1) == UINT32_C(0x514E28B7) && murmur3("test", 4, 0) == UINT32_C(0xBA6BD213) &&
           murmur3("Hello, world!", 13, UINT32_C(0x9747B28C)) == UINT32_C(0x24884CBA);
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < POOL; i++) pool[i] = (uint8_t)random_u64();
    for (int i = 0; i < KEYS; i++) {
        keys[i].length = (uint16_t)random_below(80);
        keys[i].offset = (uint16_t)random_below(POOL - 80);
    }
    uint32_t mixed = 1;
    for (int round = 0; round < ROUNDS; round++) mixed = hash_keys(mixed);
    print_u64("known_answers_ok", (uint64_t)known_answers_ok());
    print_u64("mixed", mixed);
    print_bytes("spread", spread, sizeof spread);
    return 0;
}
