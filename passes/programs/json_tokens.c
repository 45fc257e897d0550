// JSON tokens: a scanner counts them by kind, follows the nesting and adds up the numbers. Tags: parsing.
#include "harness.h"

enum { CAPACITY = PICK(16384, 65536, 262144), MAX_DEPTH = 64, ROUNDS = PICK(4, 28, 70) };
enum kind { END, OPEN, CLOSE, COLON, COMMA, STRING, NUMBER, WORD, BROKEN, KINDS };

struct token {
    enum kind kind;
    int64_t value; // numbers: in thousandths; strings: a hash
};

struct summary {
    uint64_t counts[KINDS], strings, faults;
    int64_t total;
};

static char text[CAPACITY];
static int text_length;

static int is_digit(char c) { return c >= '0' && c <= '9'; }

static const char *scan_string(const char *at, struct token *token) {
    uint32_t hash = 5381;
    for (; *at && *at != '"'; at++) {
        char c = *at;
        if (c == '\\') {
            c = *++at;
            if (c == '\0') break;
        }
        hash = hash * 33 + (uint8_t)c;
    }
    token->kind = *at ? STRING : BROKEN;
    token->value = hash;
    return *at ? at + 1 : at;
}

static const char *scan_number(const char *at, struct token *token) {
    int negative = *at == '-', places = 0;
    int64_t value = 0;
    if (negative) at++;
    while (is_digit(*at)) value = value * 10 + (*at++ - '0');
    if (*at == '.') at++;
    for (; is_digit(*at); at++, places++)
        if (places < 3) value = value * 10 + (*at - '0');
    for (; places < 3; places++) value *= 10;
    token->kind = NUMBER;
    token->value = negative ? -value : value;
    return at;
}

static const char *next_token(const char *at, struct token *token) {
    while (*at == ' ' || *at == '\n' || *at == '\t') at++;
    token->value = 0;
    switch (*at) {
    case '\0': token->kind = END; return at;
    case '{': case '[': token->kind = OPEN; return at + 1;
    case '}': case ']': token->kind = CLOSE; return at + 1;
    case ':': token->kind = COLON; return at + 1;
    case ',': token->kind = COMMA; return at + 1;
    case '"': return scan_string(at + 1, token);
    }
    if (*at == '-' || is_digit(*at)) return scan_number(at, token);
    token->kind = *at >= 'a' && *at <= 'z' ? WORD : BROKEN;
    for (at++; *at >= 'a' && *at <= 'z'; at++) continue;
    return at;
}

static void summarise(const char *at, struct summary *summary) {
    char expected[MAX_DEPTH];
    int depth = 0;
    struct token token;
    do {
        at = next_token(at, &token);
        summary->counts[token.kind]++;
        if (token.kind == NUMBER) summary->total += token.value;
        if (token.kind == STRING) summary->strings = summary->strings * 31 + (uint64_t)token.value;
        if (token.kind == OPEN && depth < MAX_DEPTH) expected[depth++] = at[-1] == '{' ? '}' : ']';
        if (token.kind == CLOSE && (depth == 0 || expected[--depth] != at[-1])) summary->faults++;
    } while (token.kind != END);
}

static void put(const char *string) {
    while (*string) text[text_length++] = *string++;
}

static void make_value(int depth) {
    static const char *const words[] = {"true", "false", "null", "\"a \\\"quoted\\\" name\"", "\"tab\\tline\\n\""};
    uint32_t kind = random_below(10);
    if (depth > 0 && kind < 5) {
        int is_object = kind < 3, members = 1 + (int)random_below(6);
        put(is_object ? "{" : "[");
        for (int i = 0; i < members && text_length < CAPACITY - 2048; i++) {
            put(i == 0 ? " " : ",\n  ");
            if (is_object) put(kind ? "\"length\": " : "\"identifier\": ");
            make_value(depth - 1);
        }
        put(is_object ? " }" : "]");
    } else if (kind < 8) {
        uint64_t bits = random_u64();
        unsigned hundredths = (unsigned)(bits >> 40) >> (bits & 15);
        if (kind == 7) put("-");
        text_length += snprintf(text + text_length, 32, "%u.%02u", hundredths / 100, hundredths % 100);
    } else {
        put(words[random_below(5)]);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (put("["); text_length < CAPACITY - 2048; put(",\n")) make_value(8);
    put("0]");
    struct summary summary = {{0}, 0, 0, 0};
    for (int round = 0; round < ROUNDS; round++) summarise(text, &summary);
    for (int kind = 0; kind < KINDS; kind++) print_u64("count", summary.counts[kind]);
    print_u64("strings", summary.strings);
    print_u64("total", (uint64_t)summary.total);
    print_u64("faults", summary.faults);
    return 0;
}
