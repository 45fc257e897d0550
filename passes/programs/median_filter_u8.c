// Medians of an 8-bit image: 3 x 3 windows sorted, large ones by a sliding histogram. Tags: stencils and images.
#include "harness.h"

enum { WIDTH = PICK(96, 200, 560), HEIGHT = PICK(64, 150, 416), RADIUS = 5 };

typedef struct {
    int width, height;
    uint8_t *pixels;
} image;

typedef struct {
    uint16_t counts[256];
    int total;
} histogram;

static uint8_t noisy[WIDTH * HEIGHT], cleaned[WIDTH * HEIGHT], smooth[WIDTH * HEIGHT];

static int clamp(int value, int limit) { return value < 0 ? 0 : value >= limit ? limit - 1 : value; }

// Outside of the image, the nearest pixel of its border.
static uint8_t pixel(const image *m, int y, int x) {
    return m->pixels[clamp(y, m->height) * m->width + clamp(x, m->width)];
}

static void insertion_sort(uint8_t *values, int count) {
    for (int i = 1; i < count; i++) {
        uint8_t value = values[i];
        int j = i - 1;
        for (; j >= 0 && values[j] > value; j--) values[j + 1] = values[j];
        values[j + 1] = value;
    }
}

static void median_sorted(const image *from, image *to) {
    for (int y = 0; y < from->height; y++)
        for (int x = 0; x < from->width; x++) {
            uint8_t window[9];
            int count = 0;
            for (int dy = -1; dy <= 1; dy++)
                for (int dx = -1; dx <= 1; dx++) window[count++] = pixel(from, y + dy, x + dx);
            insertion_sort(window, count);
            to->pixels[y * to->width + x] = window[count / 2];
        }
}

static void change_column(histogram *h, const image *m, int y, int x, int by) {
    for (int dy = -RADIUS; dy <= RADIUS; dy++) {
        uint8_t value = pixel(m, y + dy, x);
        h->counts[value] = (uint16_t)(h->counts[value] + by);
        h->total += by;
    }
}

static uint8_t median_of(const histogram *h) {
    int below = 0, value = 0;
    while (value < 255 && (below += h->counts[value]) <= h->total / 2) value++;
    return (uint8_t)value;
}

// The window moves by one pixel at a time: one column leaves it, one column enters.
static void median_sliding(const image *from, image *to) {
    for (int y = 0; y < from->height; y++) {
        histogram h = {{0}, 0};
        for (int dx = -RADIUS; dx <= RADIUS; dx++) change_column(&h, from, y, dx, 1);
        for (int x = 0; x < from->width; x++) {
            to->pixels[y * to->width + x] = median_of(&h);
            change_column(&h, from, y, x - RADIUS, -1);
            change_column(&h, from, y, x + RADIUS + 1, 1);
        }
    }
}

// A slope with waves, and every eighth pixel black or white.
static void build(image *m) {
    for (int y = 0; y < m->height; y++)
        for (int x = 0; x < m->width; x++) {
            uint32_t chance = random_below(16), shade = random_below(12);
            int value = 40 + 100 * x / m->width + (y * y / 16 + x) % 64 + (int)shade;
            m->pixels[y * m->width + x] = chance == 0 ? 0 : chance == 1 ? 255 : (uint8_t)value;
        }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    image a = {WIDTH, HEIGHT, noisy}, b = {WIDTH, HEIGHT, cleaned}, c = {WIDTH, HEIGHT, smooth};
    build(&a);
    median_sorted(&a, &b);
    median_sliding(&b, &c);
    print_bytes("noisy", noisy, sizeof noisy);
    print_bytes("cleaned", cleaned, sizeof cleaned);
    print_bytes("smooth", smooth, sizeof smooth);
    return 0;
}
