// Bodies under their own gravity, softened, all pairs, by leapfrog steps. Tags: simulation and numerics.
#include "harness.h"

#include <math.h>

enum { BODIES = PICK(60, 120, 200), STEPS = PICK(80, 160, 440) };

typedef struct {
    double x, y, z;
} vector;

typedef struct {
    vector position, velocity, acceleration;
    double mass;
} body;

static body bodies[BODIES];
static const double softening = 0.01;

static vector add_scaled(vector a, double factor, vector b) {
    return (vector){a.x + factor * b.x, a.y + factor * b.y, a.z + factor * b.z};
}

static double dot(vector a, vector b) { return a.x * b.x + a.y * b.y + a.z * b.z; }

static void attract(body *a, body *b) {
    vector apart = add_scaled(b->position, -1, a->position);
    double squared = dot(apart, apart) + softening;
    double pull = 1 / (squared * sqrt(squared));
    a->acceleration = add_scaled(a->acceleration, pull * b->mass, apart);
    b->acceleration = add_scaled(b->acceleration, -pull * a->mass, apart);
}

static void accelerate_all(void) {
    for (int i = 0; i < BODIES; i++) bodies[i].acceleration = (vector){0, 0, 0};
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) attract(&bodies[i], &bodies[j]);
}

static void step(double dt) {
    for (int i = 0; i < BODIES; i++) {
        body *b = &bodies[i];
        b->velocity = add_scaled(b->velocity, dt / 2, b->acceleration);
        b->position = add_scaled(b->position, dt, b->velocity);
    }
    accelerate_all();
    for (int i = 0; i < BODIES; i++)
        bodies[i].velocity = add_scaled(bodies[i].velocity, dt / 2, bodies[i].acceleration);
}

static double energy(void) {
    double sum = 0;
    for (int i = 0; i < BODIES; i++) {
        sum += bodies[i].mass * dot(bodies[i].velocity, bodies[i].velocity) / 2;
        for (int j = i + 1; j < BODIES; j++) {
            vector apart = add_scaled(bodies[j].position, -1, bodies[i].position);
            sum -= bodies[i].mass * bodies[j].mass / sqrt(dot(apart, apart) + softening);
        }
    }
    return sum;
}

static vector random_vector(void) {
    double x = random_f64() - 0.5, y = random_f64() - 0.5, z = random_f64() - 0.5;
    return (vector){x, y, z};
}

static void build(void) {
    for (int i = 0; i < BODIES; i++) {
        bodies[i].position = random_vector();
        bodies[i].velocity = random_vector();
        bodies[i].mass = (0.5 + random_f64()) / BODIES;
    }
    accelerate_all();
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build();
    print_f64("energy before", energy());
    for (int i = 0; i < STEPS; i++) step(0.001);
    print_f64("energy after", energy());
    print_f64s("bodies", (const double *)bodies, BODIES * sizeof(body) / sizeof(double));
    return 0;
}
