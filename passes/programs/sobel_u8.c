// Edges of an 8-bit image: blur, Sobel gradients, thinning and hysteresis by recursion. Tags: stencils and images.
#include "harness.h"

enum { WIDTH = PICK(256, 576, 1536), HEIGHT = PICK(192, 448, 1152), WEAK = 40, STRONG = 90, DEEPEST = 2000 };

static uint8_t image[HEIGHT][WIDTH], blurred[HEIGHT][WIDTH], strength[HEIGHT][WIDTH];
static uint8_t direction[HEIGHT][WIDTH], thin[HEIGHT][WIDTH], edges[HEIGHT][WIDTH];

static void blur(void) {
    static const int weights[3] = {1, 2, 1};
    for (int y = 1; y < HEIGHT - 1; y++)
        for (int x = 1; x < WIDTH - 1; x++) {
            int sum = 8;
            for (int dy = -1; dy <= 1; dy++)
                for (int dx = -1; dx <= 1; dx++) sum += weights[dy + 1] * weights[dx + 1] * image[y + dy][x + dx];
            blurred[y][x] = (uint8_t)(sum >> 4);
        }
}

static uint32_t integer_sqrt(uint32_t value) {
    uint32_t root = 0;
    for (uint32_t bit = 1u << 10; bit; bit >>= 1)
        if ((root + bit) * (root + bit) <= value) root += bit;
    return root;
}

// 0: across, 1: falling, 2: down, 3: rising.
static uint8_t octant(int gx, int gy) {
    int ax = abs(gx), ay = abs(gy);
    if (ay * 5 < ax * 2) return 0;
    if (ax * 5 < ay * 2) return 2;
    return (gx < 0) == (gy < 0) ? 1 : 3;
}

static void sobel(void) {
    for (int y = 1; y < HEIGHT - 1; y++) {
        const uint8_t *above = blurred[y - 1], *here = blurred[y], *below = blurred[y + 1];
        for (int x = 1; x < WIDTH - 1; x++) {
            int gx = above[x + 1] + 2 * here[x + 1] + below[x + 1] - above[x - 1] - 2 * here[x - 1] - below[x - 1];
            int gy = below[x - 1] + 2 * below[x] + below[x + 1] - above[x - 1] - 2 * above[x] - above[x + 1];
            uint32_t magnitude = integer_sqrt((uint32_t)(gx * gx + gy * gy));
            strength[y][x] = magnitude > 255 ? 255 : (uint8_t)magnitude;
            direction[y][x] = octant(gx, gy);
        }
    }
}

static void keep_ridges(void) {
    static const int8_t steps[4][2] = {{0, 1}, {1, 1}, {1, 0}, {-1, 1}};
    for (int y = 1; y < HEIGHT - 1; y++)
        for (int x = 1; x < WIDTH - 1; x++) {
            const int8_t *s = steps[direction[y][x]];
            uint8_t here = strength[y][x];
            thin[y][x] = here >= strength[y + s[0]][x + s[1]] && here > strength[y - s[0]][x - s[1]] ? here : 0;
        }
}

// A weak edge counts where it touches a strong one; the depth is bounded for the sake of the stack.
static uint32_t follow(int y, int x, int depth) {
    if (thin[y][x] < WEAK || edges[y][x] || depth == DEEPEST) return 0;
    edges[y][x] = thin[y][x];
    uint32_t count = 1;
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            if (dy || dx) count += follow(y + dy, x + dx, depth + 1);
    return count;
}

static uint32_t find_edges(void) {
    uint32_t count = 0;
    for (int y = 1; y < HEIGHT - 1; y++)
        for (int x = 1; x < WIDTH - 1; x++)
            if (thin[y][x] >= STRONG) count += follow(y, x, 0);
    return count;
}

// Rectangles of many greys on top of each other, with noise.
static void paint(void) {
    for (int i = 0; i < 60; i++) {
        int top = (int)random_below(HEIGHT), left = (int)random_below(WIDTH);
        int bottom = top + (int)random_below(HEIGHT / 3), right = left + (int)random_below(WIDTH / 3);
        int grey = (int)random_below(230);
        if (right > WIDTH) right = WIDTH;
        for (int y = top; y < bottom && y < HEIGHT; y++) memset(&image[y][left], grey, (size_t)(right - left));
    }
    uint64_t noise = 0;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            noise = x % 8 ? noise >> 8 : random_u64();
            image[y][x] = (uint8_t)(image[y][x] + noise % 32 * 3 / 4); // at most 229 + 23
        }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    paint();
    blur();
    sobel();
    keep_ridges();
    print_u64("edge pixels", find_edges());
    print_bytes("strength", strength, sizeof strength);
    print_bytes("thin", thin, sizeof thin);
    print_bytes("edges", edges, sizeof edges);
    return 0;
}
