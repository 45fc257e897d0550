// RC4 of packets, a key set up for each, encrypted and decrypted. Tags: crypto.
#include "harness.h"

enum { BYTES = PICK(32768, 262144, 1 << 20), PACKET = 1500, KEY_SIZE = 16, ROUNDS = PICK(1, 1, 4) };

struct cipher {
    uint8_t permutation[256];
    uint8_t i, j;
};

static uint8_t data[BYTES], original[BYTES];

static void swap(uint8_t *a, uint8_t *b) {
    uint8_t old = *a;
    *a = *b;
    *b = old;
}

static void set_key(struct cipher *cipher, const uint8_t *key, size_t size) {
    uint8_t j = 0;
    for (int i = 0; i < 256; i++) cipher->permutation[i] = (uint8_t)i;
    for (size_t i = 0; i < 256; i++) {
        j = (uint8_t)(j + cipher->permutation[i] + key[i % size]);
        swap(&cipher->permutation[i], &cipher->permutation[j]);
    }
    cipher->i = cipher->j = 0;
}

static uint8_t next_byte(struct cipher *cipher) {
    uint8_t *p = cipher->permutation;
    cipher->i++;
    cipher->j = (uint8_t)(cipher->j + p[cipher->i]);
    swap(&p[cipher->i], &p[cipher->j]);
    return p[(uint8_t)(p[cipher->i] + p[cipher->j])];
}

static void apply(struct cipher *cipher, uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) bytes[i] ^= next_byte(cipher);
}

// The packet's number goes into the key's first bytes.
static void apply_to_packets(uint8_t *bytes, size_t count, const uint8_t base_key[KEY_SIZE]) {
    uint8_t key[KEY_SIZE];
    memcpy(key, base_key, KEY_SIZE);
    for (size_t start = 0, number = 0; start < count; start += PACKET, number++) {
        struct cipher cipher;
        size_t size = count - start < PACKET ? count - start : PACKET;
        for (int i = 0; i < 3; i++) key[i] = (uint8_t)(number >> 8 * i);
        set_key(&cipher, key, KEY_SIZE);
        apply(&cipher, bytes + start, size);
    }
}

static int known_answer_ok(void) {
    static const uint8_t expected[9] = {0xBB, 0xF3, 0x16, 0xE8, 0xD9, 0x40, 0xAF, 0x0A, 0xD3};
    uint8_t text[9];
    struct cipher cipher;
    memcpy(text, "Plaintext", 9);
    set_key(&cipher, (const uint8_t *)"Key", 3);
    apply(&cipher, text, 9);
    return memcmp(text, expected, 9) == 0;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    uint8_t keys[ROUNDS][KEY_SIZE];
    for (int i = 0; i < ROUNDS * KEY_SIZE; i++) keys[i / KEY_SIZE][i % KEY_SIZE] = (uint8_t)random_u64();
    for (int i = 0; i < BYTES; i++)
        original[i] = data[i] = (uint8_t)(i % 8 ? original[i - 1] + 31 : (int)random_below(256));
    for (int round = 0; round < ROUNDS; round++) apply_to_packets(data, BYTES, keys[round]);
    print_u64("known_answer_ok", (uint64_t)known_answer_ok());
    print_bytes("data", data, BYTES);
    for (int round = 0; round < ROUNDS; round++) apply_to_packets(data, BYTES, keys[round]);
    print_u64("round_trip_ok", memcmp(data, original, BYTES) == 0);
    return 0;
}
