// Strongly connected components by Tarjan's algorithm with its own stack, as edges are added. Tags: graph traversal.
#include "harness.h"

enum { NODES = PICK(2000, 15000, 60000), EDGES = NODES * 3, STAGES = PICK(3, 5, 12), UNSEEN = -1 };

struct edge {
    int32_t from, to;
};

struct frame {
    int32_t node;
    int32_t next; // the next of its edges to follow
};

struct search {
    int depth;   // of the way to the current node
    int waiting; // nodes not yet in a component
    int clock;
    int components;
};

static struct edge edges[EDGES];
static int32_t first[NODES + 1], targets[EDGES];
static int32_t order[NODES], low[NODES], component[NODES], pending[NODES];
static struct frame frames[NODES];
static uint8_t is_pending[NODES];

static void build_adjacency(const struct edge *list, int count) {
    memset(first, 0, sizeof first);
    for (int i = 0; i < count; i++) first[list[i].from + 1]++;
    for (int i = 0; i < NODES; i++) first[i + 1] += first[i];
    for (int i = count - 1; i >= 0; i--) targets[--first[list[i].from + 1]] = list[i].to;
    for (int i = 0; i < NODES; i++) first[i] = first[i + 1];
    first[NODES] = count;
}

static int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

static void enter(struct search *search, int32_t node) {
    frames[search->depth++] = (struct frame){node, first[node]};
    order[node] = low[node] = search->clock++;
    pending[search->waiting++] = node;
    is_pending[node] = 1;
}

static void leave(struct search *search, int32_t node) {
    search->depth--;
    if (search->depth > 0) {
        int32_t above = frames[search->depth - 1].node;
        low[above] = smaller(low[above], low[node]);
    }
    if (low[node] != order[node]) return;
    int32_t member;
    do {
        member = pending[--search->waiting];
        is_pending[member] = 0;
        component[member] = search->components;
    } while (member != node);
    search->components++;
}

static void visit(struct search *search, int32_t root) {
    enter(search, root);
    while (search->depth > 0) {
        struct frame *frame = &frames[search->depth - 1];
        int32_t node = frame->node;
        if (frame->next == first[node + 1]) {
            leave(search, node);
            continue;
        }
        int32_t target = targets[frame->next++];
        if (order[target] == UNSEEN)
            enter(search, target);
        else if (is_pending[target])
            low[node] = smaller(low[node], order[target]);
    }
}

static int find_components(void) {
    struct search search = {0, 0, 0, 0};
    for (int i = 0; i < NODES; i++) order[i] = UNSEEN;
    for (int32_t i = 0; i < NODES; i++)
        if (order[i] == UNSEEN) visit(&search, i);
    return search.components;
}

static int largest_component(int components) {
    static int32_t sizes[NODES];
    int largest = 0;
    memset(sizes, 0, (size_t)components * sizeof *sizes);
    for (int i = 0; i < NODES; i++) sizes[component[i]]++;
    for (int i = 0; i < components; i++)
        if (sizes[i] > largest) largest = sizes[i];
    return largest;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < EDGES; i++) {
        uint64_t bits = random_u64();
        edges[i].from = (int32_t)((bits & 0xFFFFFF) % NODES);
        edges[i].to = (int32_t)((bits >> 32) % NODES);
    }
    for (int stage = 1; stage <= STAGES; stage++) {
        build_adjacency(edges, EDGES / STAGES * stage);
        int components = find_components();
        print_u64("components", (uint64_t)components);
        print_u64("largest", (uint64_t)largest_component(components));
    }
    print_bytes("component", component, sizeof component);
    return 0;
}
