// Best matches among vectors: int8 dot products first, float cosines of the promising. Tags: dense linear algebra.
#include "harness.h"

#include <math.h>

enum { QUERIES = PICK(60, 160, 400), VECTORS = PICK(280, 640, 1900), WIDTH = 72, BEST = 5 };

typedef struct {
    int32_t index;
    float similarity;
} match;

static float queries[QUERIES][WIDTH], vectors[VECTORS][WIDTH];
static int8_t small_queries[QUERIES][WIDTH], small_vectors[VECTORS][WIDTH];
static match matches[QUERIES][BEST];

static void quantise(const float *from, int8_t *to, size_t count) {
    for (size_t i = 0; i < count; i++) to[i] = (int8_t)(from[i] * 250);
}

static int32_t dot_i8(const int8_t *x, const int8_t *y) {
    int32_t sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += x[i] * y[i];
    return sum;
}

static float dot_f32(const float *x, const float *y) {
    float sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += x[i] * y[i];
    return sum;
}

static float cosine(const float *x, const float *y) {
    return dot_f32(x, y) / (float)sqrt(dot_f32(x, x) * dot_f32(y, y));
}

// Keeps the matches sorted, the best in front.
static void insert(match *best, int32_t index, float similarity) {
    if (similarity <= best[BEST - 1].similarity) return;
    int place = BEST - 1;
    while (place > 0 && best[place - 1].similarity < similarity) {
        best[place] = best[place - 1];
        place--;
    }
    best[place].index = index;
    best[place].similarity = similarity;
}

// Returns how many float cosines were needed.
static uint64_t search(int32_t threshold) {
    uint64_t exact = 0;
    for (int q = 0; q < QUERIES; q++) {
        for (int i = 0; i < BEST; i++) matches[q][i] = (match){-1, -1};
        for (int v = 0; v < VECTORS; v++) {
            if (dot_i8(small_queries[q], small_vectors[v]) < threshold) continue;
            insert(matches[q], v, cosine(queries[q], vectors[v]));
            exact++;
        }
    }
    return exact;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_f32(&queries[0][0], (size_t)QUERIES * WIDTH);
    fill_f32(&vectors[0][0], (size_t)VECTORS * WIDTH);
    quantise(&queries[0][0], &small_queries[0][0], (size_t)QUERIES * WIDTH);
    quantise(&vectors[0][0], &small_vectors[0][0], (size_t)VECTORS * WIDTH);
    print_u64("exact", search(5000));
    print_bytes("matches", matches, sizeof matches);
    for (int q = 0; q < QUERIES; q += QUERIES / 8) print_f64("best", matches[q][0].similarity);
    return 0;
}
