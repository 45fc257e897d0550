// Two layers trained by stochastic gradient descent in float, with softsign. Tags: simulation and numerics.
#include "harness.h"

enum { INPUTS = 24, HIDDEN = 48, OUTPUTS = 6, SAMPLES = PICK(100, 320, 800), EPOCHS = PICK(8, 19, 56) };

typedef struct {
    int inputs, outputs;
    float *weights, *bias, *values, *deltas; // weights[output][input]
} layer;

static float inputs[SAMPLES][INPUTS], targets[SAMPLES][OUTPUTS];
static float hidden_weights[HIDDEN * INPUTS], hidden_bias[HIDDEN], hidden_values[HIDDEN], hidden_deltas[HIDDEN];
static float output_weights[OUTPUTS * HIDDEN], output_bias[OUTPUTS], output_values[OUTPUTS], output_deltas[OUTPUTS];

static float absolute(float x) { return x < 0 ? -x : x; }

static float softsign(float x) { return x / (1 + absolute(x)); }

// From the value of softsign: its slope is 1 / (1 + |x|)^2.
static float slope(float value) { return (1 - absolute(value)) * (1 - absolute(value)); }

static void forward(layer *l, const float *in) {
    for (int o = 0; o < l->outputs; o++) {
        float sum = l->bias[o];
        for (int i = 0; i < l->inputs; i++) sum += l->weights[o * l->inputs + i] * in[i];
        l->values[o] = softsign(sum);
    }
}

// Returns the squared error and leaves the deltas of the last layer.
static float compare(layer *l, const float *wanted) {
    float loss = 0;
    for (int o = 0; o < l->outputs; o++) {
        float error = l->values[o] - wanted[o];
        l->deltas[o] = error * slope(l->values[o]);
        loss += error * error;
    }
    return loss;
}

static void backward(const layer *after, layer *l) {
    for (int i = 0; i < l->outputs; i++) {
        float sum = 0;
        for (int o = 0; o < after->outputs; o++) sum += after->weights[o * after->inputs + i] * after->deltas[o];
        l->deltas[i] = sum * slope(l->values[i]);
    }
}

static void update(layer *l, const float *in, float rate) {
    for (int o = 0; o < l->outputs; o++) {
        for (int i = 0; i < l->inputs; i++) l->weights[o * l->inputs + i] -= rate * l->deltas[o] * in[i];
        l->bias[o] -= rate * l->deltas[o];
    }
}

static double train_epoch(layer *hidden, layer *output, float rate) {
    double loss = 0;
    for (int s = 0; s < SAMPLES; s++) {
        forward(hidden, inputs[s]);
        forward(output, hidden->values);
        loss += (double)compare(output, targets[s]);
        backward(output, hidden);
        update(output, hidden->values, rate);
        update(hidden, inputs[s], rate);
    }
    return loss / SAMPLES;
}

// The targets: products of two inputs each.
static void build(void) {
    fill_f32(&inputs[0][0], (size_t)SAMPLES * INPUTS);
    for (int s = 0; s < SAMPLES; s++)
        for (int o = 0; o < OUTPUTS; o++) targets[s][o] = 3 * inputs[s][o] * inputs[s][o + OUTPUTS];
    fill_f32(hidden_weights, sizeof hidden_weights / sizeof *hidden_weights);
    fill_f32(output_weights, sizeof output_weights / sizeof *output_weights);
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    layer hidden = {INPUTS, HIDDEN, hidden_weights, hidden_bias, hidden_values, hidden_deltas};
    layer output = {HIDDEN, OUTPUTS, output_weights, output_bias, output_values, output_deltas};
    build();
    double first = train_epoch(&hidden, &output, 0.05f), last = first;
    for (int epoch = 1; epoch < EPOCHS; epoch++) last = train_epoch(&hidden, &output, 0.05f);
    print_f64("first loss", first);
    print_f64("last loss", last);
    print_f32s("hidden weights", hidden_weights, sizeof hidden_weights / sizeof *hidden_weights);
    print_f32s("output weights", output_weights, sizeof output_weights / sizeof *output_weights);
    return 0;
}
