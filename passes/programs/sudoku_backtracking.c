// Sudoku by backtracking on the cell with the fewest candidates, counting solutions up to a limit. Tags: backtracking.
#include "harness.h"

enum { SIDE = 9, CELLS = SIDE * SIDE, ALL = 0x1FF, PUZZLES = PICK(4, 40, 320), SOLUTIONS = 40, NODE_LIMIT = 20000 };

struct board {
    uint8_t digits[CELLS]; // 0: empty
    uint16_t rows[SIDE], columns[SIDE], boxes[SIDE]; // bit d - 1: digit d is used
};

struct result {
    uint64_t nodes;
    uint64_t hash;
    int solutions;
};

static int box_of(int cell) { return cell / 27 * 3 + cell % SIDE / 3; }

static unsigned candidates(const struct board *board, int cell) {
    return ALL & ~(unsigned)(board->rows[cell / SIDE] | board->columns[cell % SIDE] | board->boxes[box_of(cell)]);
}

static int count_bits(unsigned bits) {
    int count = 0;
    for (; bits; bits &= bits - 1) count++;
    return count;
}

static void toggle(struct board *board, int cell, int digit) {
    uint16_t bit = (uint16_t)(1u << (digit - 1));
    board->rows[cell / SIDE] ^= bit;
    board->columns[cell % SIDE] ^= bit;
    board->boxes[box_of(cell)] ^= bit;
}

static int most_constrained(const struct board *board) {
    int best = -1, fewest = SIDE + 1;
    for (int cell = 0; cell < CELLS; cell++) {
        if (board->digits[cell]) continue;
        int count = count_bits(candidates(board, cell));
        if (count < fewest) {
            fewest = count;
            best = cell;
        }
        if (count < 2) break;
    }
    return best;
}

static void solve(struct board *board, struct result *result) {
    int cell = most_constrained(board);
    result->nodes++;
    if (cell < 0) {
        result->solutions++;
        for (int i = 0; i < CELLS; i++) result->hash = hash_word(result->hash, board->digits[i]);
        return;
    }
    unsigned open = candidates(board, cell);
    for (int digit = 1; digit <= SIDE; digit++) {
        if (!(open >> (digit - 1) & 1) || result->solutions >= SOLUTIONS || result->nodes >= NODE_LIMIT) continue;
        board->digits[cell] = (uint8_t)digit;
        toggle(board, cell, digit);
        solve(board, result);
        toggle(board, cell, digit);
        board->digits[cell] = 0;
    }
}

static void shuffle(uint8_t *list, int count) {
    for (int i = count - 1; i > 0; i--) {
        int other = (int)random_below((uint32_t)i + 1);
        uint8_t old = list[i];
        list[i] = list[other];
        list[other] = old;
    }
}

// A solved board with digits, rows and columns shuffled; all but `clues` cells are then emptied.
static void make_puzzle(struct board *board, int clues) {
    uint8_t names[SIDE], lines[2][SIDE], order[CELLS];
    memset(board, 0, sizeof *board);
    for (int i = 0; i < CELLS; i++) order[i] = (uint8_t)i;
    for (int i = 0; i < SIDE; i++) names[i] = (uint8_t)(i + 1);
    shuffle(names, SIDE);
    shuffle(order, CELLS);
    for (int axis = 0; axis < 2; axis++)
        for (int band = 0; band < SIDE; band += 3) {
            for (int i = 0; i < 3; i++) lines[axis][band + i] = (uint8_t)(band + i);
            shuffle(&lines[axis][band], 3);
        }
    for (int i = 0; i < clues; i++) {
        int cell = order[i], row = lines[0][cell / SIDE], column = lines[1][cell % SIDE];
        board->digits[cell] = names[(row * 3 + row / 3 + column) % SIDE];
        toggle(board, cell, board->digits[cell]);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    struct result all = {0, 0, 0};
    for (int i = 0; i < PUZZLES; i++) {
        struct board board;
        struct result result = {0, 0, 0};
        make_puzzle(&board, 24 + i % 6);
        solve(&board, &result);
        all.nodes += result.nodes;
        all.solutions += result.solutions;
        all.hash = hash_word(all.hash, result.hash);
    }
    print_u64("nodes", all.nodes);
    print_u64("solutions", (uint64_t)all.solutions);
    print_u64("hash", all.hash);
    return 0;
}
