// Regular expressions with classes and repetition, matched by backtracking over short lines. Tags: string search.
#include "harness.h"

enum { LINES = PICK(60, 450, 4000), LINE_SIZE = 64, UNLIMITED = 1000 };

static char lines[LINES][LINE_SIZE];

static const char *const patterns[] = {
    "a.*b.*c", "^[a-c]+d?",     "[^ ]+ [a-d]*a$",   "\\d+\\.\\d*", "e[^ax]+e?", "c[a-b]*c[a-b]*c[a-b]*d",
    "x*x*x*y", "ab?c?d?[0-9]+", "^.*[b-d]+.*\\d$", " \\w+ \\w+ ", "a+b+a+",    ".a.b.",
};

enum { PATTERNS = sizeof patterns / sizeof patterns[0] };

static const char *match_here(const char *pattern, const char *text);

// The length of the first element of a pattern: a character, an escape or a class.
static int element_length(const char *pattern) {
    if (pattern[0] == '\\' && pattern[1]) return 2;
    if (pattern[0] != '[') return 1;
    int length = 2;
    while (pattern[length] && pattern[length] != ']') length++;
    return length + 1;
}

static int is_digit(char c) { return c >= '0' && c <= '9'; }

static int in_class(const char *element, int length, char c) {
    int i = 1, negated = element[1] == '^', inside = 0;
    if (negated) i++;
    for (; i < length - 1; i++) {
        if (element[i + 1] == '-' && i + 2 < length - 1) {
            if (c >= element[i] && c <= element[i + 2]) inside = 1;
            i += 2;
        } else if (element[i] == c) {
            inside = 1;
        }
    }
    return inside != negated;
}

static int matches_one(const char *element, int length, char c) {
    switch (element[0]) {
    case '.': return 1;
    case '[': return in_class(element, length, c);
    case '\\':
        if (element[1] == 'd') return is_digit(c);
        if (element[1] == 'w') return is_digit(c) || (c >= 'a' && c <= 'z');
        return c == element[1];
    default: return c == element[0];
    }
}

static const char *match_repeated(const char *element, int length, int least, int most, const char *rest,
                                  const char *text) {
    int count = 0;
    while (count < most && text[count] && matches_one(element, length, text[count])) count++;
    for (; count >= least; count--) {
        const char *end = match_here(rest, text + count);
        if (end) return end;
    }
    return NULL;
}

static const char *match_here(const char *pattern, const char *text) {
    if (pattern[0] == '\0') return text;
    if (pattern[0] == '$' && pattern[1] == '\0') return *text ? NULL : text;
    int length = element_length(pattern);
    switch (pattern[length]) {
    case '*': return match_repeated(pattern, length, 0, UNLIMITED, pattern + length + 1, text);
    case '+': return match_repeated(pattern, length, 1, UNLIMITED, pattern + length + 1, text);
    case '?': return match_repeated(pattern, length, 0, 1, pattern + length + 1, text);
    default: return match_repeated(pattern, length, 1, 1, pattern + length, text);
    }
}

// The first match, from left to right; its place and length go into the hash.
static int match(const char *pattern, const char *text, uint64_t *hash) {
    int anchored = pattern[0] == '^';
    for (const char *start = text;; start++) {
        const char *end = match_here(pattern + anchored, start);
        if (end) {
            *hash = hash_word(*hash, (uint64_t)(start - text) << 32 | (uint64_t)(end - start));
            return 1;
        }
        if (anchored || *start == '\0') return 0;
    }
}

static void make_line(char *line) {
    int length = 20 + (int)random_below(LINE_SIZE - 21);
    for (int i = 0; i < length; i++) line[i] = "abcdabcxxae 0123. "[random_below(18)];
    line[length] = '\0';
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < LINES; i++) make_line(lines[i]);
    uint64_t hash = 0;
    for (int p = 0; p < PATTERNS; p++) {
        uint64_t found = 0;
        for (int i = 0; i < LINES; i++) found += (uint64_t)match(patterns[p], lines[i], &hash);
        print_u64("found", found);
    }
    print_u64("hash", hash);
    return 0;
}
