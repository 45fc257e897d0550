// Most likely states of a hidden Markov model, in float scores, with the path read back. Tags: dynamic programming.
#include "harness.h"

enum { STATES = PICK(24, 40, 72), SYMBOLS = 32, STEPS = PICK(1500, 2600, 6000) };

typedef struct {
    float initial[STATES];
    float transition[STATES][STATES]; // from, to: logarithms of likelihoods
    float emission[STATES][SYMBOLS];
} model;

static model m;
static uint8_t observed[STEPS], from[STEPS][STATES], path[STEPS];

static float largest(const float *values, int count) {
    float best = values[0];
    for (int i = 1; i < count; i++)
        if (values[i] > best) best = values[i];
    return best;
}

// One step: the best way into every state. The scores are kept near zero, what was taken away is returned.
static float advance(const float *before, float *now, uint8_t *came_from, uint8_t symbol) {
    for (int to = 0; to < STATES; to++) {
        float best = before[0] + m.transition[0][to];
        uint8_t source = 0;
        for (int s = 1; s < STATES; s++) {
            float score = before[s] + m.transition[s][to];
            if (score > best) {
                best = score;
                source = (uint8_t)s;
            }
        }
        now[to] = best + m.emission[to][symbol];
        came_from[to] = source;
    }
    float top = largest(now, STATES);
    for (int to = 0; to < STATES; to++) now[to] -= top;
    return top;
}

// Returns the score of the best path, which is left in path.
static double decode(void) {
    static float scores[2][STATES];
    for (int s = 0; s < STATES; s++) scores[0][s] = m.initial[s] + m.emission[s][observed[0]];
    double total = 0;
    for (int t = 1; t < STEPS; t++)
        total += (double)advance(scores[(t - 1) % 2], scores[t % 2], from[t], observed[t]);
    const float *last = scores[(STEPS - 1) % 2];
    uint8_t state = 0;
    for (int s = 1; s < STATES; s++)
        if (last[s] > last[state]) state = (uint8_t)s;
    total += (double)last[state];
    for (int t = STEPS - 1; t >= 0; t--) {
        path[t] = state;
        state = from[t][state];
    }
    return total;
}

static void fill_scores(float *values, size_t count) {
    for (size_t i = 0; i < count; i++) values[i] = (float)(-0.1 - 6 * random_f64());
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_scores(m.initial, STATES);
    fill_scores(&m.transition[0][0], (size_t)STATES * STATES);
    fill_scores(&m.emission[0][0], (size_t)STATES * SYMBOLS);
    for (int t = 0; t < STEPS; t++) observed[t] = (uint8_t)random_below(SYMBOLS);
    print_f64("score", decode());
    print_bytes("path", path, sizeof path);
    print_bytes("from", from, sizeof from);
    return 0;
}
