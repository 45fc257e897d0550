// Many right-hand sides solved with a lower triangular matrix and with its transpose. Tags: dense linear algebra.
#include "harness.h"

#include <stddef.h>

enum { N = PICK(128, 224, 480), SIDES = PICK(76, 128, 240) };

typedef struct {
    int rows, cols, stride;
    double *entries;
} matrix;

static double lower_entries[N * N], side_entries[N * SIDES];

static double *row_of(matrix m, int i) { return m.entries + (ptrdiff_t)i * m.stride; }

// L X = B, X in the place of B: all right-hand sides together, row after row.
static void solve_lower(matrix l, matrix b) {
    for (int i = 0; i < l.rows; i++) {
        double *target = row_of(b, i);
        for (int k = 0; k < i; k++) {
            double factor = row_of(l, i)[k];
            const double *source = row_of(b, k);
            for (int j = 0; j < b.cols; j++) target[j] -= factor * source[j];
        }
        double diagonal = row_of(l, i)[i];
        for (int j = 0; j < b.cols; j++) target[j] /= diagonal;
    }
}

// L' X = B, X in the place of B: one right-hand side after the other, from the bottom up.
static void solve_lower_transposed(matrix l, matrix b) {
    for (int j = 0; j < b.cols; j++)
        for (int i = l.rows - 1; i >= 0; i--) {
            double sum = row_of(b, i)[j];
            for (int k = i + 1; k < l.rows; k++) sum -= row_of(l, k)[i] * row_of(b, k)[j];
            row_of(b, i)[j] = sum / row_of(l, i)[i];
        }
}

// Small entries beside a diagonal near 1, so that the solutions stay about as large as the right-hand sides.
static void build_lower(matrix l) {
    for (int i = 0; i < l.rows; i++)
        for (int j = 0; j < l.cols; j++) {
            double value = random_f64();
            row_of(l, i)[j] = i == j ? 0.75 + 0.5 * value : i > j ? (value - 0.5) / 8 : 0;
        }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    matrix lower = {N, N, N, lower_entries}, sides = {N, SIDES, SIDES, side_entries};
    build_lower(lower);
    fill_f64(sides.entries, (size_t)N * SIDES);
    solve_lower(lower, sides);
    solve_lower_transposed(lower, sides);
    print_f64s("x", sides.entries, (size_t)N * SIDES);
    return 0;
}
