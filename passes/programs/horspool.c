// Boyer-Moore-Horspool search of text for many words, with and without regard to case. Tags: string search.
#include "harness.h"

enum { N = PICK(20000, 60000, 200000), WORDS = PICK(12, 34, 100), MAX_WORD = 16, ALPHABET = 256 };

static uint8_t text[N];

static uint8_t same(uint8_t c) { return c; }

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c; }

static void make_shifts(int *shifts, const uint8_t *word, int length, uint8_t (*fold)(uint8_t)) {
    int last[ALPHABET];
    for (int i = 0; i < ALPHABET; i++) last[i] = length;
    for (int i = 0; i < length - 1; i++) last[fold(word[i])] = length - 1 - i;
    for (int i = 0; i < ALPHABET; i++) shifts[i] = last[fold((uint8_t)i)];
}

static int matches(const uint8_t *at, const uint8_t *word, int length) {
    int i = length - 1;
    while (i >= 0 && at[i] == word[i]) i--;
    return i < 0;
}

static int matches_folded(const uint8_t *at, const uint8_t *word, int length) {
    for (int i = length - 1; i >= 0; i--)
        if (lower(at[i]) != lower(word[i])) return 0;
    return 1;
}

static uint32_t search(const uint8_t *in, int count, const uint8_t *word, int length, const int *shifts,
                       int (*match)(const uint8_t *, const uint8_t *, int), uint64_t *places) {
    uint32_t found = 0;
    for (int at = 0; at + length <= count; at += shifts[in[at + length - 1]]) {
        if (!match(in + at, word, length)) continue;
        found++;
        *places = hash_word(*places, (uint64_t)at);
    }
    return found;
}

static void make_text(void) {
    for (int i = 0; i < N; i++) {
        uint64_t bits = random_u64();
        uint8_t letter = (uint8_t)('a' + (bits & 3) + (bits >> 2 & bits >> 6 & 15));
        text[i] = (bits >> 12 & 7) == 0 ? ' ' : (bits >> 16 & 3) == 0 ? (uint8_t)(letter + 'A' - 'a') : letter;
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    make_text();
    uint64_t places = 0, exact = 0, folded = 0;
    for (int i = 0; i < WORDS; i++) {
        uint8_t word[MAX_WORD];
        int length = 3 + i % (MAX_WORD - 3), shifts[ALPHABET];
        memcpy(word, text + random_below(N - MAX_WORD), (size_t)length);
        if (i % 5 == 0) word[random_below((uint32_t)length)] = 'q';
        make_shifts(shifts, word, length, same);
        exact += search(text, N, word, length, shifts, matches, &places);
        make_shifts(shifts, word, length, lower);
        folded += search(text, N, word, length, shifts, matches_folded, &places);
    }
    print_u64("exact", exact);
    print_u64("folded", folded);
    print_u64("places", places);
    return 0;
}
