// Conway's Game of Life on a torus, one byte per cell, with the ages of the cells. Tags: stencils and images.
#include "harness.h"

enum { WIDTH = PICK(64, 112, 224), HEIGHT = PICK(48, 80, 160), GENERATIONS = PICK(35, 70, 140) };

typedef struct {
    uint8_t cells[HEIGHT][WIDTH];
    uint16_t ages[HEIGHT][WIDTH];
    uint32_t alive, born, died;
} world;

static world worlds[2];

static int neighbours(const world *w, int y, int x) {
    int count = 0;
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++) {
            if (dy == 0 && dx == 0) continue;
            count += w->cells[(y + dy + HEIGHT) % HEIGHT][(x + dx + WIDTH) % WIDTH];
        }
    return count;
}

static uint8_t next_state(uint8_t alive, int count) {
    if (alive) return count == 2 || count == 3;
    return count == 3;
}

static void advance(const world *from, world *to) {
    to->alive = to->born = to->died = 0;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            uint8_t before = from->cells[y][x];
            uint8_t after = next_state(before, neighbours(from, y, x));
            to->cells[y][x] = after;
            to->ages[y][x] = after ? (uint16_t)(from->ages[y][x] + 1) : 0;
            to->alive += after;
            to->born += after && !before;
            to->died += before && !after;
        }
}

// Returns a hash over the history of the population.
static uint64_t run(int generations) {
    uint64_t history = 0;
    for (int i = 0; i < generations; i++) {
        world *to = &worlds[(i + 1) % 2];
        advance(&worlds[i % 2], to);
        history = hash_word(history, (uint64_t)to->born << 32 | to->died);
    }
    return history;
}

static void populate(world *w) {
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) w->cells[y][x] = random_below(100) < 35;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    populate(&worlds[0]);
    print_u64("history", run(GENERATIONS));
    const world *last = &worlds[GENERATIONS % 2];
    print_u64("alive", last->alive);
    print_bytes("cells", last->cells, sizeof last->cells);
    print_bytes("ages", last->ages, sizeof last->ages);
    return 0;
}
