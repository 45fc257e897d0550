// Bitonic sorting network over floats, upwards and then downwards by blocks. Tags: sorting.
#include "harness.h"

enum { LOG_N = PICK(11, 14, 17), N = 1 << LOG_N, BLOCK = N / 8 };

static float values[N];

static void compare_exchange(float *a, float *b, int upwards) {
    if ((*a > *b) == upwards) {
        float old = *a;
        *a = *b;
        *b = old;
    }
}

static void bitonic_merge(float *block, int count, int upwards) {
    for (int distance = count / 2; distance > 0; distance /= 2)
        for (int i = 0; i < count; i++)
            if ((i & distance) == 0) compare_exchange(&block[i], &block[i + distance], upwards);
}

static void bitonic_sort(float *block, int count, int upwards) {
    if (count < 2) return;
    int half = count / 2;
    bitonic_sort(block, half, 1);
    bitonic_sort(block + half, half, 0);
    bitonic_merge(block, count, upwards);
}

static int count_rises(const float *block, int count) {
    int rises = 0;
    for (int i = 1; i < count; i++) rises += block[i - 1] < block[i];
    return rises;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    fill_f32(values, N);
    bitonic_sort(values, N, 1);
    print_u64("rises", (uint64_t)count_rises(values, N));
    print_f32s("upwards", values, N);
    for (int start = 0; start < N; start += BLOCK) bitonic_merge(values + start, BLOCK, start / BLOCK % 2);
    print_u64("rises", (uint64_t)count_rises(values, N));
    print_f32s("by_blocks", values, N);
    return 0;
}
