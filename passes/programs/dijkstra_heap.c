// Dijkstra's shortest paths with a binary heap that knows where each node stands. Tags: graph traversal.
#include "harness.h"

enum { NODES = PICK(1000, 4000, 20000), DEGREE = 8, EDGES = NODES * DEGREE, SOURCES = PICK(2, 6, 9), ABSENT = -1 };

struct edge {
    int32_t to;
    uint32_t weight;
};

struct heap {
    int32_t nodes[NODES];
    int32_t place[NODES]; // where each node is in the heap
    int count;
};

static struct edge edges[EDGES];
static uint64_t distance[NODES];
static int32_t previous[NODES];
static struct heap heap;

static void put(struct heap *in, int at, int32_t node) {
    in->nodes[at] = node;
    in->place[node] = at;
}

static void move_up(struct heap *in, int at, int32_t node) {
    while (at > 0) {
        int above = (at - 1) / 2;
        if (distance[in->nodes[above]] <= distance[node]) break;
        put(in, at, in->nodes[above]);
        at = above;
    }
    put(in, at, node);
}

static void move_down(struct heap *in, int32_t node) {
    int at = 0;
    for (int child = 1; child < in->count; child = 2 * at + 1) {
        if (child + 1 < in->count && distance[in->nodes[child + 1]] < distance[in->nodes[child]]) child++;
        if (distance[node] <= distance[in->nodes[child]]) break;
        put(in, at, in->nodes[child]);
        at = child;
    }
    put(in, at, node);
}

static int32_t take_nearest(struct heap *from) {
    int32_t nearest = from->nodes[0], last = from->nodes[--from->count];
    if (from->count > 0) move_down(from, last);
    from->place[nearest] = ABSENT;
    return nearest;
}

static void relax(int32_t node, const struct edge *edge) {
    uint64_t length = distance[node] + edge->weight;
    if (length >= distance[edge->to]) return;
    distance[edge->to] = length;
    previous[edge->to] = node;
    int place = heap.place[edge->to];
    move_up(&heap, place == ABSENT ? heap.count++ : place, edge->to);
}

static void shortest_paths(int32_t source) {
    for (int i = 0; i < NODES; i++) {
        distance[i] = UINT64_MAX;
        previous[i] = heap.place[i] = ABSENT;
    }
    heap.count = 0;
    distance[source] = 0;
    move_up(&heap, heap.count++, source);
    while (heap.count > 0) {
        int32_t node = take_nearest(&heap);
        for (int i = 0; i < DEGREE; i++) relax(node, &edges[node * DEGREE + i]);
    }
}

static int count_hops(int32_t node) {
    int hops = 0;
    for (; previous[node] != ABSENT; node = previous[node]) hops++;
    return hops;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < EDGES; i++) {
        uint64_t bits = random_u64();
        edges[i].to = i % DEGREE == 0 ? (i / DEGREE + 1) % NODES : (int32_t)((bits >> 32) % NODES);
        edges[i].weight = 1 + (uint32_t)(bits & 0xFFFF);
    }
    uint64_t hash = 0;
    for (int i = 0; i < SOURCES; i++) {
        int32_t source = (int32_t)random_below(NODES);
        uint64_t hops = 0, farthest = 0;
        shortest_paths(source);
        for (int32_t node = 0; node < NODES; node++) {
            hops += (uint64_t)count_hops(node);
            if (distance[node] > farthest) farthest = distance[node];
        }
        hash = hash_word(hash, hops);
        print_u64("farthest", farthest);
        print_bytes("distances", distance, sizeof distance);
    }
    print_u64("hops", hash);
    return 0;
}
