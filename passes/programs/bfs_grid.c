// Shortest ways through a grid with walls by breadth-first search, some of them walked back. Tags: graph traversal.
#include "harness.h"

enum { WIDTH = PICK(80, 200, 400), HEIGHT = PICK(60, 150, 300), SEARCHES = PICK(6, 10, 24), FAR = 0xFFFF };

struct place {
    int16_t x, y;
};

struct grid {
    uint8_t wall[HEIGHT][WIDTH];
    uint16_t distance[HEIGHT][WIDTH];
};

static struct grid grid;
static struct place queue[WIDTH * HEIGHT];

static const struct place steps[4] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};

static int is_open(const struct grid *in, int x, int y) {
    return x >= 0 && x < WIDTH && y >= 0 && y < HEIGHT && !in->wall[y][x];
}

static int search(struct grid *in, struct place start) {
    int head = 0, tail = 0;
    memset(in->distance, 0xFF, sizeof in->distance);
    in->distance[start.y][start.x] = 0;
    queue[tail++] = start;
    while (head < tail) {
        struct place at = queue[head++];
        for (int i = 0; i < 4; i++) {
            int x = at.x + steps[i].x, y = at.y + steps[i].y;
            if (!is_open(in, x, y) || in->distance[y][x] != FAR) continue;
            in->distance[y][x] = (uint16_t)(in->distance[at.y][at.x] + 1);
            queue[tail++] = (struct place){(int16_t)x, (int16_t)y};
        }
    }
    return tail;
}

// Goes down the distances from a place to the start; counts the turns on the way.
static int count_turns(const struct grid *in, struct place at) {
    int turns = 0, heading = 0;
    while (in->distance[at.y][at.x] != 0) {
        for (int i = 0; i < 4; i++) {
            int direction = (heading + i) % 4, x = at.x + steps[direction].x, y = at.y + steps[direction].y;
            if (!is_open(in, x, y) || in->distance[y][x] + 1 != in->distance[at.y][at.x]) continue;
            at = (struct place){(int16_t)x, (int16_t)y};
            turns += i != 0;
            heading = direction;
            break;
        }
    }
    return turns;
}

static struct place random_open_place(void) {
    struct place place;
    do {
        place.x = (int16_t)random_below(WIDTH);
        place.y = (int16_t)random_below(HEIGHT);
    } while (grid.wall[place.y][place.x]);
    return place;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) grid.wall[y][x] = random_below(100) < 30;
    uint64_t reached = 0, turns = 0, hash = 0;
    for (int i = 0; i < SEARCHES; i++) {
        struct place start = random_open_place();
        int count = search(&grid, start);
        reached += (uint64_t)count;
        for (int j = count - 1; j > 0 && j > count - 9; j--) turns += (uint64_t)count_turns(&grid, queue[j]);
        hash = hash_word(hash, grid.distance[queue[count - 1].y][queue[count - 1].x]);
    }
    print_u64("reached", reached);
    print_u64("turns", turns);
    print_u64("longest", hash);
    print_bytes("distances", grid.distance, sizeof grid.distance);
    return 0;
}
