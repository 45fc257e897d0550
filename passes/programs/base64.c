// Base64 (RFC 4648): texts of every length modulo three encoded, wrapped in lines, decoded again. Tags: parsing.
#include "harness.h"

enum { BYTES = PICK(12000, 60000, 200000), LINE = 76, ROUNDS = PICK(2, 20, 60), SKIP = 64, PAD = 65, BAD = 66 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint8_t data[BYTES], decoded[BYTES + 3], kinds[256];
static char encoded[BYTES * 2];

static void make_kinds(void) {
    memset(kinds, BAD, sizeof kinds);
    for (int i = 0; i < 64; i++) kinds[(uint8_t)alphabet[i]] = (uint8_t)i;
    kinds['='] = PAD;
    kinds['\n'] = kinds['\r'] = kinds[' '] = SKIP;
}

static void put_group(char *to, const uint8_t *from, size_t count) {
    uint32_t bits = (uint32_t)from[0] << 16;
    if (count > 1) bits |= (uint32_t)from[1] << 8;
    if (count > 2) bits |= from[2];
    for (size_t i = 0; i < 4; i++) to[i] = i <= count ? alphabet[bits >> (18 - 6 * i) & 63] : '=';
}

static size_t encode(char *to, const uint8_t *from, size_t count) {
    size_t length = 0, column = 0;
    for (size_t i = 0; i < count; i += 3) {
        put_group(to + length, from + i, count - i < 3 ? count - i : 3);
        length += 4;
        column += 4;
        if (column == LINE) {
            to[length++] = '\n';
            column = 0;
        }
    }
    return length;
}

static size_t decode(uint8_t *to, const char *from, size_t count, int *faults) {
    uint32_t bits = 0;
    int have = 0, padded = 0;
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t kind = kinds[(uint8_t)from[i]];
        switch (kind) {
        case SKIP:
            break;
        case PAD:
            padded++;
            break;
        case BAD:
            ++*faults;
            break;
        default:
            if (padded) ++*faults;
            bits = bits << 6 | kind;
            if (++have == 4) {
                for (int shift = 16; shift >= 0; shift -= 8) to[length++] = (uint8_t)(bits >> shift);
                have = 0;
            }
        }
    }
    if (have == 2) to[length++] = (uint8_t)(bits >> 4);
    if (have == 3) {
        to[length++] = (uint8_t)(bits >> 10);
        to[length++] = (uint8_t)(bits >> 2);
    }
    *faults += (have + padded) % 4 != 0;
    return length;
}

static int known_answer_ok(void) {
    char text[8];
    return encode(text, (const uint8_t *)"fooba", 5) == 8 && memcmp(text, "Zm9vYmE=", 8) == 0;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < BYTES; i++) data[i] = (uint8_t)random_u64();
    make_kinds();
    int faults = 0, round_trips = 0;
    size_t length = 0;
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = (size_t)(BYTES - round);
        length = encode(encoded, data, count);
        round_trips += decode(decoded, encoded, length, &faults) == count && memcmp(decoded, data, count) == 0;
        data[round] = (uint8_t)(data[round] + encoded[length - 6]);
    }
    print_u64("known_answer_ok", (uint64_t)known_answer_ok());
    print_u64("round_trip_ok", round_trips == ROUNDS);
    print_u64("faults", (uint64_t)faults);
    print_u64("length", length);
    print_bytes("encoded", encoded, length);
    return 0;
}
