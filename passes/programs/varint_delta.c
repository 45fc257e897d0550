// Differences of order 0 to 3 of a time series, zigzag and variable-length coded, and decoded again. Tags: compression.
#include "harness.h"

enum { N = PICK(4000, 130000, 1200000), MAX_BYTES = 10, ORDERS = 4 };

static int64_t series[N], decoded[N];
static uint8_t packed[(size_t)N * MAX_BYTES];

static uint64_t zigzag(int64_t value) { return (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0); }

static int64_t unzigzag(uint64_t value) { return (int64_t)(value >> 1 ^ (value & 1 ? UINT64_MAX : 0)); }

static uint8_t *put_varint(uint8_t *to, uint64_t value) {
    while (value >= 0x80) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}

static const uint8_t *get_varint(const uint8_t *from, uint64_t *value) {
    uint64_t bits = 0;
    int shift = 0;
    while (*from & 0x80) {
        bits |= (uint64_t)(*from++ & 0x7F) << shift;
        shift += 7;
    }
    *value = bits | (uint64_t)*from++ << shift;
    return from;
}

// last[k] holds the last difference of order k.
static int64_t difference(int64_t value, int64_t *last, int order) {
    for (int k = 0; k < order; k++) {
        int64_t change = value - last[k];
        last[k] = value;
        value = change;
    }
    return value;
}

static int64_t integrate(int64_t change, int64_t *last, int order) {
    for (int k = order - 1; k >= 0; k--) {
        last[k] += change;
        change = last[k];
    }
    return change;
}

static size_t encode(uint8_t *to, const int64_t *from, size_t count, int order) {
    int64_t last[ORDERS] = {0};
    uint8_t *start = to;
    for (size_t i = 0; i < count; i++) to = put_varint(to, zigzag(difference(from[i], last, order)));
    return (size_t)(to - start);
}

static const uint8_t *decode(int64_t *to, size_t count, const uint8_t *from, int order) {
    int64_t last[ORDERS] = {0};
    for (size_t i = 0; i < count; i++) {
        uint64_t bits;
        from = get_varint(from, &bits);
        to[i] = integrate(unzigzag(bits), last, order);
    }
    return from;
}

static void make_series(void) {
    int64_t value = INT64_C(1700000000000), speed = 1000;
    for (size_t i = 0; i < N; i++) {
        uint64_t bits = random_u64();
        speed += (int64_t)(bits & 63) - 31 - speed / 512;
        value += speed + ((bits & 0xFFF00) == 0 ? (int64_t)(bits >> 40) : 0);
        series[i] = value;
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    make_series();
    int round_trips = 0;
    for (int order = 0; order < ORDERS; order++) {
        size_t size = encode(packed, series, N, order);
        const uint8_t *end = decode(decoded, N, packed, order);
        round_trips += end == packed + size && memcmp(series, decoded, sizeof series) == 0;
        print_u64("size", size);
        print_bytes("packed", packed, size);
    }
    print_u64("round_trip_ok", round_trips == ORDERS);
    return 0;
}
