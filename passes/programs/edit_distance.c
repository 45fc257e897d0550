// Edit distances: two long texts with two rows, and the nearest words of a dictionary. Tags: dynamic programming.
#include "harness.h"

enum {
    LENGTH = PICK(580, 1600, 3900),
    WORDS = PICK(120, 440, 1000),
    LONGEST = 24,
    LETTERS = 20,
    QUERIES = PICK(15, 20, 56)
};

typedef struct {
    uint8_t length;
    char letters[LONGEST];
} word;

static char first[LENGTH], second[LENGTH];
static word dictionary[WORDS], queries[QUERIES];

static int min3(int a, int b, int c) {
    int smaller = a < b ? a : b;
    return smaller < c ? smaller : c;
}

// Levenshtein's distance in two rows of the table; gives up with limit + 1 once it must exceed the limit.
static int distance(const char *a, int a_length, const char *b, int b_length, int limit, int *before, int *now) {
    for (int j = 0; j <= b_length; j++) before[j] = j;
    for (int i = 1; i <= a_length; i++) {
        int least = now[0] = i;
        for (int j = 1; j <= b_length; j++) {
            now[j] = min3(before[j] + 1, before[j - 1] + (a[i - 1] != b[j - 1]), now[j - 1] + 1);
            if (now[j] < least) least = now[j];
        }
        if (least > limit) return limit + 1;
        int *swap = before;
        before = now;
        now = swap;
    }
    return before[b_length];
}

static int compare_texts(void) {
    static int rows[2][LENGTH + 1];
    return distance(first, LENGTH, second, LENGTH, 2 * LENGTH, rows[0], rows[1]);
}

// The best so far is the limit for the words that follow. Returns the index in the lower bits, the distance above.
static uint64_t nearest(const word *query) {
    int rows[2][LONGEST + 1], best = 2 * LONGEST;
    uint64_t index = 0;
    for (int i = 0; i < WORDS; i++) {
        const word *entry = &dictionary[i];
        int d = distance(query->letters, query->length, entry->letters, entry->length, best, rows[0], rows[1]);
        if (d < best) {
            best = d;
            index = (uint64_t)i;
        }
    }
    return (uint64_t)best << 32 | index;
}

static uint64_t look_up_all(void) {
    uint64_t hash = 0;
    for (int i = 0; i < QUERIES; i++) hash = hash_word(hash, nearest(&queries[i]));
    return hash;
}

static void fill_text(char *text, size_t count) {
    for (size_t i = 0; i < count; i++) text[i] = (char)('a' + random_below(LETTERS));
}

static void build_words(word *words, int count) {
    for (int i = 0; i < count; i++) {
        words[i].length = (uint8_t)(8 + random_below(LONGEST - 7));
        fill_text(words[i].letters, words[i].length);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_text(first, LENGTH);
    fill_text(second, LENGTH);
    build_words(dictionary, WORDS);
    build_words(queries, QUERIES);
    print_u64("texts", (uint64_t)compare_texts());
    print_u64("words", look_up_all());
    print_u64("first word", nearest(&queries[0]));
    return 0;
}
