// Brian's Brain and a cyclic automaton, two rules on a torus of cells. Tags: simulation.
#include "harness.h"

enum { WIDTH = PICK(64, 128, 256), HEIGHT = PICK(48, 96, 192), STEPS = PICK(4, 12, 50), KINDS = 8 };

enum state { DEAD, DYING, ALIVE };

struct grid {
    uint8_t cells[HEIGHT][WIDTH];
};

typedef uint8_t (*rule_fn)(const struct grid *grid, int x, int y);

static struct grid grids[2];

static int wrap(int at, int size) { return at < 0 ? at + size : at >= size ? at - size : at; }

static uint8_t cell_at(const struct grid *grid, int x, int y) { return grid->cells[wrap(y, HEIGHT)][wrap(x, WIDTH)]; }

static int count_around(const struct grid *grid, int x, int y, uint8_t wanted) {
    int count = 0;
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            if (dx != 0 || dy != 0) count += cell_at(grid, x + dx, y + dy) == wanted;
    return count;
}

static uint8_t brain_rule(const struct grid *grid, int x, int y) {
    switch (grid->cells[y][x]) {
    case ALIVE: return DYING;
    case DYING: return DEAD;
    default: return count_around(grid, x, y, ALIVE) == 2 ? ALIVE : DEAD;
    }
}

// A cell is eaten by the next kind if that is next to it.
static uint8_t cyclic_rule(const struct grid *grid, int x, int y) {
    uint8_t next = (uint8_t)((grid->cells[y][x] + 1) % KINDS);
    if (cell_at(grid, x - 1, y) == next || cell_at(grid, x + 1, y) == next) return next;
    if (cell_at(grid, x, y - 1) == next || cell_at(grid, x, y + 1) == next) return next;
    return grid->cells[y][x];
}

static int step(struct grid *to, const struct grid *from, rule_fn rule) {
    int changed = 0;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            to->cells[y][x] = rule(from, x, y);
            changed += to->cells[y][x] != from->cells[y][x];
        }
    return changed;
}

static uint64_t run(rule_fn rule, int steps) {
    uint64_t changes = 0;
    for (int i = 0; i < steps; i++) changes = changes * 3 + (uint64_t)step(&grids[(i + 1) % 2], &grids[i % 2], rule);
    return changes;
}

static void fill(struct grid *grid, uint32_t kinds) {
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) grid->cells[y][x] = (uint8_t)random_below(kinds);
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill(&grids[0], 3);
    print_u64("brain_changes", run(brain_rule, STEPS));
    print_bytes("brain", &grids[STEPS % 2], sizeof grids[0]);
    fill(&grids[0], KINDS);
    print_u64("cyclic_changes", run(cyclic_rule, STEPS));
    print_bytes("cyclic", &grids[STEPS % 2], sizeof grids[0]);
    return 0;
}
