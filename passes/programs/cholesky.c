// Cholesky factor of a symmetric positive definite matrix in packed storage, and a solve. Tags: dense linear algebra.
#include "harness.h"

#include <math.h>

enum { N = PICK(160, 360, 736), PACKED = N * (N + 1) / 2 };

static double matrix[PACKED], factor[PACKED], right[N], solution[N];

// The lower triangle is stored row after row without gaps.
static int at(int row, int col) { return row * (row + 1) / 2 + col; }

// Returns the number of rows done: fewer than n where the matrix is not positive definite.
static int decompose(const double *a, double *l, int n) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) {
            double sum = a[at(i, j)];
            for (int k = 0; k < j; k++) sum -= l[at(i, k)] * l[at(j, k)];
            if (i != j)
                l[at(i, j)] = sum / l[at(j, j)];
            else if (sum > 0)
                l[at(i, i)] = sqrt(sum);
            else
                return i;
        }
    return n;
}

static void solve(const double *l, const double *b, double *x, int n) {
    for (int i = 0; i < n; i++) {
        double sum = b[i];
        for (int k = 0; k < i; k++) sum -= l[at(i, k)] * x[k];
        x[i] = sum / l[at(i, i)];
    }
    for (int i = n - 1; i >= 0; i--) {
        double sum = x[i];
        for (int k = i + 1; k < n; k++) sum -= l[at(k, i)] * x[k];
        x[i] = sum / l[at(i, i)];
    }
}

// Largest difference between A x and b.
static double residual(const double *a, const double *x, const double *b, int n) {
    double largest = 0;
    for (int i = 0; i < n; i++) {
        double sum = -b[i];
        for (int j = 0; j < n; j++) sum += (j <= i ? a[at(i, j)] : a[at(j, i)]) * x[j];
        if (fabs(sum) > largest) largest = fabs(sum);
    }
    return largest;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_f64(matrix, PACKED);
    fill_f64(right, N);
    for (int i = 0; i < N; i++) matrix[at(i, i)] += 0.5 * N;
    print_u64("rows", (uint64_t)decompose(matrix, factor, N));
    solve(factor, right, solution, N);
    print_u64("solved", residual(matrix, solution, right, N) < 1e-9);
    print_f64s("factor", factor, PACKED);
    print_f64s("x", solution, N);
    return 0;
}
