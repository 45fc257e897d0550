// Lloyd's k-means on float points around hidden centres, starting far from each other. Tags: simulation and numerics.
#include "harness.h"

enum { POINTS = PICK(800, 2800, 8000), WIDTH = 10, CLUSTERS = PICK(10, 16, 32), ROUNDS = PICK(10, 16, 24) };

typedef struct {
    float at[WIDTH];
    uint8_t cluster;
} point;

static point points[POINTS];
static float centres[CLUSTERS][WIDTH];
static uint32_t members[CLUSTERS];

static float squared_distance(const float *a, const float *b) {
    float sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

static uint8_t nearest(const float *at, int count) {
    uint8_t best = 0;
    float least = squared_distance(at, centres[0]);
    for (int c = 1; c < count; c++) {
        float distance = squared_distance(at, centres[c]);
        if (distance < least) {
            least = distance;
            best = (uint8_t)c;
        }
    }
    return best;
}

// Every new centre is the point that is farthest from all the earlier ones.
static void choose_centres(void) {
    memcpy(centres[0], points[0].at, sizeof points[0].at);
    for (int c = 1; c < CLUSTERS; c++) {
        int farthest = 0;
        float most = -1;
        for (int i = 0; i < POINTS; i++) {
            float distance = squared_distance(points[i].at, centres[nearest(points[i].at, c)]);
            if (distance > most) {
                most = distance;
                farthest = i;
            }
        }
        memcpy(centres[c], points[farthest].at, sizeof points[farthest].at);
    }
}

// Returns how many points changed their cluster.
static uint32_t assign(void) {
    uint32_t changed = 0;
    for (int i = 0; i < POINTS; i++) {
        uint8_t best = nearest(points[i].at, CLUSTERS);
        changed += best != points[i].cluster;
        points[i].cluster = best;
    }
    return changed;
}

static void move_centres(void) {
    double sums[CLUSTERS][WIDTH] = {{0}};
    memset(members, 0, sizeof members);
    for (int i = 0; i < POINTS; i++) {
        int own = points[i].cluster;
        members[own]++;
        for (int k = 0; k < WIDTH; k++) sums[own][k] += points[i].at[k];
    }
    for (int c = 0; c < CLUSTERS; c++)
        for (int k = 0; k < WIDTH; k++)
            if (members[c]) centres[c][k] = (float)(sums[c][k] / members[c]);
}

// Returns a hash of how many points changed their cluster in each round.
static uint64_t improve(int rounds) {
    uint64_t hash = 0;
    for (int round = 0; round < rounds; round++) {
        hash = hash_word(hash, assign());
        move_centres();
    }
    return hash;
}

static void build(void) {
    float hidden[CLUSTERS][WIDTH];
    fill_f32(&hidden[0][0], (size_t)CLUSTERS * WIDTH);
    for (int i = 0; i < POINTS; i++) {
        const float *centre = hidden[random_below(CLUSTERS)];
        fill_f32(points[i].at, WIDTH);
        for (int k = 0; k < WIDTH; k++) points[i].at[k] = points[i].at[k] * 0.8f + centre[k];
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build();
    choose_centres();
    print_u64("changes", improve(ROUNDS));
    print_bytes("members", members, sizeof members);
    print_f32s("centres", &centres[0][0], (size_t)CLUSTERS * WIDTH);
    return 0;
}
