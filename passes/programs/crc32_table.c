// CRC-32 (IEEE 802.3) with a table of 256 entries made at the start, over messages of many lengths. Tags: hashing.
#include "harness.h"

enum { BYTES = PICK(65536, 262144, 1 << 20), ROUNDS = PICK(2, 6, 15) };

static uint32_t table[256];
static uint8_t data[BYTES];

static void make_table(uint32_t polynomial) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ polynomial : crc >> 1;
        table[byte] = crc;
    }
}

static uint32_t update_byte(uint32_t crc, uint8_t byte) { return crc >> 8 ^ table[(crc ^ byte) & 0xFF]; }

static uint32_t update(uint32_t crc, const uint8_t *bytes, size_t count) {
    while (count-- > 0) crc = update_byte(crc, *bytes++);
    return crc;
}

static uint32_t crc32(const void *bytes, size_t count) { return ~update(UINT32_MAX, bytes, count); }

static void fill_data(void) {
    for (size_t i = 0; i < BYTES; i += 8) {
        uint64_t word = random_u64();
        memcpy(&data[i], &word, 8);
    }
}

// Splits the data into messages whose lengths come from the checksums so far.
static uint32_t checksum_messages(uint32_t crc, uint32_t *messages) {
    size_t start = 0;
    while (start < BYTES) {
        size_t length = 16 + (crc & 1023);
        if (length > BYTES - start) length = BYTES - start;
        crc ^= crc32(data + start, length);
        start += length;
        ++*messages;
    }
    return crc;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_data();
    make_table(UINT32_C(0xEDB88320));
    uint32_t crc = 0, messages = 0;
    for (int round = 0; round < ROUNDS; round++) crc = checksum_messages(crc, &messages);
    print_u64("known_answer_ok", crc32("123456789", 9) == UINT32_C(0xCBF43926));
    print_u64("messages", messages);
    print_u64("crc", crc);
    print_u64("whole", crc32(data, BYTES));
    return 0;
}
