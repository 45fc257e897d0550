// Topological order of tasks (Kahn), earliest times and numbers of ways, as edges are added. Tags: graph traversal.
#include "harness.h"

enum { NODES = PICK(800, 3500, 10000), EDGES = NODES * 8, ROUNDS = PICK(3, 6, 14), NO_EDGE = -1 };

struct edge {
    int32_t to;
    int32_t next; // of the same task, as a linked list
    uint16_t delay;
    uint8_t level; // used from this round on
};

struct task {
    int32_t edges;
    uint32_t waiting_for;
    uint64_t earliest;
    uint64_t ways;
};

static struct edge edges[EDGES];
static struct task tasks[NODES];
static int32_t order[NODES];

static int is_used(const struct edge *edge, int round) { return edge->level <= round; }

static void count_incoming(int round) {
    for (int i = 0; i < NODES; i++) {
        tasks[i].waiting_for = 0;
        tasks[i].earliest = 0;
        tasks[i].ways = 0;
    }
    for (int i = 0; i < EDGES; i++)
        if (is_used(&edges[i], round)) tasks[edges[i].to].waiting_for++;
}

static int find_order(int round) {
    int head = 0, tail = 0;
    count_incoming(round);
    for (int32_t i = 0; i < NODES; i++)
        if (tasks[i].waiting_for == 0) order[tail++] = i;
    while (head < tail) {
        const struct task *task = &tasks[order[head++]];
        for (int32_t e = task->edges; e != NO_EDGE; e = edges[e].next)
            if (is_used(&edges[e], round) && --tasks[edges[e].to].waiting_for == 0) order[tail++] = edges[e].to;
    }
    return tail;
}

static uint64_t schedule(int count, int round) {
    uint64_t finish = 0;
    for (int i = 0; i < count; i++) {
        struct task *task = &tasks[order[i]];
        if (task->ways == 0) task->ways = 1;
        if (task->earliest > finish) finish = task->earliest;
        for (int32_t e = task->edges; e != NO_EDGE; e = edges[e].next) {
            if (!is_used(&edges[e], round)) continue;
            struct task *later = &tasks[edges[e].to];
            uint64_t time = task->earliest + edges[e].delay;
            if (time > later->earliest) later->earliest = time;
            later->ways += task->ways;
        }
    }
    return finish;
}

static void make_tasks(void) {
    static int32_t label[NODES];
    for (int32_t i = 0; i < NODES; i++) {
        int32_t other = (int32_t)random_below((uint32_t)i + 1);
        label[i] = label[other];
        label[other] = i;
        tasks[i].edges = NO_EDGE;
    }
    for (int i = 0; i < EDGES; i++) {
        uint64_t bits = random_u64();
        int32_t from = (int32_t)((bits & 0xFFFFFF) % (NODES - 1));
        int32_t to = from + 1 + (int32_t)((bits >> 24 & 0xFFFF) % (uint32_t)(NODES - 1 - from));
        edges[i] = (struct edge){label[to], tasks[label[from]].edges, (uint16_t)(bits >> 40 & 1023),
                                 (uint8_t)(bits >> 56) % ROUNDS};
        tasks[label[from]].edges = i;
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    make_tasks();
    uint64_t orders = 0, ways = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int count = find_order(round);
        print_u64("finish", schedule(count, round));
        for (int i = 0; i < count; i++) {
            orders = hash_word(orders, (uint64_t)order[i]);
            ways = hash_word(ways, tasks[order[i]].ways);
        }
    }
    print_u64("orders", orders);
    print_u64("ways", ways);
    return 0;
}
