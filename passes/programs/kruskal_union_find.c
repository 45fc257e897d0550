// Kruskal's minimum spanning forest: edges sorted by weight, trees joined by union and find. Tags: graph traversal.
#include "harness.h"

enum { NODES = PICK(1000, 6000, 40000), EDGES = NODES * 6 };

struct edge {
    uint32_t weight;
    int32_t a, b;
};

struct forest {
    int32_t parent[NODES];
    uint8_t rank[NODES];
    int trees;
};

static struct edge edges[EDGES];
static struct forest forest;

static int lighter(const struct edge *left, const struct edge *right) {
    if (left->weight != right->weight) return left->weight < right->weight;
    if (left->a != right->a) return left->a < right->a;
    return left->b < right->b;
}

static void swap_edges(struct edge *a, struct edge *b) {
    struct edge old = *a;
    *a = *b;
    *b = old;
}

// Quicksort by a pivot from the middle; the shorter part is sorted by recursion.
static void sort_edges(struct edge *list, int count) {
    while (count > 1) {
        struct edge pivot = list[count / 2];
        int i = 0, j = count - 1;
        while (i <= j) {
            while (lighter(&list[i], &pivot)) i++;
            while (lighter(&pivot, &list[j])) j--;
            if (i <= j) swap_edges(&list[i++], &list[j--]);
        }
        if (j + 1 < count - i) {
            sort_edges(list, j + 1);
            list += i;
            count -= i;
        } else {
            sort_edges(list + i, count - i);
            count = j + 1;
        }
    }
}

static void reset(struct forest *of) {
    of->trees = NODES;
    for (int i = 0; i < NODES; i++) {
        of->parent[i] = i;
        of->rank[i] = 0;
    }
}

static int32_t root_of(struct forest *in, int32_t node) {
    int32_t parent = in->parent[node];
    if (parent == node) return node;
    return in->parent[node] = root_of(in, parent);
}

static int join(struct forest *in, int32_t a, int32_t b) {
    a = root_of(in, a);
    b = root_of(in, b);
    if (a == b) return 0;
    if (in->rank[a] < in->rank[b]) {
        int32_t old = a;
        a = b;
        b = old;
    }
    in->parent[b] = a;
    if (in->rank[a] == in->rank[b]) in->rank[a]++;
    in->trees--;
    return 1;
}

static uint64_t spanning_weight(struct edge *list, int count, uint64_t *chosen) {
    uint64_t total = 0;
    reset(&forest);
    sort_edges(list, count);
    for (int i = 0; i < count && forest.trees > 1; i++)
        if (join(&forest, list[i].a, list[i].b)) {
            total += list[i].weight;
            *chosen = hash_word(*chosen, (uint64_t)list[i].a << 32 | (uint32_t)list[i].b);
        }
    return total;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < EDGES; i++) {
        uint64_t bits = random_u64();
        edges[i].weight = (uint32_t)(bits & 0xFFFFF);
        edges[i].a = (int32_t)((bits >> 20 & 0xFFFFF) % NODES);
        edges[i].b = (int32_t)((bits >> 40) % NODES);
    }
    uint64_t chosen = 0;
    print_u64("lightest", spanning_weight(edges, EDGES, &chosen));
    print_u64("trees", (uint64_t)forest.trees);
    for (int i = 0; i < EDGES; i++) edges[i].weight = 0xFFFFF - edges[i].weight;
    print_u64("heaviest", spanning_weight(edges, EDGES / 2, &chosen));
    print_u64("trees", (uint64_t)forest.trees);
    print_u64("chosen", chosen);
    return 0;
}
