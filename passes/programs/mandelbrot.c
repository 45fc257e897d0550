// Escape times of the Mandelbrot set and of a Julia set, with a histogram. Tags: simulation and numerics.
#include "harness.h"

enum { WIDTH = PICK(104, 240, 640), HEIGHT = PICK(78, 180, 480), MOST = PICK(120, 200, 300) };

typedef struct {
    double re, im;
} complex;

static uint16_t mandelbrot[HEIGHT][WIDTH], julia[HEIGHT][WIDTH];
static uint32_t histogram[MOST + 1];

static complex multiply(complex a, complex b) {
    return (complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

static complex add(complex a, complex b) { return (complex){a.re + b.re, a.im + b.im}; }

static double squared_length(complex a) { return a.re * a.re + a.im * a.im; }

static uint16_t escape_time(complex z, complex c) {
    uint16_t count = 0;
    while (count < MOST && squared_length(z) <= 4) {
        z = add(multiply(z, z), c);
        count++;
    }
    return count;
}

// The heart and the disc left of it never escape.
static int surely_inside(complex c) {
    double x = c.re - 0.25, q = x * x + c.im * c.im;
    return q * (q + x) <= 0.25 * c.im * c.im || squared_length(add(c, (complex){1, 0})) <= 0.0625;
}

static complex point(int row, int col, complex centre, double span) {
    double scale = span / WIDTH;
    return (complex){centre.re + scale * (col - WIDTH / 2), centre.im + scale * (row - HEIGHT / 2)};
}

static void draw_mandelbrot(complex centre, double span) {
    for (int row = 0; row < HEIGHT; row++)
        for (int col = 0; col < WIDTH; col++) {
            complex c = point(row, col, centre, span);
            mandelbrot[row][col] = surely_inside(c) ? MOST : escape_time((complex){0, 0}, c);
        }
}

static void draw_julia(complex c, double span) {
    for (int row = 0; row < HEIGHT; row++)
        for (int col = 0; col < WIDTH; col++)
            julia[row][col] = escape_time(point(row, col, (complex){0, 0}, span), c);
}

static void count_times(void) {
    for (int row = 0; row < HEIGHT; row++)
        for (int col = 0; col < WIDTH; col++) {
            histogram[mandelbrot[row][col]]++;
            histogram[julia[row][col]]++;
        }
}

static complex near(double re, double im) {
    double dx = random_f64() - 0.5, dy = random_f64() - 0.5;
    return (complex){re + dx / 500, im + dy / 500};
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    draw_mandelbrot(near(-0.7, 0), 3.2);
    draw_julia(near(-0.75, 0.11), 3);
    count_times();
    print_bytes("mandelbrot", mandelbrot, sizeof mandelbrot);
    print_bytes("julia", julia, sizeof julia);
    print_bytes("histogram", histogram, sizeof histogram);
    print_u64("never", histogram[MOST]);
    return 0;
}
