// CRCs one bit at a time: 32 bits (IEEE 802.3), 16 (CCITT), and 64 with any polynomial. Tags: hashing.
#include "harness.h"

enum { BYTES = PICK(16384, 65536, 131072), ROUNDS = PICK(1, 2, 12) };

struct checksums {
    uint64_t polynomial; // of the one with 64 bits
    uint64_t crc64;
    uint32_t crc32;
    uint16_t crc16;
};

static uint8_t data[BYTES];

static uint32_t crc32_update(uint32_t crc, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            if (crc & 1)
                crc = crc >> 1 ^ UINT32_C(0xEDB88320);
            else
                crc >>= 1;
        }
    }
    return crc;
}

static uint16_t crc16_update(uint16_t crc, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        crc = (uint16_t)(crc ^ bytes[i] << 8);
        for (int bit = 0; bit < 8; bit++) crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

static uint64_t crc64_update(uint64_t crc, uint64_t polynomial, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (int bit = 0; bit < 8; bit++) {
            uint64_t differs = (crc ^ (uint64_t)(bytes[i] >> bit)) & 1;
            crc >>= 1;
            if (differs) crc ^= polynomial;
        }
    return crc;
}

static uint32_t crc32(const void *bytes, size_t count) { return ~crc32_update(UINT32_MAX, bytes, count); }

static int known_answers_ok(void) {
    static const uint8_t digits[] = "123456789";
    uint16_t crc16 = crc16_update(0xFFFF, digits, 9);
    uint64_t crc64 = ~crc64_update(UINT64_MAX, UINT64_C(0xC96C5795D7870F42), digits, 9);
    return crc32(digits, 9) == UINT32_C(0xCBF43926) && crc16 == 0x29B1 && crc64 == UINT64_C(0x995DC9BBDF1939FA);
}

// Checksums of messages of growing lengths, each going on from the last one's.
static void checksum_messages(const uint8_t *bytes, size_t count, struct checksums *sums) {
    size_t length = 40;
    for (size_t start = 0; start < count; start += length, length += length / 4) {
        if (length > count - start) length = count - start;
        sums->crc32 = crc32_update(sums->crc32, bytes + start, length);
        sums->crc16 = crc16_update(sums->crc16, bytes + start, length / 4);
        sums->crc64 = crc64_update(sums->crc64, sums->polynomial, bytes + start, length);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (size_t i = 0; i < BYTES; i++) data[i] = (uint8_t)random_u64();
    struct checksums sums = {random_u64() | UINT64_C(1) << 63, UINT64_MAX, UINT32_MAX, 0xFFFF};
    for (int round = 0; round < ROUNDS; round++) checksum_messages(data, BYTES, &sums);
    print_u64("known_answers_ok", (uint64_t)known_answers_ok());
    print_u64("crc32", sums.crc32);
    print_u64("crc16", sums.crc16);
    print_u64("crc64", sums.crc64);
    return 0;
}
