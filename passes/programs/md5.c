// MD5 (RFC 1321) of messages that each take in the digest of the one before. Tags: crypto.
#include "harness.h"

enum { BYTES = PICK(16384, 65536, 262144), ROUNDS = PICK(6, 20, 50) };

static const uint32_t constants[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};
static const uint8_t shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static uint8_t data[BYTES];

static uint32_t rotate_left(uint32_t value, int by) { return value << by | value >> (32 - by); }

static uint32_t load_u32(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void compress(uint32_t state[4], const uint8_t *block) {
    uint32_t words[16], a = state[0], b = state[1], c = state[2], d = state[3];
    for (int i = 0; i < 16; i++) words[i] = load_u32(block + 4 * i);
    for (int i = 0; i < 64; i++) {
        uint32_t mixed;
        int word;
        switch (i / 16) {
        case 0:
            mixed = (b & c) | (~b & d);
            word = i;
            break;
        case 1:
            mixed = (d & b) | (~d & c);
            word = (5 * i + 1) % 16;
            break;
        case 2:
            mixed = b ^ c ^ d;
            word = (3 * i + 5) % 16;
            break;
        default:
            mixed = c ^ (b | ~d);
            word = 7 * i % 16;
        }
        mixed += a + constants[i] + words[word];
        a = d;
        d = c;
        c = b;
        b += rotate_left(mixed, shifts[i / 16][i % 4]);
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
}

static void md5(uint8_t digest[16], const uint8_t *message, size_t count) {
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    uint8_t last[128] = {0};
    size_t whole = count / 64 * 64, rest = count - whole, padded = rest < 56 ? 64 : 128;
    for (size_t i = 0; i < whole; i += 64) compress(state, message + i);
    for (size_t i = 0; i < rest; i++) last[i] = message[whole + i];
    last[rest] = 0x80;
    for (size_t i = 0; i < 8; i++) last[padded - 8 + i] = (uint8_t)((uint64_t)count * 8 >> 8 * i);
    for (size_t i = 0; i < padded; i += 64) compress(state, last + i);
    for (int i = 0; i < 16; i++) digest[i] = (uint8_t)(state[i / 4] >> 8 * (i % 4));
}

static int known_answer_ok(void) {
    static const uint8_t expected[16] = {0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0,
                                         0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1, 0x7f, 0x72};
    uint8_t digest[16];
    md5(digest, (const uint8_t *)"abc", 3);
    return memcmp(digest, expected, 16) == 0;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (size_t i = 0; i < BYTES; i++) data[i] = (uint8_t)random_u64();
    for (int round = 0; round < ROUNDS; round++) md5(data + 16 * round, data, BYTES - (size_t)round * 100);
    print_u64("known_answer_ok", (uint64_t)known_answer_ok());
    print_bytes("digest", data + 16 * (ROUNDS - 1), 16);
    return 0;
}
