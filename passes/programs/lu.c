// LU factors with partial pivoting by swapped row pointers, and a solve. Tags: dense linear algebra.
#include "harness.h"

#include <math.h>

enum { N = PICK(176, 380, 720) };

static double storage[N][N], right[N], solution[N];
static double *rows[N];
static int16_t order[N];

static int find_pivot(double **a, int k, int n) {
    int best = k;
    for (int i = k + 1; i < n; i++)
        if (fabs(a[i][k]) > fabs(a[best][k])) best = i;
    return best;
}

static void swap_rows(double **a, int16_t *permutation, int i, int j) {
    double *row = a[i];
    a[i] = a[j];
    a[j] = row;
    int16_t index = permutation[i];
    permutation[i] = permutation[j];
    permutation[j] = index;
}

// Returns the sign of the permutation, 0 for a singular matrix.
static int decompose(double **a, int16_t *permutation, int n) {
    int sign = 1;
    for (int k = 0; k < n; k++) {
        int pivot = find_pivot(a, k, n);
        if (a[pivot][k] == 0) return 0;
        if (pivot != k) {
            swap_rows(a, permutation, k, pivot);
            sign = -sign;
        }
        for (int i = k + 1; i < n; i++) {
            a[i][k] /= a[k][k];
            for (int j = k + 1; j < n; j++) a[i][j] -= a[i][k] * a[k][j];
        }
    }
    return sign;
}

static void solve(double **a, const int16_t *permutation, const double *b, double *x, int n) {
    for (int i = 0; i < n; i++) {
        x[i] = b[permutation[i]];
        for (int j = 0; j < i; j++) x[i] -= a[i][j] * x[j];
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int j = i + 1; j < n; j++) x[i] -= a[i][j] * x[j];
        x[i] /= a[i][i];
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_f64(&storage[0][0], (size_t)N * N);
    fill_f64(right, N);
    for (int i = 0; i < N; i++) {
        rows[i] = storage[i];
        order[i] = (int16_t)i;
    }
    print_u64("permutation sign", (uint64_t)decompose(rows, order, N));
    solve(rows, order, right, solution, N);
    print_bytes("order", order, sizeof order);
    print_f64s("factors", &storage[0][0], (size_t)N * N);
    print_f64s("x", solution, N);
    return 0;
}
