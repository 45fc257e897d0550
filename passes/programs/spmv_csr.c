// Power iteration with a sparse matrix in compressed rows, some columns near, some far. Tags: sparse.
#include "harness.h"

#include <math.h>

enum { ROWS = PICK(1000, 4000, 12000), LONGEST = 24, ROUNDS = PICK(45, 62, 180) };

typedef struct {
    int32_t rows;
    int32_t *starts; // rows + 1 of them
    uint32_t *columns;
    double *values;
} csr;

static int32_t starts[ROWS + 1];
static uint32_t columns[ROWS * LONGEST];
static double values[ROWS * LONGEST], x[ROWS], y[ROWS];

static void multiply(const csr *m, const double *in, double *out) {
    for (int32_t row = 0; row < m->rows; row++) {
        double sum = 0;
        for (int32_t k = m->starts[row]; k < m->starts[row + 1]; k++) sum += m->values[k] * in[m->columns[k]];
        out[row] = sum;
    }
}

static double largest(const double *v, int count) {
    double best = 0;
    for (int i = 0; i < count; i++)
        if (fabs(v[i]) > best) best = fabs(v[i]);
    return best;
}

static double step(const csr *m, double *in, double *out) {
    multiply(m, in, out);
    double scale = largest(out, m->rows);
    for (int32_t i = 0; i < m->rows; i++) in[i] = out[i] / scale;
    return scale;
}

// Rows of 8 to LONGEST entries: three in four within 100 columns of the diagonal, the others anywhere.
static void build(csr *m) {
    int32_t count = 0;
    for (int32_t row = 0; row < m->rows; row++) {
        m->starts[row] = count;
        uint32_t length = 8 + random_below(LONGEST - 7);
        for (uint32_t i = 0; i < length; i++) {
            uint32_t far = random_below(ROWS), near = (uint32_t)row + far % 100;
            m->columns[count] = i % 4 ? near % ROWS : far;
            m->values[count++] = random_f64() - 0.25;
        }
    }
    m->starts[m->rows] = count;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    csr matrix = {ROWS, starts, columns, values};
    build(&matrix);
    fill_f64(x, ROWS);
    double scale = 0;
    for (int round = 0; round < ROUNDS; round++) scale = step(&matrix, x, y);
    print_u64("entries", (uint64_t)starts[ROWS]);
    print_f64("scale", scale);
    print_f64s("x", x, ROWS);
    return 0;
}
