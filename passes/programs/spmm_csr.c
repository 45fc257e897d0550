// Features passed along the edges of a graph: sparse rows times a dense float matrix, with ReLU. Tags: sparse.
#include "harness.h"

enum { NODES = PICK(500, 1500, 6000), FEATURES = 24, DEGREE = 12, LAYERS = PICK(6, 14, 28) };

typedef struct {
    uint32_t first[NODES + 1];
    uint16_t neighbour[NODES * DEGREE * 2];
    float weight[NODES * DEGREE * 2];
} graph;

static graph edges;
static float features[NODES][FEATURES], gathered[NODES][FEATURES];
static float mixing[LAYERS][FEATURES][FEATURES];

// out = graph * in, row by row.
static void gather(const graph *g, float (*in)[FEATURES], float (*out)[FEATURES]) {
    for (int node = 0; node < NODES; node++) {
        for (int f = 0; f < FEATURES; f++) out[node][f] = 0;
        for (uint32_t edge = g->first[node]; edge < g->first[node + 1]; edge++)
            for (int f = 0; f < FEATURES; f++) out[node][f] += g->weight[edge] * in[g->neighbour[edge]][f];
    }
}

// out = half of what it holds and half of relu(weights * in), which keeps the features from dying out.
static void mix(float (*in)[FEATURES], float (*weights)[FEATURES], float (*out)[FEATURES]) {
    for (int node = 0; node < NODES; node++) {
        for (int f = 0; f < FEATURES; f++) {
            float sum = 0;
            for (int k = 0; k < FEATURES; k++) sum += in[node][k] * weights[f][k];
            out[node][f] = 0.5f * out[node][f] + (sum > 0 ? 0.5f * sum : 0);
        }
    }
}

static void run_layers(void) {
    for (int layer = 0; layer < LAYERS; layer++) {
        gather(&edges, features, gathered);
        mix(gathered, mixing[layer], features);
    }
}

// Between DEGREE and 2 DEGREE - 1 edges out of each node, with weights that add up to about 1.
static void build_graph(graph *g) {
    uint32_t count = 0;
    for (int node = 0; node < NODES; node++) {
        g->first[node] = count;
        uint32_t degree = DEGREE + random_below(DEGREE);
        for (uint32_t i = 0; i < degree; i++) {
            g->neighbour[count] = (uint16_t)random_below(NODES);
            g->weight[count++] = (float)(2 * random_f64() / degree);
        }
    }
    g->first[NODES] = count;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build_graph(&edges);
    fill_f32(&features[0][0], (size_t)NODES * FEATURES);
    fill_f32(&mixing[0][0][0], (size_t)LAYERS * FEATURES * FEATURES);
    run_layers();
    print_u64("edges", edges.first[NODES]);
    print_f32s("features", &features[0][0], (size_t)NODES * FEATURES);
    return 0;
}
