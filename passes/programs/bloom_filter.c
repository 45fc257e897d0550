// Bloom filter over short strings with double hashing: members, strangers and the false positives. Tags: hashing.
#include "harness.h"

enum {
    KEYS = PICK(1000, 10000, 40000), KEY_SIZE = 16, BITS = 1 << PICK(14, 17, 19), PROBES = 7, ROUNDS = PICK(4, 6, 14)
};

struct filter {
    uint64_t words[BITS / 64];
    uint32_t added;
};

static struct filter filter;
static char keys[2 * KEYS][KEY_SIZE];

static uint64_t hash_key(const char *key, uint64_t seed) {
    uint64_t hash = UINT64_C(0xCBF29CE484222325) ^ seed;
    for (; *key; key++) hash = (hash ^ (uint8_t)*key) * UINT64_C(0x100000001B3);
    return hash ^ hash >> 29;
}

static uint32_t probe(uint64_t hash, int number) {
    uint32_t first = (uint32_t)hash, second = (uint32_t)(hash >> 32) | 1;
    return (first + (uint32_t)number * second) % BITS;
}

static void filter_add(struct filter *to, const char *key, uint64_t seed) {
    uint64_t hash = hash_key(key, seed);
    for (int i = 0; i < PROBES; i++) {
        uint32_t bit = probe(hash, i);
        to->words[bit / 64] |= UINT64_C(1) << bit % 64;
    }
    to->added++;
}

static int filter_has(const struct filter *in, const char *key, uint64_t seed) {
    uint64_t hash = hash_key(key, seed);
    for (int i = 0; i < PROBES; i++) {
        uint32_t bit = probe(hash, i);
        if (!(in->words[bit / 64] >> bit % 64 & 1)) return 0;
    }
    return 1;
}

static uint32_t count_set(const struct filter *in) {
    uint32_t set = 0;
    for (int i = 0; i < BITS / 64; i++)
        for (uint64_t word = in->words[i]; word; word &= word - 1) set++;
    return set;
}

static void make_key(char *key) {
    uint64_t bits = random_u64();
    int length = 6 + (int)(bits % (KEY_SIZE - 6));
    for (int i = 0; i < length; i++, bits >>= 4) key[i] = (char)('a' + bits % 16);
    key[length] = 0;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < 2 * KEYS; i++) make_key(keys[i]);
    uint64_t members = 0, false_positives = 0, set = 0;
    for (int round = 0; round < ROUNDS; round++) {
        memset(&filter, 0, sizeof filter);
        uint64_t seed = set * (uint64_t)argc;
        for (int i = 0; i < KEYS; i++) filter_add(&filter, keys[i], seed);
        for (int i = 0; i < KEYS; i++) members += (uint64_t)filter_has(&filter, keys[i], seed);
        for (int i = KEYS; i < 2 * KEYS; i++) false_positives += (uint64_t)filter_has(&filter, keys[i], seed);
        set += count_set(&filter);
    }
    print_u64("none_missing", members == (uint64_t)KEYS * ROUNDS);
    print_u64("false_positives", false_positives);
    print_u64("set", set);
    print_bytes("filter", filter.words, sizeof filter.words);
    return 0;
}
