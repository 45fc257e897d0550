// SipHash-2-4 (Aumasson, Bernstein) of many short messages under changing keys. Tags: hashing.
#include "harness.h"

enum { BYTES = PICK(16384, 65536, 262144), ROUNDS = PICK(6, 50, 130) };

struct state {
    uint64_t v0, v1, v2, v3;
};

static uint8_t data[BYTES];

static uint64_t rotate_left(uint64_t value, int by) { return value << by | value >> (64 - by); }

static uint64_t load_u64(const uint8_t *bytes) {
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--) word = word << 8 | bytes[i];
    return word;
}

static void sip_round(struct state *s) {
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 = rotate_left(s->v2, 32);
}

static void absorb(struct state *s, uint64_t word) {
    s->v3 ^= word;
    for (int i = 0; i < 2; i++) sip_round(s);
    s->v0 ^= word;
}

static uint64_t siphash(const uint8_t *bytes, size_t count, const uint64_t key[2]) {
    struct state s = {key[0] ^ UINT64_C(0x736F6D6570736575), key[1] ^ UINT64_C(0x646F72616E646F6D),
                      key[0] ^ UINT64_C(0x6C7967656E657261), key[1] ^ UINT64_C(0x7465646279746573)};
    size_t whole = count / 8 * 8;
    for (size_t i = 0; i < whole; i += 8) absorb(&s, load_u64(bytes + i));
    uint64_t last = (uint64_t)count << 56;
    for (size_t i = whole; i < count; i++) last |= (uint64_t)bytes[i] << (i - whole) * 8;
    absorb(&s, last);
    s.v2 ^= 0xFF;
    for (int i = 0; i < 4; i++) sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

// The hash of each message becomes half of the next one's key.
static void hash_messages(uint64_t key[2]) {
    size_t start = 0;
    while (start < BYTES) {
        size_t length = 8 + (key[0] & 63);
        if (length > BYTES - start) length = BYTES - start;
        uint64_t hash = siphash(data + start, length, key);
        key[1] = key[0];
        key[0] = hash;
        start += length;
    }
}

static int known_answer_ok(void) {
    static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0F0E0D0C0B0A0908)};
    uint8_t message[15];
    for (uint8_t i = 0; i < 15; i++) message[i] = i;
    return siphash(message, 15, key) == UINT64_C(0xA129CA6149BE45E5);
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (size_t i = 0; i < BYTES; i++) data[i] = (uint8_t)random_u64();
    uint64_t key[2];
    for (int i = 0; i < 2; i++) key[i] = random_u64();
    for (int round = 0; round < ROUNDS; round++) hash_messages(key);
    print_u64("known_answer_ok", (uint64_t)known_answer_ok());
    print_u64("hash", key[0]);
    print_u64("previous", key[1]);
    return 0;
}
