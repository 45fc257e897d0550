// PageRank by power iteration over incoming edges, until the ranks hardly change. Tags: graph traversal.
#include "harness.h"

enum { NODES = PICK(1000, 6000, 40000), EDGES = NODES * 12, MAX_ITERATIONS = PICK(20, 40, 90) };

struct edge {
    int32_t from, to;
};

struct graph {
    int32_t first[NODES + 1]; // where each node's incoming edges begin
    int32_t source[EDGES];
    uint32_t out_degree[NODES];
};

static struct edge edges[EDGES];
static struct graph graph;
static double ranks[NODES], shares[NODES];

static void build_graph(struct graph *to, const struct edge *list, int count) {
    for (int i = 0; i < count; i++) {
        to->first[list[i].to + 1]++;
        to->out_degree[list[i].from]++;
    }
    for (int i = 0; i < NODES; i++) to->first[i + 1] += to->first[i];
    static int32_t filled[NODES];
    for (int i = 0; i < count; i++) {
        int32_t node = list[i].to;
        to->source[to->first[node] + filled[node]++] = list[i].from;
    }
}

// What nodes without a way out would pass on goes to everyone alike.
static double share_out(const struct graph *in, const double *rank, double *share) {
    double dangling = 0;
    for (int i = 0; i < NODES; i++) {
        if (in->out_degree[i] == 0) {
            dangling += rank[i];
            share[i] = 0;
        } else {
            share[i] = rank[i] / in->out_degree[i];
        }
    }
    return dangling / NODES;
}

static double gather(const struct graph *in, double *rank, const double *share, double damping, double dangling) {
    double change = 0;
    for (int i = 0; i < NODES; i++) {
        double sum = 0;
        for (int32_t e = in->first[i]; e < in->first[i + 1]; e++) sum += share[in->source[e]];
        double updated = (1 - damping) / NODES + damping * (sum + dangling);
        double difference = updated - rank[i];
        change += difference < 0 ? -difference : difference;
        rank[i] = updated;
    }
    return change;
}

static int pagerank(const struct graph *in, double *rank, double damping, double tolerance) {
    for (int i = 0; i < NODES; i++) rank[i] = 1.0 / NODES;
    for (int iteration = 1; iteration <= MAX_ITERATIONS; iteration++) {
        double dangling = share_out(in, rank, shares);
        if (gather(in, rank, shares, damping, dangling) < tolerance) return iteration;
    }
    return MAX_ITERATIONS;
}

static int highest(const double *values, int count) {
    int best = 0;
    for (int i = 1; i < count; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < EDGES; i++) { // low numbers are linked to more often
        uint64_t bits = random_u64();
        uint64_t a = bits >> 8 & 0xFFFFFF, b = bits >> 32 & 0xFFFFFF;
        edges[i].from = (int32_t)((bits & 0xFF) * 79 + a) % NODES;
        edges[i].to = (int32_t)((a * b >> 24) * NODES >> 24);
    }
    build_graph(&graph, edges, EDGES);
    print_u64("iterations", (uint64_t)pagerank(&graph, ranks, 0.85, 1e-9));
    print_f64("highest", ranks[highest(ranks, NODES)]);
    print_f64s("ranks", ranks, NODES);
    print_u64("iterations", (uint64_t)pagerank(&graph, ranks, 0.99, 1e-12));
    print_f64("highest", ranks[highest(ranks, NODES)]);
    print_f64s("ranks", ranks, NODES);
    return 0;
}
