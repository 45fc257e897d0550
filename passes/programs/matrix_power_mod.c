// Powers of matrices modulo a prime by repeated squaring, for walks in graphs and recurrences. Tags: number theory.
#include "harness.h"

enum { SIZE = PICK(8, 16, 32), POWERS = PICK(4, 6, 10), MODULUS = 1000000007 };

struct matrix {
    int size;
    uint32_t cells[SIZE][SIZE];
};

static struct matrix walks;

static struct matrix identity(int size) {
    struct matrix matrix = {size, {{0}}};
    for (int i = 0; i < size; i++) matrix.cells[i][i] = 1;
    return matrix;
}

static uint32_t multiply_mod(uint32_t a, uint32_t b) { return (uint32_t)((uint64_t)a * b % MODULUS); }

static uint32_t add_mod(uint32_t a, uint32_t b) {
    uint32_t sum = a + b;
    return sum >= MODULUS ? sum - MODULUS : sum;
}

static void multiply(struct matrix *product, const struct matrix *a, const struct matrix *b) {
    struct matrix result = {a->size, {{0}}};
    for (int i = 0; i < a->size; i++)
        for (int j = 0; j < a->size; j++) {
            uint32_t sum = 0;
            for (int k = 0; k < a->size; k++) sum = add_mod(sum, multiply_mod(a->cells[i][k], b->cells[k][j]));
            result.cells[i][j] = sum;
        }
    *product = result;
}

static void power(struct matrix *result, const struct matrix *base, uint64_t exponent) {
    struct matrix square = *base;
    *result = identity(base->size);
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1) multiply(result, result, &square);
        if (exponent > 1) multiply(&square, &square, &square);
    }
}

// The term x[n] of x[n] = sum of coefficients[i] * x[n - 1 - i], where the first terms are all 1.
static uint32_t recurrence(const uint32_t *coefficients, int size, uint64_t n) {
    struct matrix step = {size, {{0}}}, many;
    uint32_t term = 0;
    for (int i = 0; i < size; i++) step.cells[0][i] = coefficients[i];
    for (int i = 1; i < size; i++) step.cells[i][i - 1] = 1;
    power(&many, &step, n);
    for (int i = 0; i < size; i++) term = add_mod(term, many.cells[size - 1][i]);
    return term;
}

static uint32_t trace(const struct matrix *matrix) {
    uint32_t sum = 0;
    for (int i = 0; i < matrix->size; i++) sum = add_mod(sum, matrix->cells[i][i]);
    return sum;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    static const uint32_t fibonacci[2] = {1, 1}; // from 1, 1: the term 99 is the Fibonacci number 100
    uint32_t coefficients[SIZE];
    print_u64("known_answer_ok", recurrence(fibonacci, 2, 99) == 687995182);
    walks.size = SIZE;
    for (int i = 0; i < SIZE; i++) {
        coefficients[i] = random_below(MODULUS);
        for (int j = 0; j < SIZE; j++) walks.cells[i][j] = random_below(3) == 0;
    }
    for (int i = 0; i < POWERS; i++) {
        struct matrix many;
        power(&many, &walks, random_u64() >> (i * 4));
        print_u64("closed_walks", trace(&many));
        print_u64("term", recurrence(coefficients, SIZE, 1 + many.cells[0][SIZE - 1]));
    }
    return 0;
}
