// Asian and barrier options over simulated paths, with its own random, log and exp. Tags: simulation and numerics.
#include "harness.h"

#include <math.h>

enum { PATHS = PICK(800, 4500, 32000), STEPS = 32, STRIKES = 8 };

typedef struct {
    uint64_t state;
    int has_spare;
    double spare;
} generator;

typedef struct {
    double spot, rate, volatility, years, barrier;
} market;

static double asian[STRIKES], barrier_call[STRIKES];

static uint64_t next_u64(generator *g) { // SplitMix64, Steele, Lea and Flood 2014
    uint64_t z = g->state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

static double next_uniform(generator *g) { return (double)(next_u64(g) >> 11) * 0x1p-53; }

// For normal x > 0: the exponent times log(2), and a series for the mantissa.
static double log_approx(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFull) | 1023ull << 52;
    double mantissa;
    memcpy(&mantissa, &bits, sizeof mantissa);
    double s = (mantissa - 1) / (mantissa + 1), power = s, sum = 0;
    for (int i = 1; i < 20; i += 2) {
        sum += power / i;
        power *= s * s;
    }
    return 2 * sum + exponent * 0.69314718055994531;
}

// For |x| < 700: a power of two times the series of what is left.
static double exp_approx(double x) {
    int exponent = (int)(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5));
    double rest = x - exponent * 0.69314718055994531, term = 1, sum = 1;
    for (int i = 1; i < 12; i++) {
        term *= rest / i;
        sum += term;
    }
    double scale;
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

// Two normal numbers from a point in the unit disc, by Marsaglia's polar method; the second is kept for the next call.
static double next_normal(generator *g) {
    if (g->has_spare) {
        g->has_spare = 0;
        return g->spare;
    }
    double x, y, squared;
    do {
        x = 2 * next_uniform(g) - 1;
        y = 2 * next_uniform(g) - 1;
        squared = x * x + y * y;
    } while (squared >= 1 || squared == 0);
    double factor = sqrt(-2 * log_approx(squared) / squared);
    g->spare = y * factor;
    g->has_spare = 1;
    return x * factor;
}

static double positive(double x) { return x > 0 ? x : 0; }

static void simulate(generator *g, const market *m) {
    double dt = m->years / STEPS, spread = m->volatility * sqrt(dt), drift = m->rate * dt - spread * spread / 2;
    for (int path = 0; path < PATHS; path++) {
        double price = m->spot, sum = 0, highest = price;
        for (int i = 0; i < STEPS; i++) {
            price *= exp_approx(drift + spread * next_normal(g));
            sum += price;
            if (price > highest) highest = price;
        }
        for (int i = 0; i < STRIKES; i++) {
            double strike = m->spot * (0.9 + 0.05 * i);
            asian[i] += positive(sum / STEPS - strike);
            if (highest < m->barrier) barrier_call[i] += positive(price - strike);
        }
    }
    double discount = exp_approx(-m->rate * m->years) / PATHS;
    for (int i = 0; i < STRIKES; i++) {
        asian[i] *= discount;
        barrier_call[i] *= discount;
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    generator g = {.state = random_u64()};
    market m = {100, 0.03, 0.2 + 0.1 * random_f64(), 1, 135};
    simulate(&g, &m);
    print_f64s("asian", asian, STRIKES);
    print_f64s("barrier", barrier_call, STRIKES);
    return 0;
}
