// Electric and magnetic fields in the plane by finite differences in time, with a pulse. Tags: stencils and images.
#include "harness.h"

enum { NX = PICK(64, 120, 240), NY = PICK(72, 140, 260), STEPS = PICK(130, 200, 450) };

typedef struct {
    double ex[NX][NY + 1], ey[NX + 1][NY], hz[NX][NY];
} fields;

static fields f;
static double inverse[NX][NY]; // of the permittivity of the material, at most 1

static void update_electric(fields *v) {
    for (int i = 1; i < NX; i++)
        for (int j = 0; j < NY; j++) v->ey[i][j] -= 0.5 * inverse[i][j] * (v->hz[i][j] - v->hz[i - 1][j]);
    for (int i = 0; i < NX; i++)
        for (int j = 1; j < NY; j++) v->ex[i][j] += 0.5 * inverse[i][j] * (v->hz[i][j] - v->hz[i][j - 1]);
}

static void update_magnetic(fields *v) {
    for (int i = 0; i < NX; i++)
        for (int j = 0; j < NY; j++)
            v->hz[i][j] += 0.7 * (v->ex[i][j + 1] - v->ex[i][j] - v->ey[i + 1][j] + v->ey[i][j]);
}

// Rises and falls once within 40 steps, a parabola.
static double pulse(int step) {
    double t = step / 20.0 - 1;
    return t < 1 ? 1 - t * t : 0;
}

// The tangential fields of the border stay zero, so that the pulse is reflected there.
static void run(fields *v, int steps) {
    for (int step = 0; step < steps; step++) {
        update_electric(v);
        v->hz[NX / 3][NY / 4] += pulse(step);
        update_magnetic(v);
    }
}

static double square(double x) { return x * x; }

static double energy(const fields *v) {
    double sum = 0;
    for (int i = 0; i < NX; i++)
        for (int j = 0; j < NY; j++)
            sum += square(v->hz[i][j]) + (square(v->ex[i][j]) + square(v->ey[i][j])) / inverse[i][j];
    return sum;
}

static void build(void) {
    fill_f64(&f.hz[0][0], (size_t)NX * NY); // noise everywhere
    for (int i = 0; i < NX; i++)
        for (int j = 0; j < NY; j++) inverse[i][j] = i > NX / 2 && j > NY / 2 ? 0.4 : 0.9 + 0.1 * random_f64();
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build();
    run(&f, STEPS);
    print_f64("energy", energy(&f));
    print_f64s("ex", &f.ex[0][0], (size_t)NX * (NY + 1));
    print_f64s("ey", &f.ey[0][0], (size_t)(NX + 1) * NY);
    print_f64s("hz", &f.hz[0][0], (size_t)NX * NY);
    return 0;
}
