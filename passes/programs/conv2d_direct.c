// Two layers of direct convolution in float32 with padding, stride, bias and ReLU. Tags: dense linear algebra.
#include "harness.h"

enum {
    SIDE = PICK(24, 48, 84),
    CHANNELS_IN = PICK(6, 8, 16),
    CHANNELS_MID = PICK(12, 16, 24),
    CHANNELS_OUT = PICK(16, 24, 48),
    KERNEL = 3
};

typedef struct {
    int channels, height, width;
    float *values; // channel by channel, each row by row
} tensor;

typedef struct {
    int in, out, stride;
    const float *weights, *bias; // weights[out][in][KERNEL][KERNEL]
} layer;

static float input[CHANNELS_IN * SIDE * SIDE], middle[CHANNELS_MID * SIDE * SIDE];
static float output[CHANNELS_OUT * (SIDE / 2) * (SIDE / 2)];
static float weights1[CHANNELS_MID * CHANNELS_IN * KERNEL * KERNEL], bias1[CHANNELS_MID];
static float weights2[CHANNELS_OUT * CHANNELS_MID * KERNEL * KERNEL], bias2[CHANNELS_OUT];

static float pixel(const tensor *t, int channel, int y, int x) {
    if (y < 0 || y >= t->height || x < 0 || x >= t->width) return 0;
    return t->values[(channel * t->height + y) * t->width + x];
}

static float relu(float value) { return value > 0 ? value : 0; }

static float convolve_at(const layer *l, const tensor *source, int out, int y, int x) {
    float sum = l->bias[out];
    for (int in = 0; in < l->in; in++)
        for (int ky = 0; ky < KERNEL; ky++)
            for (int kx = 0; kx < KERNEL; kx++) {
                float weight = l->weights[((out * l->in + in) * KERNEL + ky) * KERNEL + kx];
                sum += weight * pixel(source, in, y + ky - KERNEL / 2, x + kx - KERNEL / 2);
            }
    return sum;
}

static void convolve(const layer *l, const tensor *source, tensor *target) {
    for (int out = 0; out < l->out; out++)
        for (int y = 0; y < target->height; y++)
            for (int x = 0; x < target->width; x++)
                target->values[(out * target->height + y) * target->width + x] =
                    relu(convolve_at(l, source, out, y * l->stride, x * l->stride));
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_f32(input, sizeof input / sizeof *input);
    fill_f32(weights1, sizeof weights1 / sizeof *weights1);
    fill_f32(bias1, CHANNELS_MID);
    fill_f32(weights2, sizeof weights2 / sizeof *weights2);
    fill_f32(bias2, CHANNELS_OUT);
    tensor first = {CHANNELS_IN, SIDE, SIDE, input}, second = {CHANNELS_MID, SIDE, SIDE, middle};
    tensor third = {CHANNELS_OUT, SIDE / 2, SIDE / 2, output};
    layer layer1 = {CHANNELS_IN, CHANNELS_MID, 1, weights1, bias1};
    layer layer2 = {CHANNELS_MID, CHANNELS_OUT, 2, weights2, bias2};
    convolve(&layer1, &first, &second);
    convolve(&layer2, &second, &third);
    print_f32s("middle", middle, sizeof middle / sizeof *middle);
    print_f32s("output", output, sizeof output / sizeof *output);
    return 0;
}
