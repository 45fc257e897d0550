// Move-to-front coding followed by run lengths of zeros, and both undone. Tags: compression.
#include "harness.h"

enum { N = PICK(12000, 130000, 1000000), SYMBOLS = 256, ESCAPE = 255 };

static uint8_t text[N], ranks[N], packed[2 * N], ranks_back[N], unpacked[N];

static void reset_list(uint8_t *list) {
    for (int i = 0; i < SYMBOLS; i++) list[i] = (uint8_t)i;
}

static void move_up(uint8_t *list, int rank) {
    uint8_t symbol = list[rank];
    for (; rank > 0; rank--) list[rank] = list[rank - 1];
    list[0] = symbol;
}

static int rank_of(const uint8_t *list, uint8_t symbol) {
    int rank = 0;
    while (list[rank] != symbol) rank++;
    return rank;
}

static void move_to_front(uint8_t *to, const uint8_t *from, size_t count) {
    uint8_t list[SYMBOLS];
    reset_list(list);
    for (size_t i = 0; i < count; i++) {
        int rank = rank_of(list, from[i]);
        to[i] = (uint8_t)rank;
        move_up(list, rank);
    }
}

static void undo_move_to_front(uint8_t *to, const uint8_t *from, size_t count) {
    uint8_t list[SYMBOLS];
    reset_list(list);
    for (size_t i = 0; i < count; i++) {
        to[i] = list[from[i]];
        move_up(list, from[i]);
    }
}

// A run of zeros becomes 0 and its length less one; 254 and 255 are written after an escape.
static size_t pack_runs(uint8_t *to, const uint8_t *from, size_t count) {
    size_t size = 0, i = 0;
    while (i < count) {
        if (from[i] == 0) {
            size_t run = 1;
            while (run < 256 && i + run < count && from[i + run] == 0) run++;
            to[size++] = 0;
            to[size++] = (uint8_t)(run - 1);
            i += run;
        } else if (from[i] >= ESCAPE - 1) {
            to[size++] = ESCAPE;
            to[size++] = (uint8_t)(from[i++] - (ESCAPE - 1));
        } else {
            to[size++] = from[i++];
        }
    }
    return size;
}

static size_t unpack_runs(uint8_t *to, const uint8_t *from, size_t count) {
    size_t size = 0, i = 0;
    while (i < count) {
        uint8_t byte = from[i++];
        switch (byte) {
        case 0:
            for (int run = from[i++] + 1; run > 0; run--) to[size++] = 0;
            break;
        case ESCAPE:
            to[size++] = (uint8_t)(from[i++] + (ESCAPE - 1));
            break;
        default:
            to[size++] = byte;
        }
    }
    return size;
}

// Runs of a few symbols near a place that drifts, with a stray byte now and then.
static void make_text(void) {
    unsigned place = 40;
    for (size_t i = 0; i < N; i++) {
        uint64_t bits = random_u64();
        if ((bits & 255) == 0) place = (unsigned)(bits >> 8 & 255);
        if ((bits >> 16 & 3) == 0 || i == 0)
            text[i] = (uint8_t)(place + (bits >> 18 & 31));
        else
            text[i] = (bits >> 40 & 127) == 0 ? (uint8_t)(bits >> 48) : text[i - 1];
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    make_text();
    move_to_front(ranks, text, N);
    size_t size = pack_runs(packed, ranks, N);
    size_t back = unpack_runs(ranks_back, packed, size);
    undo_move_to_front(unpacked, ranks_back, back);
    print_u64("round_trip_ok", back == N && memcmp(text, unpacked, N) == 0);
    print_u64("size", size);
    print_bytes("packed", packed, size);
    return 0;
}
