// A vector carried through a chain of matrices and back, as in a power method. Tags: dense linear algebra.
#include "harness.h"

#include <math.h>

enum { LINKS = 4, WIDEST = PICK(96, 160, 256), ROUNDS = PICK(36, 120, 340) };

typedef struct {
    int rows, cols;
    double entries[WIDEST * WIDEST]; // row by row, rows * cols of them in use
} matrix;

static matrix chain[LINKS];
static double start[WIDEST], values[WIDEST], products[WIDEST];

static void multiply(const matrix *m, const double *x, double *y) {
    for (int i = 0; i < m->rows; i++) {
        const double *row = &m->entries[i * m->cols];
        double sum = 0;
        for (int j = 0; j < m->cols; j++) sum += row[j] * x[j];
        y[i] = sum;
    }
}

static void multiply_transposed(const matrix *m, const double *x, double *y) {
    for (int j = 0; j < m->cols; j++) y[j] = 0;
    for (int i = 0; i < m->rows; i++)
        for (int j = 0; j < m->cols; j++) y[j] += m->entries[i * m->cols + j] * x[i];
}

// Scales the vector to length 1 and returns the length that it had.
static double normalise(double *x, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) sum += x[i] * x[i];
    double length = sqrt(sum);
    for (int i = 0; i < count; i++) x[i] /= length;
    return length;
}

// One step of the power method for A'A, where A is the product of the chain: returns by how much the vector grew.
static double there_and_back(double *x, double *y) {
    double growth = 1;
    for (int k = 0; k < LINKS; k++) {
        multiply(&chain[k], x, y);
        growth *= normalise(y, chain[k].rows);
        memcpy(x, y, sizeof *x * (size_t)chain[k].rows);
    }
    for (int k = LINKS - 1; k >= 0; k--) {
        multiply_transposed(&chain[k], x, y);
        growth *= normalise(y, chain[k].cols);
        memcpy(x, y, sizeof *x * (size_t)chain[k].cols);
    }
    return growth;
}

static void build_chain(void) {
    const int widths[LINKS + 1] = {WIDEST, WIDEST * 3 / 4, WIDEST, WIDEST / 2, WIDEST};
    for (int k = 0; k < LINKS; k++) {
        chain[k].cols = widths[k];
        chain[k].rows = widths[k + 1];
        fill_f64(chain[k].entries, (size_t)chain[k].rows * (size_t)chain[k].cols);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build_chain();
    fill_f64(start, WIDEST);
    memcpy(values, start, sizeof values);
    double growth = 0;
    for (int round = 0; round < ROUNDS; round++) growth = there_and_back(values, products);
    print_f64("largest singular value", sqrt(growth));
    print_f64s("singular vector", values, WIDEST);
    return 0;
}
