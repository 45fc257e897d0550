// Dense matrix product, C = alpha A B + beta C, in the textbook's loop order. Tags: dense linear algebra.
#include "harness.h"

enum { N = PICK(24, 192, 448) };

static double a[N][N], b[N][N], c[N][N];

static void gemm(double alpha, double beta) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < N; k++) sum += a[i][k] * b[k][j];
            c[i][j] = alpha * sum + beta * c[i][j];
        }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_f64(&a[0][0], (size_t)N * N);
    fill_f64(&b[0][0], (size_t)N * N);
    fill_f64(&c[0][0], (size_t)N * N);
    gemm(1.5, 0.75);
    print_f64s("c", &c[0][0], (size_t)N * N);
    return 0;
}
