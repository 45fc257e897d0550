// ChaCha20 (RFC 8439): a text encrypted under several nonces and decrypted again. Tags: crypto.
#include "harness.h"

enum { BYTES = PICK(16384, 65536, 262144), ROUNDS = PICK(2, 22, 56), WORDS = 16 };

struct cipher {
    uint32_t state[WORDS];
};

static uint8_t data[BYTES], original[BYTES];

static uint32_t rotate_left(uint32_t value, int by) { return value << by | value >> (32 - by); }

static void quarter_round(uint32_t *x, int a, int b, int c, int d) {
    x[a] += x[b];
    x[d] = rotate_left(x[d] ^ x[a], 16);
    x[c] += x[d];
    x[b] = rotate_left(x[b] ^ x[c], 12);
    x[a] += x[b];
    x[d] = rotate_left(x[d] ^ x[a], 8);
    x[c] += x[d];
    x[b] = rotate_left(x[b] ^ x[c], 7);
}

static uint32_t load_u32(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void start(struct cipher *cipher, const uint8_t key[32], const uint8_t nonce[12], uint32_t counter) {
    static const uint8_t sigma[] = "expand 32-byte k";
    for (int i = 0; i < 4; i++) cipher->state[i] = load_u32(sigma + 4 * i);
    for (int i = 0; i < 8; i++) cipher->state[4 + i] = load_u32(key + 4 * i);
    cipher->state[12] = counter;
    for (int i = 0; i < 3; i++) cipher->state[13 + i] = load_u32(nonce + 4 * i);
}

static void next_block(struct cipher *cipher, uint8_t stream[64]) {
    uint32_t x[WORDS];
    memcpy(x, cipher->state, sizeof x);
    for (int double_round = 0; double_round < 10; double_round++) {
        for (int i = 0; i < 4; i++) quarter_round(x, i, 4 + i, 8 + i, 12 + i);
        for (int i = 0; i < 4; i++) quarter_round(x, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
    }
    for (int i = 0; i < WORDS; i++) {
        uint32_t word = x[i] + cipher->state[i];
        for (int j = 0; j < 4; j++) stream[4 * i + j] = (uint8_t)(word >> 8 * j);
    }
    cipher->state[12]++;
}

static void apply(struct cipher *cipher, uint8_t *bytes, size_t count) {
    uint8_t stream[64];
    for (size_t i = 0; i < count; i++) {
        if (i % 64 == 0) next_block(cipher, stream);
        bytes[i] ^= stream[i % 64];
    }
}

static int known_answer_ok(void) {
    static const uint8_t nonce[12] = {0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0};
    static const uint8_t expected[16] = {0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15,
                                         0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4};
    struct cipher cipher;
    uint8_t key[32], stream[64];
    for (int i = 0; i < 32; i++) key[i] = (uint8_t)i;
    start(&cipher, key, nonce, 1);
    next_block(&cipher, stream);
    return memcmp(stream, expected, sizeof expected) == 0;
}

static void encrypt_rounds(const uint8_t key[32]) {
    for (int round = 0; round < ROUNDS / 2; round++) {
        struct cipher cipher;
        uint8_t nonce[12] = {(uint8_t)round};
        start(&cipher, key, nonce, (uint32_t)round);
        apply(&cipher, data, (size_t)(BYTES - round));
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < BYTES; i++) original[i] = data[i] = (uint8_t)random_u64();
    print_u64("known_answer_ok", (uint64_t)known_answer_ok());
    encrypt_rounds(original);
    print_bytes("data", data, BYTES);
    encrypt_rounds(original);
    print_u64("round_trip_ok", memcmp(data, original, BYTES) == 0);
    return 0;
}
