// Gauss-Seidel sweeps in place: nine-point smoothing, then over-relaxation in two colours. Tags: stencils and images.
#include "harness.h"

#include <math.h>

enum { N = PICK(56, 100, 200), SWEEPS = PICK(38, 56, 105) };

static double grid[N][N], source[N][N];

// Every point becomes the mean of its neighbourhood, in which the points above and to the left are new already.
static void smooth(double (*u)[N]) {
    for (int i = 1; i < N - 1; i++)
        for (int j = 1; j < N - 1; j++) {
            double sum = 0;
            for (int di = -1; di <= 1; di++)
                for (int dj = -1; dj <= 1; dj++) sum += u[i + di][j + dj];
            u[i][j] = sum / 9;
        }
}

// One colour of a chessboard: its points depend on those of the other colour only. Returns the summed change.
static double relax_colour(double (*u)[N], double (*f)[N], int colour, double omega) {
    double change = 0;
    for (int i = 1; i < N - 1; i++)
        for (int j = 1 + (i + colour) % 2; j < N - 1; j += 2) {
            double wanted = 0.25 * (u[i - 1][j] + u[i + 1][j] + u[i][j - 1] + u[i][j + 1] - f[i][j]);
            double delta = omega * (wanted - u[i][j]);
            u[i][j] += delta;
            change += fabs(delta);
        }
    return change;
}

static double relax(double omega) {
    double red = relax_colour(grid, source, 0, omega);
    return red + relax_colour(grid, source, 1, omega);
}

static double run(int sweeps) {
    double change = 0;
    for (int i = 0; i < sweeps; i++) smooth(grid);
    for (int i = 0; i < sweeps; i++) change = relax(1.6);
    return change;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_f64(&grid[0][0], (size_t)N * N);
    fill_f64(&source[0][0], (size_t)N * N);
    print_f64("change", run(SWEEPS));
    print_f64s("grid", &grid[0][0], (size_t)N * N);
    return 0;
}
