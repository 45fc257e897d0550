// Flow past obstacles by the lattice Boltzmann method with nine directions and walls. Tags: simulation and numerics.
#include "harness.h"

enum { WIDTH = PICK(40, 64, 128), HEIGHT = PICK(24, 40, 64), STEPS = PICK(40, 100, 220), DIRECTIONS = 9 };

typedef double lattice[HEIGHT][WIDTH][DIRECTIONS];

typedef struct {
    double density, ux, uy;
} moments;

static lattice lattices[2];
static uint8_t solid[HEIGHT][WIDTH];
static double speed[HEIGHT][WIDTH];

static const int8_t cx[DIRECTIONS] = {0, 1, 0, -1, 0, 1, -1, -1, 1}, cy[DIRECTIONS] = {0, 0, 1, 0, -1, 1, 1, -1, -1};
static const uint8_t opposite[DIRECTIONS] = {0, 3, 4, 1, 2, 7, 8, 5, 6};
static const double weight[DIRECTIONS] = {4. / 9,  1. / 9,  1. / 9,  1. / 9, 1. / 9,
                                          1. / 36, 1. / 36, 1. / 36, 1. / 36};

static double equilibrium(moments m, int d) {
    double along = cx[d] * m.ux + cy[d] * m.uy;
    return weight[d] * m.density * (1 + 3 * along + 4.5 * along * along - 1.5 * (m.ux * m.ux + m.uy * m.uy));
}

static moments moments_of(const double *f) {
    moments m = {0, 0, 0};
    for (int d = 0; d < DIRECTIONS; d++) {
        m.density += f[d];
        m.ux += f[d] * cx[d];
        m.uy += f[d] * cy[d];
    }
    m.ux /= m.density;
    m.uy /= m.density;
    return m;
}

// Towards the equilibrium, with a steady push to the right.
static void collide(double *f, double rate) {
    moments m = moments_of(f);
    m.ux += 1e-4;
    for (int d = 0; d < DIRECTIONS; d++) f[d] += rate * (equilibrium(m, d) - f[d]);
}

// What arrives comes from the neighbours, or back from a wall; left and right, top and bottom are joined.
static void stream(lattice from, lattice to) {
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int d = 0; d < DIRECTIONS; d++) {
                int source_y = (y - cy[d] + HEIGHT) % HEIGHT, source_x = (x - cx[d] + WIDTH) % WIDTH;
                to[y][x][d] = solid[source_y][source_x] ? from[y][x][opposite[d]] : from[source_y][source_x][d];
            }
}

static void step(lattice from, lattice to) {
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            if (!solid[y][x]) collide(from[y][x], 1.2);
    stream(from, to);
}

// Walls above and below, obstacles anywhere else.
static void build(void) {
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            solid[y][x] = y == 0 || y == HEIGHT - 1 || random_below(40) == 0;
            moments m = {1, 0.05, 0};
            m.density += 0.01 * random_f64();
            m.ux += 0.01 * random_f64();
            for (int d = 0; d < DIRECTIONS; d++) lattices[0][y][x][d] = equilibrium(m, d);
        }
}

static double measure(lattice f) {
    double mass = 0;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            moments m = moments_of(f[y][x]);
            speed[y][x] = solid[y][x] ? 0 : m.ux;
            mass += solid[y][x] ? 0 : m.density;
        }
    return mass;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build();
    for (int i = 0; i < STEPS; i++) step(lattices[i % 2], lattices[(i + 1) % 2]);
    print_f64("mass", measure(lattices[STEPS % 2]));
    print_f64s("speed", &speed[0][0], (size_t)HEIGHT * WIDTH);
    return 0;
}
