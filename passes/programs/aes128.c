// AES-128 (FIPS 197) with tables of 32-bit words made at the start, in counter mode. Tags: crypto.
#include "harness.h"

enum { BYTES = PICK(8192, 65536, 262144), ROUNDS = PICK(2, 10, 26) };

struct key_schedule {
    uint32_t words[44];
};

static uint8_t sbox[256], data[BYTES], original[BYTES];
static uint32_t tables[4][256];

static uint8_t times_two(uint8_t value) { return (uint8_t)(value << 1 ^ (value & 0x80 ? 0x1B : 0)); }

static uint32_t rotate_right(uint32_t value, int by) { return value >> by | value << (32 - by); }

static void make_tables(void) {
    uint8_t p = 1, q = 1; // q stays the inverse of p while p runs through the powers of 3
    do {
        p ^= times_two(p);
        for (int shift = 1; shift < 8; shift *= 2) q = (uint8_t)(q ^ q << shift);
        if (q & 0x80) q ^= 0x09;
        unsigned twice = q | (unsigned)q << 8;
        sbox[p] = (uint8_t)(q ^ twice >> 7 ^ twice >> 6 ^ twice >> 5 ^ twice >> 4 ^ 0x63);
    } while (p != 1);
    sbox[0] = 0x63;
    for (int i = 0; i < 256; i++) {
        uint8_t s = sbox[i], twice = times_two(s);
        uint32_t word = (uint32_t)twice << 24 | (uint32_t)s << 16 | (uint32_t)s << 8 | (uint32_t)(twice ^ s);
        for (int t = 0; t < 4; t++) tables[t][i] = t == 0 ? word : rotate_right(word, 8 * t);
    }
}

static uint32_t load(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint32_t substitute(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    return (uint32_t)sbox[a >> 24] << 24 | (uint32_t)sbox[b >> 16 & 255] << 16 | (uint32_t)sbox[c >> 8 & 255] << 8 |
           sbox[d & 255];
}

static void expand_key(struct key_schedule *schedule, const uint8_t key[16]) {
    uint32_t *words = schedule->words;
    uint8_t constant = 1;
    for (int i = 0; i < 4; i++) words[i] = load(key + 4 * i);
    for (int i = 4; i < 44; i++) {
        uint32_t word = words[i - 1];
        if (i % 4 == 0) {
            word = rotate_right(word, 24);
            word = substitute(word, word, word, word) ^ (uint32_t)constant << 24;
            constant = times_two(constant);
        }
        words[i] = words[i - 4] ^ word;
    }
}

static void encrypt_block(const struct key_schedule *schedule, uint8_t out[16], const uint8_t in[16]) {
    uint32_t state[4], next[4];
    for (int i = 0; i < 4; i++) state[i] = load(in + 4 * i) ^ schedule->words[i];
    for (int round = 1; round < 10; round++) {
        for (int i = 0; i < 4; i++)
            next[i] = tables[0][state[i] >> 24] ^ tables[1][state[(i + 1) % 4] >> 16 & 255] ^
                      tables[2][state[(i + 2) % 4] >> 8 & 255] ^ tables[3][state[(i + 3) % 4] & 255] ^
                      schedule->words[4 * round + i];
        for (int i = 0; i < 4; i++) state[i] = next[i];
    }
    for (int i = 0; i < 4; i++) {
        uint32_t word = substitute(state[i], state[(i + 1) % 4], state[(i + 2) % 4], state[(i + 3) % 4]);
        word ^= schedule->words[40 + i];
        for (int j = 0; j < 4; j++) out[4 * i + j] = (uint8_t)(word >> (24 - 8 * j));
    }
}

static void counter_mode(const struct key_schedule *schedule, uint8_t *bytes, size_t count, uint64_t nonce) {
    uint8_t counter[16], stream[16];
    for (int i = 0; i < 8; i++) counter[i] = (uint8_t)(nonce >> 8 * i);
    for (size_t start = 0; start < count; start += 16) {
        for (int i = 0; i < 8; i++) counter[15 - i] = (uint8_t)((uint64_t)start / 16 >> 8 * i);
        encrypt_block(schedule, stream, counter);
        for (size_t i = 0; i < 16 && start + i < count; i++) bytes[start + i] ^= stream[i];
    }
}

static int known_answer_ok(void) {
    static const uint8_t expected[16] = {0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30,
                                         0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a};
    struct key_schedule schedule;
    uint8_t key[16], block[16];
    for (int i = 0; i < 16; i++) {
        key[i] = (uint8_t)i;
        block[i] = (uint8_t)(17 * i);
    }
    expand_key(&schedule, key);
    encrypt_block(&schedule, block, block);
    return memcmp(block, expected, 16) == 0;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < BYTES; i++) original[i] = data[i] = (uint8_t)random_u64();
    struct key_schedule schedule;
    make_tables();
    expand_key(&schedule, original);
    print_u64("known_answer_ok", (uint64_t)known_answer_ok());
    for (int round = 0; round < ROUNDS / 2; round++) counter_mode(&schedule, data, BYTES - 5, (uint64_t)round);
    print_bytes("data", data, BYTES);
    for (int round = ROUNDS / 2; round-- > 0;) counter_mode(&schedule, data, BYTES - 5, (uint64_t)round);
    print_u64("round_trip_ok", memcmp(data, original, BYTES) == 0);
    return 0;
}
