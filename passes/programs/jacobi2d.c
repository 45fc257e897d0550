// Jacobi's iteration on a five-point stencil between two grids, with the change per step. Tags: stencils and images.
#include "harness.h"

#include <math.h>

enum { N = PICK(64, 160, 320), STEPS = PICK(200, 300, 560) };

static double grid[N][N], other[N][N], source[N][N];

static void relax(double (*from)[N], double (*to)[N]) {
    for (int i = 1; i < N - 1; i++)
        for (int j = 1; j < N - 1; j++)
            to[i][j] = 0.2 * (from[i][j] + from[i][j - 1] + from[i][j + 1] + from[i - 1][j] + from[i + 1][j]) +
                       source[i][j];
}

static double change(double (*from)[N], double (*to)[N]) {
    double largest = 0;
    for (int i = 1; i < N - 1; i++)
        for (int j = 1; j < N - 1; j++) {
            double difference = fabs(to[i][j] - from[i][j]);
            if (difference > largest) largest = difference;
        }
    return largest;
}

// The result ends up in grid, for an even number of steps; returns the largest change of the last pair of them.
static double iterate(int steps) {
    double last = 0;
    for (int step = 0; step < steps; step += 2) {
        relax(grid, other);
        relax(other, grid);
        if (step % 20 == 0 || step + 2 >= steps) last = change(other, grid);
    }
    return last;
}

static void build(void) {
    fill_f64(&grid[0][0], (size_t)N * N);
    fill_f64(&source[0][0], (size_t)N * N);
    memcpy(other, grid, sizeof other); // the borders are never written
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build();
    print_f64("change", iterate(STEPS));
    print_f64s("grid", &grid[0][0], (size_t)N * N);
    return 0;
}
