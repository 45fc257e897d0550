// All shortest paths of a directed graph with successors, and walks along some of them. Tags: dynamic programming.
#include "harness.h"

enum { NODES = PICK(88, 176, 364), FAR = 1 << 28 };

typedef struct {
    int32_t distance[NODES][NODES];
    int16_t next[NODES][NODES]; // the node after the first on the path, -1 where there is none
} paths;

static paths shortest;

static void floyd_warshall(paths *p) {
    for (int k = 0; k < NODES; k++)
        for (int i = 0; i < NODES; i++)
            for (int j = 0; j < NODES; j++) {
                int32_t through = p->distance[i][k] + p->distance[k][j];
                if (through < p->distance[i][j]) {
                    p->distance[i][j] = through;
                    p->next[i][j] = p->next[i][k];
                }
            }
}

// Number of edges on the path, 0 where there is no path.
static int walk(const paths *p, int from, int to) {
    if (p->next[from][to] < 0) return 0;
    int edges = 0;
    while (from != to) {
        from = p->next[from][to];
        edges++;
    }
    return edges;
}

static uint64_t walk_from_all(const paths *p) {
    uint64_t hash = 0;
    for (int from = 0; from < NODES; from++)
        for (int to = 0; to < NODES; to += 3) hash = hash_word(hash, (uint64_t)walk(p, from, to));
    return hash;
}

static int32_t diameter(const paths *p) {
    int32_t longest = 0;
    for (int i = 0; i < NODES; i++)
        for (int j = 0; j < NODES; j++)
            if (p->distance[i][j] < FAR && p->distance[i][j] > longest) longest = p->distance[i][j];
    return longest;
}

// One possible edge in sixteen exists.
static void build(paths *p) {
    for (int i = 0; i < NODES; i++)
        for (int j = 0; j < NODES; j++) {
            uint32_t chance = random_below(16), length = 1 + random_below(1000);
            int edge = chance == 0 && i != j;
            p->distance[i][j] = edge ? (int32_t)length : i == j ? 0 : FAR;
            p->next[i][j] = (int16_t)(edge || i == j ? j : -1);
        }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    build(&shortest);
    floyd_warshall(&shortest);
    print_u64("diameter", (uint64_t)diameter(&shortest));
    print_u64("walks", walk_from_all(&shortest));
    print_bytes("distances", shortest.distance, sizeof shortest.distance);
    print_bytes("next", shortest.next, sizeof shortest.next);
    return 0;
}
