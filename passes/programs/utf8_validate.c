// UTF-8 checked by decoding, code points counted by kind, in text more and more damaged. Tags: parsing.
#include "harness.h"

enum { CAPACITY = PICK(16384, 65536, 262144), ROUNDS = PICK(4, 10, 26), INVALID = -1 };

struct counts {
    uint64_t characters;
    uint64_t letters;
    uint64_t wide; // beyond the basic multilingual plane
    uint64_t invalid;
    uint64_t sum;
};

static uint8_t text[CAPACITY];

static int sequence_length(uint8_t lead) {
    if (lead < 0x80) return 1;
    if (lead >= 0xC2 && lead <= 0xDF) return 2;
    if (lead >= 0xE0 && lead <= 0xEF) return 3;
    if (lead >= 0xF0 && lead <= 0xF4) return 4;
    return 0;
}

// Decodes one code point; an invalid sequence takes up one byte.
static int32_t decode(const uint8_t *at, size_t left, size_t *used) {
    static const int32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    int length = sequence_length(*at);
    *used = 1;
    if (length == 1) return *at;
    if (length == 0 || (size_t)length > left) return INVALID;
    int32_t point = *at & (0x7F >> length);
    for (int i = 1; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80) return INVALID;
        point = point << 6 | (at[i] & 0x3F);
    }
    if (point < smallest[length] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return INVALID;
    *used = (size_t)length;
    return point;
}

static int is_letter(int32_t point) {
    if (point < 0x80) return (point >= 'a' && point <= 'z') || (point >= 'A' && point <= 'Z');
    return (point >= 0xC0 && point <= 0x24F) || (point >= 0x391 && point <= 0x3C9) ||
           (point >= 0x410 && point <= 0x44F);
}

static void count_points(const uint8_t *bytes, size_t count, struct counts *counts) {
    size_t used;
    for (size_t i = 0; i < count; i += used) {
        int32_t point = decode(bytes + i, count - i, &used);
        if (point == INVALID) {
            counts->invalid++;
            continue;
        }
        counts->characters++;
        counts->letters += (uint64_t)is_letter(point);
        counts->wide += point > 0xFFFF;
        counts->sum = counts->sum * 3 + (uint64_t)point;
    }
}

static size_t encode(uint8_t *to, uint32_t point) {
    size_t length = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, point >>= 6) to[i] = (uint8_t)(0x80 | (point & 0x3F));
    to[0] = (uint8_t)(length == 1 ? point : (0xF00u >> length & 0xFF) | point);
    return length;
}

static uint32_t random_point(void) {
    switch (random_below(8)) {
    case 0: return 0xC0 + random_below(0x180);
    case 1: return 0x391 + random_below(0xC0);
    case 2: return 0x3041 + random_below(0x4000);
    case 3: return 0x1F300 + random_below(0x300);
    default: return ' ' + random_below(95);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    size_t length = 0;
    while (length < CAPACITY - 4) length += encode(text + length, random_point());
    struct counts counts = {0, 0, 0, 0, 0};
    count_points(text, length, &counts);
    print_u64("valid_at_first", counts.invalid == 0);
    for (int round = 1; round < ROUNDS; round++) {
        for (int i = 0; i < 8; i++) {
            uint8_t *damaged = &text[random_below((uint32_t)length)];
            *damaged ^= (uint8_t)(1 << random_below(8));
        }
        count_points(text, length, &counts);
    }
    print_u64("characters", counts.characters);
    print_u64("letters", counts.letters);
    print_u64("wide", counts.wide);
    print_u64("invalid", counts.invalid);
    print_u64("sum", counts.sum);
    return 0;
}
