// Burrows-Wheeler transform by sorting rotations, block by block, and its inverse. Tags: compression.
#include "harness.h"

enum { BLOCK = PICK(1500, 6000, 20000), BLOCKS = PICK(1, 4, 8), N = BLOCK * BLOCKS };

static uint8_t text[N], transformed[N], restored[N];
static uint32_t rotations[BLOCK], scratch[BLOCK], previous[BLOCK];

static int compare_rotations(const uint8_t *block, uint32_t a, uint32_t b) {
    for (int i = 0; i < BLOCK; i++) {
        if (block[a] != block[b]) return block[a] < block[b] ? -1 : 1;
        if (++a == BLOCK) a = 0;
        if (++b == BLOCK) b = 0;
    }
    return 0;
}

static void sort_rotations(const uint8_t *block, uint32_t *from, uint32_t *work, uint32_t count) {
    if (count < 2) return;
    uint32_t half = count / 2, left = 0, right = half;
    sort_rotations(block, from, work, half);
    sort_rotations(block, from + half, work + half, count - half);
    for (uint32_t i = 0; i < count; i++) {
        int take_left = right == count || (left < half && compare_rotations(block, from[left], from[right]) <= 0);
        work[i] = take_left ? from[left++] : from[right++];
    }
    memcpy(from, work, count * sizeof *from);
}

static uint32_t transform(uint8_t *to, const uint8_t *block) {
    uint32_t origin = 0;
    for (uint32_t i = 0; i < BLOCK; i++) rotations[i] = i;
    sort_rotations(block, rotations, scratch, BLOCK);
    for (uint32_t i = 0; i < BLOCK; i++) {
        uint32_t rotation = rotations[i];
        if (rotation == 0) origin = i;
        to[i] = block[rotation == 0 ? BLOCK - 1 : rotation - 1];
    }
    return origin;
}

static void inverse(uint8_t *to, const uint8_t *from, uint32_t origin) {
    uint32_t starts[256] = {0}, start = 0;
    for (int i = 0; i < BLOCK; i++) starts[from[i]]++;
    for (int byte = 0; byte < 256; byte++) {
        uint32_t count = starts[byte];
        starts[byte] = start;
        start += count;
    }
    for (int i = 0; i < BLOCK; i++) previous[i] = starts[from[i]]++;
    uint32_t at = origin;
    for (int i = BLOCK - 1; i >= 0; i--) {
        to[i] = from[at];
        at = previous[at];
    }
}

static int count_runs(const uint8_t *bytes, int count) {
    int runs = 1;
    for (int i = 1; i < count; i++) runs += bytes[i] != bytes[i - 1];
    return runs;
}

// Words of a small vocabulary, so that many rotations begin alike.
static void make_text(void) {
    for (int at = 0; at < N;) {
        uint32_t word = random_below(60);
        int length = 2 + (int)(word % 5);
        for (int i = 0; i < length && at < N; i++, at++)
            text[at] = (uint8_t)('a' + (word * 7 + (uint32_t)i * (word + 3)) % 20);
        if (at < N) text[at++] = ' ';
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    make_text();
    for (int start = 0; start < N; start += BLOCK) {
        uint32_t origin = transform(transformed + start, text + start);
        inverse(restored + start, transformed + start, origin);
        print_u64("origin", origin);
    }
    print_u64("round_trip_ok", memcmp(text, restored, N) == 0);
    print_u64("runs_before", (uint64_t)count_runs(text, N));
    print_u64("runs_after", (uint64_t)count_runs(transformed, N));
    print_bytes("transformed", transformed, N);
    return 0;
}
