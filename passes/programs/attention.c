// Scaled dot-product attention of several heads in float32, softmax with its own exp. Tags: dense linear algebra.
#include "harness.h"

#include <math.h>

enum { HEADS = PICK(3, 4, 6), LENGTH = PICK(96, 256, 576), DEPTH = 32 };

static float queries[HEADS][LENGTH][DEPTH], keys[HEADS][LENGTH][DEPTH], contents[HEADS][LENGTH][DEPTH];
static float outputs[HEADS][LENGTH][DEPTH], scores[LENGTH];

// e to the x for -80 <= x <= 0: a power of two times a polynomial of what is left, which is within ln(2) / 2 of 0.
static float exp_approx(float x) {
    if (x < -80) x = -80;
    int32_t power = (int32_t)(x * 1.44269504f - 0.5f);
    float r = x - (float)power * 0.693147181f;
    float value = 1 + r * (1 + r * (0.5f + r * (0.166666667f + r * (0.0416666667f + r * 0.00833333333f))));
    uint32_t bits = (uint32_t)(power + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return value * scale;
}

static float dot(const float *x, const float *y, int count) {
    float sum = 0;
    for (int i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

static void softmax(float *values, int count) {
    float largest = values[0], sum = 0;
    for (int i = 1; i < count; i++)
        if (values[i] > largest) largest = values[i];
    for (int i = 0; i < count; i++) {
        values[i] = exp_approx(values[i] - largest);
        sum += values[i];
    }
    for (int i = 0; i < count; i++) values[i] /= sum;
}

static void attend(float (*q)[DEPTH], float (*k)[DEPTH], float (*v)[DEPTH], float (*out)[DEPTH]) {
    const float scale = (float)(1 / sqrt(DEPTH));
    for (int i = 0; i < LENGTH; i++) {
        for (int j = 0; j < LENGTH; j++) scores[j] = scale * dot(q[i], k[j], DEPTH);
        softmax(scores, LENGTH);
        for (int d = 0; d < DEPTH; d++) out[i][d] = 0;
        for (int j = 0; j < LENGTH; j++)
            for (int d = 0; d < DEPTH; d++) out[i][d] += scores[j] * v[j][d];
    }
}

static void scale_all(float *values, size_t count, float factor) {
    for (size_t i = 0; i < count; i++) values[i] *= factor;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    const size_t count = (size_t)HEADS * LENGTH * DEPTH;
    fill_f32(&queries[0][0][0], count);
    fill_f32(&keys[0][0][0], count);
    fill_f32(&contents[0][0][0], count);
    scale_all(&queries[0][0][0], count, 20); // spreads the scores, so that the softmax has something to choose
    for (int head = 0; head < HEADS; head++) attend(queries[head], keys[head], contents[head], outputs[head]);
    print_f32s("outputs", &outputs[0][0][0], count);
    return 0;
}
