// Fourier transforms of radix 2, recursive, used to convolve signals with a filter. Tags: simulation and numerics.
#include "harness.h"

#include <math.h>

enum { SIZE = PICK(4096, 8192, 32768), SIGNALS = PICK(7, 16, 30) };

typedef struct {
    double re, im;
} complex;

static complex roots[SIZE / 2], scratch[SIZE], filter[SIZE], signal[SIZE], spectrum[SIZE];
static double result[SIZE];

static complex multiply(complex a, complex b) {
    return (complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

static complex add(complex a, complex b) { return (complex){a.re + b.re, a.im + b.im}; }

static complex subtract(complex a, complex b) { return (complex){a.re - b.re, a.im - b.im}; }

static complex conjugate(complex a) { return (complex){a.re, -a.im}; }

// The roots of unity by halving angles: each root between two known ones is their sum, made one long.
static void fill_roots(int first, int last, complex after) {
    if (last - first < 2) return;
    int middle = (first + last) / 2;
    complex sum = add(roots[first], after);
    double length = sqrt(sum.re * sum.re + sum.im * sum.im);
    roots[middle] = (complex){sum.re / length, sum.im / length};
    fill_roots(first, middle, roots[middle]);
    fill_roots(middle, last, after);
}

static void build_roots(void) {
    roots[0] = (complex){1, 0};
    roots[SIZE / 4] = (complex){0, -1};
    fill_roots(0, SIZE / 4, roots[SIZE / 4]);
    fill_roots(SIZE / 4, SIZE / 2, (complex){-1, 0});
}

// Transforms every stride-th value of the input into count values of the output.
static void transform(const complex *in, complex *out, int count, int stride) {
    if (count == 1) {
        out[0] = in[0];
        return;
    }
    int half = count / 2;
    transform(in, out, half, 2 * stride);
    transform(in + stride, out + half, half, 2 * stride);
    for (int i = 0; i < half; i++) {
        complex even = out[i], odd = multiply(roots[i * stride], out[half + i]);
        out[i] = add(even, odd);
        out[half + i] = subtract(even, odd);
    }
}

// The inverse by the transform of the conjugates.
static void transform_back(complex *in, complex *out) {
    for (int i = 0; i < SIZE; i++) in[i] = conjugate(in[i]);
    transform(in, out, SIZE, 1);
    for (int i = 0; i < SIZE; i++) out[i] = (complex){out[i].re / SIZE, -out[i].im / SIZE};
}

// Adds the signal, convolved with what the spectrum stands for, to the result.
static void convolve(const complex *in) {
    transform(in, scratch, SIZE, 1);
    for (int i = 0; i < SIZE; i++) scratch[i] = multiply(scratch[i], spectrum[i]);
    static complex back[SIZE];
    transform_back(scratch, back);
    for (int i = 0; i < SIZE; i++) result[i] += back[i].re;
}

static void fill_real(complex *values, int count) {
    for (int i = 0; i < count; i++) values[i] = (complex){random_f64() - 0.5, 0};
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build_roots();
    fill_real(filter, SIZE / 16);
    transform(filter, spectrum, SIZE, 1);
    for (int i = 0; i < SIGNALS; i++) {
        fill_real(signal, SIZE);
        convolve(signal);
    }
    print_f64s("spectrum", (const double *)spectrum, 2 * (size_t)SIZE);
    print_f64s("result", result, SIZE);
    return 0;
}
