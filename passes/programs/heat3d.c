// Heat flowing through a block of uneven material, explicit steps in float on a flat array. Tags: stencils and images.
#include "harness.h"

enum { NX = PICK(24, 40, 64), NY = PICK(20, 36, 60), NZ = PICK(24, 40, 64), STEPS = PICK(100, 100, 180) };

typedef struct {
    int nx, ny, nz;
    float *temperature, *next, *material;
} block;

static float temperature[NX * NY * NZ], next[NX * NY * NZ], material[NX * NY * NZ];

static int at(const block *b, int x, int y, int z) { return (x * b->ny + y) * b->nz + z; }

// Heat flows along an edge as the mean of the two materials lets it.
static float flow(const block *b, int here, int there) {
    float conductivity = 0.5f * (b->material[here] + b->material[there]);
    return conductivity * (b->temperature[there] - b->temperature[here]);
}

static void step(block *b, float dt) {
    for (int x = 1; x < b->nx - 1; x++)
        for (int y = 1; y < b->ny - 1; y++)
            for (int z = 1; z < b->nz - 1; z++) {
                int here = at(b, x, y, z);
                float total = flow(b, here, at(b, x - 1, y, z)) + flow(b, here, at(b, x + 1, y, z));
                total += flow(b, here, at(b, x, y - 1, z)) + flow(b, here, at(b, x, y + 1, z));
                total += flow(b, here, at(b, x, y, z - 1)) + flow(b, here, at(b, x, y, z + 1));
                b->next[here] = b->temperature[here] + dt * total;
            }
    float *swap = b->temperature;
    b->temperature = b->next;
    b->next = swap;
}

static double mean(const block *b) {
    double sum = 0;
    const int count = b->nx * b->ny * b->nz;
    for (int i = 0; i < count; i++) sum += b->temperature[i];
    return sum / count;
}

static void build(block *b) {
    const int count = b->nx * b->ny * b->nz;
    fill_f32(b->temperature, (size_t)count);
    memcpy(b->next, b->temperature, sizeof *b->next * (size_t)count); // the faces keep their temperature
    for (int i = 0; i < count; i++) b->material[i] = (float)(0.2 + 0.6 * random_f64());
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    block b = {NX, NY, NZ, temperature, next, material};
    build(&b);
    for (int i = 0; i < STEPS; i++) step(&b, 0.15f);
    print_f64("mean", mean(&b));
    print_f32s("temperature", b.temperature, (size_t)NX * NY * NZ);
    return 0;
}
