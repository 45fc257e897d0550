// Knuth-Morris-Pratt search for periodic patterns, overlapping matches included. Tags: string search.
#include "harness.h"

enum { N = PICK(15000, 65000, 350000), PATTERNS = PICK(6, 12, 24), MAX_PATTERN = 24 };

struct pattern {
    char letters[MAX_PATTERN];
    int16_t border[MAX_PATTERN + 1]; // border[i]: the longest proper border of the first i letters
    int length;
};

static char text[N];
static struct pattern patterns[PATTERNS];

static void find_borders(struct pattern *pattern) {
    int border = -1;
    pattern->border[0] = -1;
    for (int i = 0; i < pattern->length; i++) {
        while (border >= 0 && pattern->letters[i] != pattern->letters[border]) border = pattern->border[border];
        pattern->border[i + 1] = (int16_t)++border;
    }
}

static uint64_t search(const char *in, int count, const struct pattern *pattern, uint64_t *places) {
    uint64_t found = 0;
    int matched = 0;
    for (int i = 0; i < count; i++) {
        while (matched >= 0 && in[i] != pattern->letters[matched]) matched = pattern->border[matched];
        if (++matched < pattern->length) continue;
        found++;
        *places = hash_word(*places, (uint64_t)(i + 1 - matched));
        matched = pattern->border[matched];
    }
    return found;
}

// Each pattern: the lengths of its prefixes that it ends with as well, down to none.
static int count_borders(const struct pattern *pattern) {
    int borders = 0;
    for (int length = pattern->border[pattern->length]; length > 0; length = pattern->border[length]) borders++;
    return borders;
}

// Letters mostly repeat what came a few places earlier, so that prefixes match often.
static void make_text(void) {
    int period = 3;
    for (int i = 0; i < N; i++) {
        uint64_t bits = random_u64();
        if ((bits & 15) == 0) period = 1 + (int)(bits >> 4 & 7);
        text[i] = i < 8 || (bits >> 8 & 7) == 0 ? (char)('a' + (bits >> 16 & 1)) : text[i - period];
    }
}

static void make_pattern(struct pattern *pattern, int number) {
    pattern->length = 5 + number % (MAX_PATTERN - 5);
    memcpy(pattern->letters, text + random_below(N - MAX_PATTERN), (size_t)pattern->length);
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    make_text();
    uint64_t places = 0, found = 0, borders = 0;
    for (int i = 0; i < PATTERNS; i++) {
        make_pattern(&patterns[i], i);
        find_borders(&patterns[i]);
        borders += (uint64_t)count_borders(&patterns[i]);
        found += search(text, N, &patterns[i], &places);
    }
    print_u64("found", found);
    print_u64("borders", borders);
    print_u64("places", places);
    return 0;
}
