// Preconditioned conjugate gradients for uneven diffusion on a grid, matrix in compressed rows. Tags: sparse.
#include "harness.h"

#include <math.h>

enum { SIDE = PICK(48, 104, 192), UNKNOWNS = SIDE * SIDE, MOST = PICK(32, 60, 150) };

static int starts[UNKNOWNS + 1], columns[5 * UNKNOWNS];
static double values[5 * UNKNOWNS], inverse_diagonal[UNKNOWNS], conductivity[UNKNOWNS];
static double b[UNKNOWNS], x[UNKNOWNS], r[UNKNOWNS], z[UNKNOWNS], p[UNKNOWNS], ap[UNKNOWNS];

static void apply(const double *in, double *out) {
    for (int i = 0; i < UNKNOWNS; i++) {
        out[i] = 0;
        for (int k = starts[i]; k < starts[i + 1]; k++) out[i] += values[k] * in[columns[k]];
    }
}

static double dot(const double *u, const double *v) {
    double sum = 0;
    for (int i = 0; i < UNKNOWNS; i++) sum += u[i] * v[i];
    return sum;
}

static void add_scaled(double *u, double factor, const double *v) {
    for (int i = 0; i < UNKNOWNS; i++) u[i] += factor * v[i];
}

static void precondition(const double *in, double *out) {
    for (int i = 0; i < UNKNOWNS; i++) out[i] = in[i] * inverse_diagonal[i];
}

// Starts from x = 0 and returns the number of iterations.
static int solve(double tolerance) {
    memcpy(r, b, sizeof r);
    precondition(r, z);
    memcpy(p, z, sizeof p);
    double rz = dot(r, z), enough = tolerance * tolerance * dot(b, b);
    int iteration = 0;
    for (; iteration < MOST && dot(r, r) > enough; iteration++) {
        apply(p, ap);
        double alpha = rz / dot(p, ap);
        add_scaled(x, alpha, p);
        add_scaled(r, -alpha, ap);
        precondition(r, z);
        double next = dot(r, z), beta = next / rz;
        for (int i = 0; i < UNKNOWNS; i++) p[i] = z[i] + beta * p[i];
        rz = next;
    }
    return iteration;
}

static void add_entry(int *count, int column, double value) {
    columns[*count] = column;
    values[(*count)++] = value;
}

static void build(void) {
    for (int i = 0; i < UNKNOWNS; i++) conductivity[i] = 0.1 + random_f64();
    int count = 0;
    for (int i = 0; i < UNKNOWNS; i++) {
        int row = i / SIDE, col = i % SIDE;
        int neighbours[4] = {row > 0 ? i - SIDE : -1, col > 0 ? i - 1 : -1, col + 1 < SIDE ? i + 1 : -1,
                             row + 1 < SIDE ? i + SIDE : -1};
        double diagonal = 0.01;
        starts[i] = count;
        for (int k = 0; k < 4; k++) {
            if (neighbours[k] < 0) continue;
            double flow = 2 / (1 / conductivity[i] + 1 / conductivity[neighbours[k]]);
            add_entry(&count, neighbours[k], -flow);
            diagonal += flow;
        }
        add_entry(&count, i, diagonal);
        inverse_diagonal[i] = 1 / diagonal;
    }
    starts[UNKNOWNS] = count;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build();
    fill_f64(b, UNKNOWNS);
    print_u64("iterations", (uint64_t)solve(1e-9));
    print_f64("residual", sqrt(dot(r, r)));
    print_f64s("x", x, UNKNOWNS);
    return 0;
}
