// Eigenvalues and eigenvectors of a symmetric matrix by cyclic Jacobi rotations. Tags: dense linear algebra.
#include "harness.h"

#include <math.h>

enum { N = PICK(44, 88, 170), SWEEPS = 12 };

static double a[N][N], vectors[N][N], eigenvalues[N];

typedef struct {
    double cosine, sine;
} rotation;

// The rotation in the plane of p and q that makes a[p][q] zero.
static rotation zeroing(int p, int q) {
    double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
    double tangent = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
    double cosine = 1 / sqrt(tangent * tangent + 1);
    return (rotation){cosine, tangent * cosine};
}

static void rotate_columns(double (*m)[N], int p, int q, rotation r) {
    for (int i = 0; i < N; i++) {
        double x = m[i][p], y = m[i][q];
        m[i][p] = r.cosine * x - r.sine * y;
        m[i][q] = r.sine * x + r.cosine * y;
    }
}

static void rotate_rows(double *x, double *y, rotation r) {
    for (int i = 0; i < N; i++) {
        double upper = x[i], lower = y[i];
        x[i] = r.cosine * upper - r.sine * lower;
        y[i] = r.sine * upper + r.cosine * lower;
    }
}

// Returns the number of rotations: none where all entries off the diagonal are small enough.
static int sweep(double threshold) {
    int rotations = 0;
    for (int p = 0; p < N; p++)
        for (int q = p + 1; q < N; q++) {
            if (fabs(a[p][q]) < threshold) continue;
            rotation r = zeroing(p, q);
            rotate_columns(a, p, q, r);
            rotate_rows(a[p], a[q], r);
            rotate_columns(vectors, p, q, r);
            a[p][q] = a[q][p] = 0;
            rotations++;
        }
    return rotations;
}

static void sort_ascending(double *values, int count) {
    for (int i = 1; i < count; i++) {
        double value = values[i];
        int j = i;
        for (; j > 0 && values[j - 1] > value; j--) values[j] = values[j - 1];
        values[j] = value;
    }
}

static void build_symmetric(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j <= i; j++) a[i][j] = a[j][i] = random_f64() - 0.5;
    for (int i = 0; i < N; i++) vectors[i][i] = 1;
}

static void solve(void) {
    for (int i = 0; i < SWEEPS; i++)
        if (sweep(1e-13) == 0) break;
    for (int i = 0; i < N; i++) eigenvalues[i] = a[i][i];
    sort_ascending(eigenvalues, N);
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build_symmetric();
    solve();
    print_f64s("eigenvalues", eigenvalues, N);
    print_f64s("vectors", &vectors[0][0], (size_t)N * N);
    return 0;
}
