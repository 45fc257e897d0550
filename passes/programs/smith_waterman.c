// Local alignment of a protein with a small database, affine gaps, and the best one traced. Tags: dynamic programming.
#include "harness.h"

enum {
    QUERY = PICK(100, 180, 320),
    LONGEST = PICK(120, 240, 480),
    ENTRIES = PICK(32, 45, 100),
    KINDS = 20,
    OPEN = 11,
    EXTEND = 1
};

typedef struct {
    int length;
    uint8_t residues[LONGEST];
} protein;

typedef struct {
    int score, query_end, end;
} alignment;

static protein query, database[ENTRIES];
static int8_t substitution[KINDS][KINDS];
static int16_t table[QUERY + 1][LONGEST + 1]; // of the last alignment, for the trace

static int max(int a, int b) { return a > b ? a : b; }

static alignment align(const protein *q, const protein *d) {
    static int16_t gap_above[LONGEST + 1];
    alignment best = {0, 0, 0};
    memset(gap_above, 0, sizeof gap_above);
    for (int i = 1; i <= q->length; i++) {
        const int8_t *scores = substitution[q->residues[i - 1]];
        int gap_left = 0;
        for (int j = 1; j <= d->length; j++) {
            gap_left = max(table[i][j - 1] - OPEN, gap_left - EXTEND);
            gap_above[j] = (int16_t)max(table[i - 1][j] - OPEN, gap_above[j] - EXTEND);
            int score = table[i - 1][j - 1] + scores[d->residues[j - 1]];
            score = max(max(score, 0), max(gap_left, gap_above[j]));
            table[i][j] = (int16_t)score;
            if (score > best.score) best = (alignment){score, i, j};
        }
    }
    return best;
}

// Residues that were matched one to one on the way back from the end; steps over gaps towards the larger score.
static int trace(const protein *q, const protein *d, int i, int j) {
    if (i == 0 || j == 0 || table[i][j] == 0) return 0;
    int diagonal = table[i - 1][j - 1] + substitution[q->residues[i - 1]][d->residues[j - 1]];
    if (table[i][j] == diagonal) return 1 + trace(q, d, i - 1, j - 1);
    return table[i - 1][j] > table[i][j - 1] ? trace(q, d, i - 1, j) : trace(q, d, i, j - 1);
}

static alignment search(int *best_entry, uint64_t *hash) {
    alignment best = {0, 0, 0};
    for (int entry = 0; entry < ENTRIES; entry++) {
        alignment a = align(&query, &database[entry]);
        *hash = hash_word(*hash, (uint64_t)a.score << 40 | (uint64_t)a.query_end << 20 | (uint64_t)a.end);
        if (a.score <= best.score) continue;
        best = a;
        *best_entry = entry;
    }
    return best;
}

static void build_protein(protein *p, int length) {
    p->length = length;
    for (int i = 0; i < length; i++) p->residues[i] = (uint8_t)random_below(KINDS);
}

// Entries of random lengths, each with a part of the query in it.
static void build(void) {
    build_protein(&query, QUERY);
    for (int i = 0; i < KINDS; i++)
        for (int j = 0; j <= i; j++) {
            int chance = (int)random_below(5);
            substitution[i][j] = substitution[j][i] = (int8_t)(i == j ? 4 + chance : 1 - chance);
        }
    for (int i = 0; i < ENTRIES; i++) {
        build_protein(&database[i], LONGEST / 2 + (int)random_below(LONGEST / 2 + 1));
        uint32_t part = 10 + random_below(30), from = random_below(QUERY - part);
        memcpy(&database[i].residues[random_below(LONGEST / 2 - part)], &query.residues[from], part);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build();
    int entry = 0;
    uint64_t hash = 0;
    alignment best = search(&entry, &hash);
    print_u64("scores", hash);
    print_u64("best score", (uint64_t)best.score);
    align(&query, &database[entry]);
    print_u64("matched", (uint64_t)trace(&query, &database[entry], best.query_end, best.end));
    print_bytes("table", table, sizeof table);
    return 0;
}
