// Sweeps of sparse triangular solves, forwards by rows and backwards with the transpose. Tags: sparse.
#include "harness.h"

enum { ROWS = PICK(1200, 3000, 8000), LONGEST = 16, ROUNDS = PICK(22, 60, 180) };

typedef struct {
    uint32_t column;
    double value;
} entry;

static uint32_t starts[ROWS + 1];
static entry entries[ROWS * LONGEST];
static double diagonal[ROWS], right[ROWS], x[ROWS];

// L x = b in place: every row needs the rows before it.
static void solve_forwards(double *v) {
    for (int row = 0; row < ROWS; row++) {
        double sum = v[row];
        for (uint32_t k = starts[row]; k < starts[row + 1]; k++) sum -= entries[k].value * v[entries[k].column];
        v[row] = sum / diagonal[row];
    }
}

// L' x = b in place: every row is final before it is subtracted from those that it touches.
static void solve_backwards(double *v) {
    for (int row = ROWS - 1; row >= 0; row--) {
        v[row] /= diagonal[row];
        for (uint32_t k = starts[row]; k < starts[row + 1]; k++) v[entries[k].column] -= entries[k].value * v[row];
    }
}

// x = (L L')^-1 (x / 2 + b), over and over: converges, for L is not far from the unit matrix.
static void iterate(int rounds) {
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < ROWS; i++) x[i] = 0.5 * x[i] + right[i];
        solve_forwards(x);
        solve_backwards(x);
    }
}

// Up to LONGEST entries left of the diagonal in each row, most of them close to it.
static void build(void) {
    uint32_t count = 0;
    for (uint32_t row = 0; row < ROWS; row++) {
        starts[row] = count;
        uint32_t length = row < LONGEST ? row : 4 + random_below(LONGEST - 3);
        for (uint32_t i = 0; i < length; i++) {
            uint32_t back = random_below(i % 3 ? (row < 60 ? row : 60) : row);
            entries[count++] = (entry){row - 1 - back, (random_f64() - 0.5) / 8};
        }
        diagonal[row] = 1 + random_f64();
    }
    starts[ROWS] = count;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build();
    fill_f64(right, ROWS);
    iterate(ROUNDS);
    print_u64("entries", starts[ROWS]);
    print_f64s("x", x, ROWS);
    return 0;
}
