// CSV with quoted fields: rows are read field by field and columns added up by group. Tags: parsing.
#include "harness.h"

enum { CAPACITY = PICK(16384, 65536, 262144), ROUNDS = PICK(4, 20, 65), COLUMNS = 6, GROUPS = 16, FIELD_SIZE = 64 };

struct totals {
    int64_t cents;
    double weighted;
    uint32_t rows;
    uint32_t longest;
};

static char text[CAPACITY];
static struct totals totals[GROUPS];

// Copies one field without its quotes; returns where the separator behind it is.
static const char *read_field(const char *at, char *field, int *length) {
    int count = 0, quoted = *at == '"';
    if (quoted) at++;
    for (;; at++) {
        if (*at == '\0') break;
        if (quoted && *at == '"') {
            if (at[1] != '"') {
                at++;
                break;
            }
            at++;
        } else if (!quoted && (*at == ',' || *at == '\n')) {
            break;
        }
        if (count < FIELD_SIZE - 1) field[count++] = *at;
    }
    field[count] = '\0';
    *length = count;
    return at;
}

static int64_t parse_cents(const char *field) {
    int negative = *field == '-', places = -1;
    int64_t value = 0;
    if (negative) field++;
    for (; *field && places < 2; field++) {
        if (*field == '.')
            places = 0;
        else if (*field >= '0' && *field <= '9') {
            value = value * 10 + (*field - '0');
            if (places >= 0) places++;
        }
    }
    for (places = places < 0 ? 0 : places; places < 2; places++) value *= 10;
    return negative ? -value : value;
}

static uint32_t hash_name(const char *name) {
    uint32_t hash = 0;
    while (*name) hash = hash * 131 + (uint8_t)*name++;
    return hash;
}

static int add_up(const char *at, double weight) {
    char field[FIELD_SIZE];
    int rows = 0;
    while (*at) {
        struct totals *group = &totals[0];
        for (int column = 0; column < COLUMNS && *at != '\0'; column++) {
            int length;
            at = read_field(at, field, &length);
            switch (column) {
            case 0: group = &totals[hash_name(field) % GROUPS]; break;
            case 1:
            case 3: group->cents += parse_cents(field); break;
            case 4: group->weighted += weight * (double)parse_cents(field); break;
            default:
                if ((uint32_t)length > group->longest) group->longest = (uint32_t)length;
            }
            if (*at == ',') at++;
        }
        group->rows++;
        rows++;
        while (*at == '\n') at++;
    }
    return rows;
}

static int make_row(char *to, size_t size) {
    static const char *const names[] = {"apple",  "pear", "\"plum, red\"",           "cherry",
                                        "quince", "kiwi", "\"the \"\"best\"\" fig\""};
    static const char *const notes[] = {"", "sold", "\"damaged, returned\"", "in stock since spring", "\"\""};
    const char *name = names[random_below(7)], *note = notes[random_below(5)];
    const char *sign = random_below(4) ? "" : "-";
    unsigned shop = random_below(30), price = random_below(500000), pieces = random_below(300);
    unsigned weight = random_below(900);
    return snprintf(to, size, "%s%u,%s%u.%02u,%s,%u,%u.%u,%u\n", name[0] == '"' ? "" : name, shop, sign, price / 100,
                    price % 100, name[0] == '"' ? name : note, pieces, weight / 10, weight % 10, shop * 1000 + pieces);
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int length = 0; length < CAPACITY - 160;) length += make_row(text + length, (size_t)(CAPACITY - length));
    int rows = 0;
    for (int round = 0; round < ROUNDS; round++) rows += add_up(text, 1.0 / (rows + 1));
    print_u64("rows", (uint64_t)rows);
    for (int group = 0; group < GROUPS; group++) {
        print_u64("cents", (uint64_t)totals[group].cents);
        print_f64("weighted", totals[group].weighted);
    }
    print_u64("rows_of_first", totals[0].rows);
    print_u64("longest_of_first", totals[0].longest);
    return 0;
}
