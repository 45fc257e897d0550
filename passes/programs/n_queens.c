// Queens on boards with some squares blocked: all solutions by recursion over rows. Tags: backtracking.
#include "harness.h"

enum { SIDE = PICK(7, 9, 11), BOARDS = PICK(3, 8, 4), BLOCKED = 8, DIAGONALS = 2 * SIDE - 1 };

struct board {
    uint8_t blocked[SIDE][SIDE];
    uint8_t column_used[SIDE];
    uint8_t rising_used[DIAGONALS];
    uint8_t falling_used[DIAGONALS];
    int queens[SIDE];
};

struct tally {
    uint64_t solutions;
    uint64_t tries;
    uint64_t hash;
};

static int is_free(const struct board *board, int row, int column) {
    if (board->blocked[row][column] || board->column_used[column]) return 0;
    return !board->rising_used[row + column] && !board->falling_used[row - column + SIDE - 1];
}

static void mark(struct board *board, int row, int column, uint8_t used) {
    board->column_used[column] = used;
    board->rising_used[row + column] = used;
    board->falling_used[row - column + SIDE - 1] = used;
}

static void record(const struct board *board, struct tally *tally) {
    uint64_t word = 0;
    for (int row = 0; row < SIDE; row++) word = word * SIDE + (uint64_t)board->queens[row];
    tally->hash = hash_word(tally->hash, word);
    tally->solutions++;
}

static void place(struct board *board, int row, struct tally *tally) {
    if (row == SIDE) {
        record(board, tally);
        return;
    }
    for (int column = 0; column < SIDE; column++) {
        tally->tries++;
        if (!is_free(board, row, column)) continue;
        mark(board, row, column, 1);
        board->queens[row] = column;
        place(board, row + 1, tally);
        mark(board, row, column, 0);
    }
}

// The same count with the used lines kept as bits, to check against.
static uint64_t count_by_bits(const uint32_t *open, int row, uint32_t columns, uint32_t rising, uint32_t falling) {
    if (row == SIDE) return 1;
    uint64_t count = 0;
    uint32_t left = open[row] & ~(columns | rising | falling);
    while (left) {
        uint32_t bit = left & (0 - left);
        left ^= bit;
        count += count_by_bits(open, row + 1, columns | bit, (rising | bit) << 1, (falling | bit) >> 1);
    }
    return count;
}

static void block_squares(struct board *board, int count, uint32_t *open) {
    memset(board, 0, sizeof *board);
    for (int row = 0; row < SIDE; row++) open[row] = (1u << SIDE) - 1;
    for (int i = 0; i < count; i++) {
        uint32_t row = random_below(SIDE), column = random_below(SIDE);
        board->blocked[row][column] = 1;
        open[row] &= ~(1u << column);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    struct tally tally = {0, 0, 0};
    uint64_t by_bits = 0;
    for (int i = 0; i < BOARDS; i++) {
        struct board board;
        uint32_t open[SIDE];
        block_squares(&board, BLOCKED * i / BOARDS, open);
        place(&board, 0, &tally);
        by_bits += count_by_bits(open, 0, 0, 0, 0);
    }
    print_u64("counts_agree", tally.solutions == by_bits);
    print_u64("solutions", tally.solutions);
    print_u64("tries", tally.tries);
    print_u64("hash", tally.hash);
    return 0;
}
