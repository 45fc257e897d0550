// LZ77 with hash chains over a sliding window, compressed to bytes and back. Tags: compression.
#include "harness.h"

enum {
    N = PICK(15000, 200000, 2000000), WINDOW = 1 << 14, HASH_SIZE = 1 << 12, MIN_MATCH = 4, MAX_MATCH = MIN_MATCH + 127,
    MAX_CHAIN = 16, MAX_LITERALS = 127, NONE = -1
};

struct match {
    int length;
    int distance;
};

static uint8_t text[N], packed[N + N / MAX_LITERALS + 2], unpacked[N];
static int32_t newest[HASH_SIZE], older[WINDOW];

static unsigned hash_at(const uint8_t *at) {
    uint32_t word = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    return word * UINT32_C(2654435761) >> 20;
}

static void remember(const uint8_t *from, int position) {
    unsigned hash = hash_at(from + position);
    older[position % WINDOW] = newest[hash];
    newest[hash] = position;
}

static int common_length(const uint8_t *a, const uint8_t *b, int limit) {
    int length = 0;
    while (length < limit && a[length] == b[length]) length++;
    return length;
}

static struct match longest_match(const uint8_t *from, int position, int count) {
    struct match best = {0, 0};
    int limit = count - position < MAX_MATCH ? count - position : MAX_MATCH;
    int candidate = newest[hash_at(from + position)];
    for (int tries = 0; tries < MAX_CHAIN && candidate != NONE && position - candidate < WINDOW; tries++) {
        int length = common_length(from + candidate, from + position, limit);
        if (length > best.length) best = (struct match){length, position - candidate};
        candidate = older[candidate % WINDOW];
    }
    return best;
}

static uint8_t *put_literals(uint8_t *to, const uint8_t *from, int count) {
    while (count > 0) {
        int part = count < MAX_LITERALS ? count : MAX_LITERALS;
        *to++ = (uint8_t)part;
        for (int i = 0; i < part; i++) *to++ = *from++;
        count -= part;
    }
    return to;
}

static int compress(uint8_t *to, const uint8_t *from, int count) {
    uint8_t *start = to;
    int position = 0, literals = 0; // the literals lie just before the position
    for (int i = 0; i < HASH_SIZE; i++) newest[i] = NONE;
    while (position + MIN_MATCH <= count) {
        struct match match = longest_match(from, position, count);
        if (match.length < MIN_MATCH) {
            remember(from, position++);
            literals++;
            continue;
        }
        to = put_literals(to, from + position - literals, literals);
        literals = 0;
        *to++ = (uint8_t)(0x80 | (match.length - MIN_MATCH));
        *to++ = (uint8_t)match.distance;
        *to++ = (uint8_t)(match.distance >> 8);
        for (int end = position + match.length; position < end; position++)
            if (position + MIN_MATCH <= count) remember(from, position);
    }
    to = put_literals(to, from + position - literals, literals + count - position);
    return (int)(to - start);
}

static int decompress(uint8_t *to, const uint8_t *from, int count) {
    uint8_t *start = to;
    for (const uint8_t *end = from + count; from < end;) {
        int head = *from++;
        if (head & 0x80) {
            int distance = from[0] | from[1] << 8;
            from += 2;
            for (int left = (head & 0x7F) + MIN_MATCH; left > 0; left--, to++) *to = to[-distance];
        } else {
            while (head-- > 0) *to++ = *from++;
        }
    }
    return (int)(to - start);
}

static void make_text(void) {
    char words[256][8];
    for (int word = 0; word < 256; word++)
        for (int i = 0; i < 8; i++) words[word][i] = (char)(random_below(7) ? 'a' + (int)random_below(20) : ' ');
    for (int at = 0; at < N;) {
        const char *word = words[random_below(2) ? random_below(16) : random_below(256)];
        for (int i = 0; i < 8 && at < N; i++) text[at++] = (uint8_t)word[i];
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    make_text();
    int size = compress(packed, text, N);
    int back = decompress(unpacked, packed, size);
    print_u64("round_trip_ok", back == N && memcmp(text, unpacked, N) == 0);
    print_u64("size", (uint64_t)size);
    print_bytes("packed", packed, (size_t)size);
    return 0;
}
