// RNA folding after Nussinov: most base pairs of a sequence, with one such folding. Tags: dynamic programming.
#include "harness.h"

enum { LENGTH = PICK(190, 400, 840), LOOP = 3 };

static uint8_t bases[LENGTH];
static int16_t table[LENGTH][LENGTH]; // most pairs between the two positions, both included
static char folding[LENGTH + 1];

// A with U, C with G, and G with U: weights 2, 3 and 1.
static int pair_weight(uint8_t a, uint8_t b) {
    static const int8_t weights[4][4] = {{0, 0, 0, 2}, {0, 0, 3, 0}, {0, 3, 0, 1}, {2, 0, 1, 0}};
    return weights[a][b];
}

static int inside(int i, int j) { return i <= j ? table[i][j] : 0; }

static int best_pair(int i, int j) {
    int weight = j - i > LOOP ? pair_weight(bases[i], bases[j]) : 0;
    return weight ? inside(i + 1, j - 1) + weight : 0;
}

static void fold(void) {
    for (int i = LENGTH - 1; i >= 0; i--)
        for (int j = i + 1; j < LENGTH; j++) {
            int best = best_pair(i, j);
            for (int k = i; k < j; k++) {
                int split = table[i][k] + table[k + 1][j];
                if (split > best) best = split;
            }
            table[i][j] = (int16_t)best;
        }
}

// Brackets for the pairs, dots for the single bases.
static void trace_back(int i, int j) {
    if (i > j) return;
    if (inside(i, j) == 0) {
        memset(&folding[i], '.', (size_t)(j - i + 1));
        return;
    }
    if (inside(i, j) == best_pair(i, j)) {
        folding[i] = '(';
        folding[j] = ')';
        trace_back(i + 1, j - 1);
        return;
    }
    int k = i;
    while (inside(i, k) + inside(k + 1, j) != inside(i, j)) k++;
    trace_back(i, k);
    trace_back(k + 1, j);
}

static uint64_t count_pairs(void) {
    uint64_t count = 0;
    for (int i = 0; i < LENGTH; i++) count += folding[i] == '(';
    return count;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < LENGTH; i++) bases[i] = (uint8_t)random_below(4);
    fold();
    trace_back(0, LENGTH - 1);
    print_u64("score", (uint64_t)inside(0, LENGTH - 1));
    print_u64("pairs", count_pairs());
    print_bytes("table", table, sizeof table);
    print_bytes("folding", folding, LENGTH);
    return 0;
}
