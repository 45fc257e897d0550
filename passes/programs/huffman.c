// Canonical Huffman coding: tree by a heap of nodes, encoding to bits, decoding bit by bit. Tags: compression.
#include "harness.h"

enum { N = PICK(10000, 150000, 1500000), SYMBOLS = 256, NODES = 2 * SYMBOLS, MAX_LENGTH = 32 };

struct code {
    uint32_t bits;
    uint8_t length;
};

static uint8_t text[N], packed[2 * N + 64], unpacked[N];
static uint32_t weight[NODES];
static int16_t parent[NODES], heap[NODES];

static int lighter(int a, int b) { return weight[a] != weight[b] ? weight[a] < weight[b] : a < b; }

static int pop_lightest(int *count) {
    int top = heap[0], node = heap[--*count], at = 0;
    for (int child = 1; child < *count; child = 2 * at + 1) {
        if (child + 1 < *count && lighter(heap[child + 1], heap[child])) child++;
        if (!lighter(heap[child], node)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = (int16_t)node;
    return top;
}

static void push(int *count, int node) {
    int at = (*count)++;
    for (; at > 0 && lighter(node, heap[(at - 1) / 2]); at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = (int16_t)node;
}

static void find_lengths(const uint32_t *frequencies, struct code *codes) {
    int count = 0, next = SYMBOLS;
    for (int symbol = 0; symbol < SYMBOLS; symbol++) {
        weight[symbol] = frequencies[symbol];
        if (frequencies[symbol]) push(&count, symbol);
    }
    while (count > 1) {
        int a = pop_lightest(&count), b = pop_lightest(&count);
        weight[next] = weight[a] + weight[b];
        parent[a] = parent[b] = (int16_t)next;
        push(&count, next++);
    }
    for (int symbol = 0; symbol < SYMBOLS; symbol++) {
        codes[symbol].length = 0;
        for (int node = symbol; frequencies[symbol] && node != next - 1; node = parent[node]) codes[symbol].length++;
    }
}

// Codes of one length follow each other; first[l] is the first code of length l, sorted[] lists symbols by code.
static void assign_codes(struct code *codes, uint32_t *first, uint32_t *counts, uint8_t *sorted) {
    uint32_t bits = 0;
    int listed = 0;
    for (int length = 1; length <= MAX_LENGTH; length++) {
        first[length] = bits;
        counts[length] = 0;
        for (int symbol = 0; symbol < SYMBOLS; symbol++) {
            if (codes[symbol].length != length) continue;
            codes[symbol].bits = bits++;
            sorted[listed++] = (uint8_t)symbol;
            counts[length]++;
        }
        bits <<= 1;
    }
}

static size_t encode(uint8_t *to, const uint8_t *from, size_t count, const struct code *codes) {
    size_t bytes = 0;
    uint64_t pending = 0;
    int pending_bits = 0;
    for (size_t i = 0; i < count; i++) {
        const struct code *code = &codes[from[i]];
        pending = pending << code->length | code->bits;
        for (pending_bits += code->length; pending_bits >= 8; pending_bits -= 8)
            to[bytes++] = (uint8_t)(pending >> (pending_bits - 8));
    }
    to[bytes++] = (uint8_t)(pending << (8 - pending_bits));
    return bytes;
}

static void decode(uint8_t *to, size_t count, const uint8_t *from, const uint32_t *first, const uint32_t *counts,
                   const uint8_t *sorted) {
    size_t bit = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = 0, skipped = 0;
        for (int length = 1; length <= MAX_LENGTH; length++, bit++) {
            bits = bits << 1 | (from[bit / 8] >> (7 - bit % 8) & 1);
            if (bits - first[length] < counts[length]) {
                to[i] = sorted[skipped + bits - first[length]];
                bit++;
                break;
            }
            skipped += counts[length];
        }
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (size_t i = 0; i < N; i++) {
        uint64_t bits = random_u64();
        text[i] = (uint8_t)(bits >> 8 & bits >> 16 & bits >> (24 + (bits & 15)));
    }
    uint32_t frequencies[SYMBOLS] = {0}, first[MAX_LENGTH + 1], counts[MAX_LENGTH + 1];
    struct code codes[SYMBOLS] = {{0, 0}};
    uint8_t sorted[SYMBOLS] = {0};
    for (size_t i = 0; i < N; i++) frequencies[text[i]]++;
    find_lengths(frequencies, codes);
    assign_codes(codes, first, counts, sorted);
    size_t size = encode(packed, text, N, codes);
    decode(unpacked, N, packed, first, counts, sorted);
    print_u64("round_trip_ok", memcmp(text, unpacked, N) == 0);
    print_u64("size", size);
    print_bytes("packed", packed, size);
    return 0;
}
