// Triangles of a graph and each node's clustering, by merging sorted lists of neighbours. Tags: graph traversal.
#include "harness.h"

enum { NODES = PICK(300, 650, 2300), EDGES = NODES * PICK(10, 18, 30) };

struct edge {
    uint16_t low, high;
};

static struct edge edges[EDGES];
static uint32_t first[NODES + 1], triangles[NODES];
static uint16_t neighbours[2 * EDGES];
static double clustering[NODES];

static int compare_neighbours(const void *a, const void *b) {
    return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

static uint32_t degree_of(int node) { return first[node + 1] - first[node]; }

// Both directions of each edge; duplicates are dropped after sorting.
static void build_adjacency(void) {
    static uint32_t filled[NODES];
    for (int i = 0; i < EDGES; i++) {
        first[edges[i].low + 1]++;
        first[edges[i].high + 1]++;
    }
    for (int i = 0; i < NODES; i++) first[i + 1] += first[i];
    for (int i = 0; i < EDGES; i++) {
        neighbours[first[edges[i].low] + filled[edges[i].low]++] = edges[i].high;
        neighbours[first[edges[i].high] + filled[edges[i].high]++] = edges[i].low;
    }
    uint32_t kept = 0, start = 0;
    for (int i = 0; i < NODES; i++) {
        uint32_t end = first[i + 1];
        qsort(neighbours + start, end - start, sizeof *neighbours, compare_neighbours);
        first[i] = kept;
        for (uint32_t e = start; e < end; e++)
            if (e == start || neighbours[e] != neighbours[e - 1]) neighbours[kept++] = neighbours[e];
        start = end;
    }
    first[NODES] = kept;
}

// Common neighbours of a and b above b: each makes a triangle with them.
static uint32_t count_common(int a, int b) {
    uint32_t i = first[a], j = first[b], found = 0;
    while (i < first[a + 1] && j < first[b + 1]) {
        uint16_t x = neighbours[i], y = neighbours[j];
        if (x == y && x > b) {
            triangles[x]++;
            found++;
        }
        if (x <= y) i++;
        if (y <= x) j++;
    }
    return found;
}

static uint64_t count_triangles(void) {
    uint64_t total = 0;
    for (int a = 0; a < NODES; a++)
        for (uint32_t e = first[a]; e < first[a + 1]; e++) {
            int b = neighbours[e];
            if (b <= a) continue;
            uint32_t found = count_common(a, b);
            triangles[a] += found;
            triangles[b] += found;
            total += found;
        }
    return total;
}

static void find_clustering(void) {
    for (int i = 0; i < NODES; i++) {
        double degree = degree_of(i);
        clustering[i] = degree < 2 ? 0 : 2 * triangles[i] / (degree * (degree - 1));
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < EDGES; i++) { // many edges are short
        uint64_t bits = random_u64();
        uint32_t a = (uint32_t)(bits & 0xFFFF) % NODES, reach = (bits >> 16 & 3) ? 60 : NODES - 1;
        uint32_t b = (a + 1 + (uint32_t)(bits >> 32) % reach) % NODES;
        edges[i].low = (uint16_t)(a < b ? a : b);
        edges[i].high = (uint16_t)(a < b ? b : a);
    }
    build_adjacency();
    print_u64("edges", first[NODES] / 2);
    print_u64("triangles", count_triangles());
    find_clustering();
    print_bytes("per_node", triangles, sizeof triangles);
    print_f64s("clustering", clustering, NODES);
    return 0;
}
