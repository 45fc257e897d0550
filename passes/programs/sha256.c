// SHA-256 (FIPS 180-4) of chained messages of several lengths. Tags: crypto.
#include "harness.h"

enum { BYTES = PICK(16384, 65536, 262144), ROUNDS = PICK(2, 12, 24) };

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint8_t data[BYTES];

static uint32_t rotate_right(uint32_t value, int by) { return value >> by | value << (32 - by); }

static uint32_t load_big_endian(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void store_big_endian(uint8_t *bytes, uint32_t word) {
    for (int i = 3; i >= 0; i--, word >>= 8) bytes[i] = (uint8_t)word;
}

static void compress(uint32_t state[8], const uint8_t *block) {
    uint32_t schedule[64], v[8];
    for (int i = 0; i < 16; i++) schedule[i] = load_big_endian(block + 4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t near = schedule[i - 2], far = schedule[i - 15];
        uint32_t s1 = rotate_right(near, 17) ^ rotate_right(near, 19) ^ near >> 10;
        uint32_t s0 = rotate_right(far, 7) ^ rotate_right(far, 18) ^ far >> 3;
        schedule[i] = s1 + schedule[i - 7] + s0 + schedule[i - 16];
    }
    for (int i = 0; i < 8; i++) v[i] = state[i];
    for (int i = 0; i < 64; i++) {
        uint32_t sum1 = rotate_right(v[4], 6) ^ rotate_right(v[4], 11) ^ rotate_right(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t add = v[7] + sum1 + choice + constants[i] + schedule[i];
        uint32_t sum0 = rotate_right(v[0], 2) ^ rotate_right(v[0], 13) ^ rotate_right(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        for (int j = 7; j > 0; j--) v[j] = v[j - 1];
        v[4] += add;
        v[0] = add + sum0 + majority;
    }
    for (int i = 0; i < 8; i++) state[i] += v[i];
}

static void sha256(uint8_t digest[32], const uint8_t *message, size_t count) {
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t last[128] = {0};
    size_t whole = count / 64 * 64, rest = count - whole, padded = rest < 56 ? 64 : 128;
    for (size_t i = 0; i < whole; i += 64) compress(state, message + i);
    for (size_t i = 0; i < rest; i++) last[i] = message[whole + i];
    last[rest] = 0x80;
    for (size_t i = 0; i < 8; i++) last[padded - 1 - i] = (uint8_t)((uint64_t)count * 8 >> 8 * i);
    for (size_t i = 0; i < padded; i += 64) compress(state, last + i);
    for (int i = 0; i < 8; i++) store_big_endian(digest + 4 * i, state[i]);
}

static int known_answers_ok(void) {
    static const uint8_t of_abc[8] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
    static const uint8_t of_nothing[8] = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14};
    uint8_t a[32], b[32];
    sha256(a, (const uint8_t *)"abc", 3);
    sha256(b, (const uint8_t *)"", 0);
    return memcmp(a, of_abc, 8) == 0 && memcmp(b, of_nothing, 8) == 0;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (size_t i = 0; i < BYTES; i++) data[i] = (uint8_t)random_u64();
    for (int round = 0; round < ROUNDS; round++) // each digest becomes part of the next message
        sha256(data + 37 * round, data, BYTES - (size_t)(1000 * (round % 5)));
    print_u64("known_answers_ok", (uint64_t)known_answers_ok());
    print_bytes("digest", data + 37 * (ROUNDS - 1), 32);
    return 0;
}
