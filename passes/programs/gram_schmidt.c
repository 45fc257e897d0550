// QR factors by modified Gram-Schmidt over the columns of a row-major matrix. Tags: dense linear algebra.
#include "harness.h"

#include <math.h>

enum { ROWS = PICK(112, 224, 448), COLS = PICK(88, 190, 330) };

static double q[ROWS][COLS], r[COLS][COLS];

static double column_dot(int i, int j) {
    double sum = 0;
    for (int row = 0; row < ROWS; row++) sum += q[row][i] * q[row][j];
    return sum;
}

static void subtract_column(int target, int source, double factor) {
    for (int row = 0; row < ROWS; row++) q[row][target] -= factor * q[row][source];
}

static void scale_column(int col, double factor) {
    for (int row = 0; row < ROWS; row++) q[row][col] *= factor;
}

static void gram_schmidt(void) {
    for (int k = 0; k < COLS; k++) {
        r[k][k] = sqrt(column_dot(k, k));
        scale_column(k, 1 / r[k][k]);
        for (int j = k + 1; j < COLS; j++) {
            r[k][j] = column_dot(k, j);
            subtract_column(j, k, r[k][j]);
        }
    }
}

// Largest deviation from perpendicular columns, over neighbours only.
static double worst_angle(void) {
    double worst = 0;
    for (int j = 1; j < COLS; j++) {
        double angle = fabs(column_dot(j - 1, j));
        if (angle > worst) worst = angle;
    }
    return worst;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_f64(&q[0][0], (size_t)ROWS * COLS);
    gram_schmidt();
    print_u64("perpendicular", worst_angle() < 1e-12);
    print_f64s("q", &q[0][0], (size_t)ROWS * COLS);
    print_f64s("r", &r[0][0], (size_t)COLS * COLS);
    return 0;
}
