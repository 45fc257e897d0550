// Symmetric updates of rank k and 2k of a lower triangle, then mirrored. Tags: dense linear algebra.
#include "harness.h"

enum { N = PICK(140, 256, 480), K = PICK(100, 180, 360) };

static double a[N][K], b[N][K], c[N][N];

// C += alpha A A', the lower triangle only, adding one column of A at a time.
static void rank_k_update(double alpha) {
    for (int i = 0; i < N; i++)
        for (int k = 0; k < K; k++) {
            double factor = alpha * a[i][k];
            for (int j = 0; j <= i; j++) c[i][j] += factor * a[j][k];
        }
}

// C = alpha (A B' + B A') + beta C, the lower triangle only, one dot product per entry.
static void rank_2k_update(double alpha, double beta) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j <= i; j++) {
            double sum = 0;
            for (int k = 0; k < K; k++) sum += a[i][k] * b[j][k] + b[i][k] * a[j][k];
            c[i][j] = alpha * sum + beta * c[i][j];
        }
}

static void mirror(void) {
    for (int i = 0; i < N; i++)
        for (int j = i + 1; j < N; j++) c[i][j] = c[j][i];
}

static double trace(void) {
    double sum = 0;
    for (int i = 0; i < N; i++) sum += c[i][i];
    return sum;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_f64(&a[0][0], (size_t)N * K);
    fill_f64(&b[0][0], (size_t)N * K);
    fill_f64(&c[0][0], (size_t)N * N);
    rank_k_update(1.25);
    rank_2k_update(0.5, 0.75);
    mirror();
    print_f64("trace", trace());
    print_f64s("c", &c[0][0], (size_t)N * N);
    return 0;
}
