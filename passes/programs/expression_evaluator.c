// Arithmetic expressions read by recursive descent and evaluated at once, for many values of x and y. Tags: parsing.
#include "harness.h"

enum { EXPRESSIONS = PICK(20, 60, 200), CAPACITY = EXPRESSIONS * 512, ROUNDS = PICK(20, 240, 750), MAX_DEPTH = 5 };

struct parser {
    const char *at;
    uint64_t x, y;
    uint32_t errors;
};

static char text[CAPACITY];
static int text_length;

static uint64_t parse_sum(struct parser *parser);

static int accept(struct parser *parser, char wanted) {
    while (*parser->at == ' ') parser->at++;
    if (*parser->at != wanted) return 0;
    parser->at++;
    return 1;
}

static uint64_t parse_atom(struct parser *parser) {
    if (accept(parser, '(')) {
        uint64_t value = parse_sum(parser);
        if (!accept(parser, ')')) parser->errors++;
        return value;
    }
    if (accept(parser, '-')) return 0 - parse_atom(parser);
    if (accept(parser, '~')) return ~parse_atom(parser);
    if (accept(parser, 'x')) return parser->x;
    if (accept(parser, 'y')) return parser->y;
    uint64_t value = 0;
    const char *start = parser->at;
    while (*parser->at >= '0' && *parser->at <= '9') value = value * 10 + (uint64_t)(*parser->at++ - '0');
    if (parser->at == start) parser->errors++;
    return value;
}

static uint64_t parse_power(struct parser *parser) { // ^ raises to a power, from the right
    uint64_t base = parse_atom(parser);
    if (!accept(parser, '^')) return base;
    uint64_t result = 1;
    for (uint64_t exponent = parse_power(parser) & 15; exponent > 0; exponent--) result *= base;
    return result;
}

static uint64_t parse_product(struct parser *parser) { // divisors are made odd, so that none is 0
    uint64_t value = parse_power(parser);
    for (;;) {
        if (accept(parser, '*')) value *= parse_power(parser);
        else if (accept(parser, '/')) value /= parse_power(parser) | 1;
        else if (accept(parser, '%')) value %= parse_power(parser) | 1;
        else return value;
    }
}

static uint64_t parse_sum(struct parser *parser) {
    uint64_t value = parse_product(parser);
    for (;;) {
        if (accept(parser, '+')) value += parse_product(parser);
        else if (accept(parser, '-')) value -= parse_product(parser);
        else return value;
    }
}

// Expressions are separated by semicolons.
static uint64_t evaluate_all(const char *expressions, uint64_t x, uint64_t y, uint32_t *errors) {
    struct parser parser = {expressions, x, y, 0};
    uint64_t hash = 0;
    while (*parser.at) {
        hash = hash_word(hash, parse_sum(&parser));
        if (accept(&parser, ';')) continue;
        parser.errors++;
        if (*parser.at) parser.at++;
    }
    *errors += parser.errors;
    return hash;
}

static void put(char c) { text[text_length++] = c; }

static void make_expression(int depth, int end) {
    uint32_t kind = random_below(depth > 0 ? 10 : 4);
    if (text_length > end) kind = 1;
    if (kind == 0) {
        for (int digits = 1 + (int)random_below(6); digits > 0; digits--) put((char)('1' + (int)random_below(9)));
    } else if (kind < 4) {
        put(kind == 3 ? 'y' : 'x');
    } else {
        put('(');
        make_expression(depth - 1, end);
        if (random_below(2)) put(' ');
        put("+-*/%^*+-+"[random_below(10)]);
        if (random_below(8) == 0) put("-~"[random_below(2)]);
        make_expression(depth - 1, end);
        put(')');
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < EXPRESSIONS; i++) {
        make_expression(MAX_DEPTH, i * 512 + 384);
        put('+');
        make_expression(MAX_DEPTH, i * 512 + 384);
        put(';');
    }
    uint64_t hash = 7;
    uint32_t errors = 0;
    for (int round = 0; round < ROUNDS; round++) hash ^= evaluate_all(text, hash, (uint64_t)round, &errors);
    struct parser check = {"2 + 3*(7 - 2)^2 % 41 - x/3;", 10, 0, 0};
    print_u64("known_answer_ok", parse_sum(&check) == 33);
    print_u64("length", (uint64_t)text_length);
    print_u64("errors", errors);
    print_u64("hash", hash);
    return 0;
}
