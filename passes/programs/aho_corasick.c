// Aho-Corasick: one automaton finds every occurrence of many words at once. Tags: string search.
#include "harness.h"

enum {
    N = PICK(30000, 120000, 400000), WORDS = PICK(60, 200, 600), MAX_WORD = 10, LETTERS = 8, ROUNDS = PICK(2, 4, 10),
    STATES = WORDS * MAX_WORD + 1
};

struct state {
    int32_t next[LETTERS];
    int32_t failure;
    int32_t output; // the nearest state along failures that ends a word, or 0
    int16_t word;   // -1 for none
    uint16_t depth;
};

static uint8_t text[N], words[WORDS][MAX_WORD];
static int lengths[WORDS];
static uint32_t hits[WORDS];
static struct state states[STATES];
static int32_t queue[STATES];
static int state_count;

static int new_state(int depth) {
    struct state *state = &states[state_count];
    memset(state->next, 0, sizeof state->next);
    state->failure = state->output = 0;
    state->word = -1;
    state->depth = (uint16_t)depth;
    return state_count++;
}

static void add_word(int number) {
    int at = 0;
    for (int i = 0; i < lengths[number]; i++) {
        int letter = words[number][i];
        if (states[at].next[letter] == 0) {
            int added = new_state(i + 1);
            states[at].next[letter] = added;
        }
        at = states[at].next[letter];
    }
    states[at].word = (int16_t)number;
}

// Breadth first: shorter states are finished before longer ones; missing transitions are filled in.
static void link_states(void) {
    int head = 0, tail = 0;
    queue[tail++] = 0;
    while (head < tail) {
        int at = queue[head++], failure = states[at].failure;
        for (int letter = 0; letter < LETTERS; letter++) {
            int child = states[at].next[letter];
            int fallback = at == 0 ? 0 : states[failure].next[letter];
            if (child == 0) {
                states[at].next[letter] = fallback;
                continue;
            }
            states[child].failure = fallback;
            states[child].output = states[fallback].word >= 0 ? fallback : states[fallback].output;
            queue[tail++] = child;
        }
    }
}

static uint64_t scan(const uint8_t *in, int count, int *at) {
    uint64_t deepest = 0;
    for (int i = 0; i < count; i++) {
        *at = states[*at].next[in[i]];
        deepest += states[*at].depth;
        int output = states[*at].word >= 0 ? *at : states[*at].output;
        for (; output > 0; output = states[output].output) hits[states[output].word]++;
    }
    return deepest;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < N; i++) {
        uint64_t bits = random_u64();
        text[i] = (uint8_t)((bits & bits >> 8 & 3) + (bits >> 16 & 4));
    }
    new_state(0);
    for (int i = 0; i < WORDS; i++) {
        lengths[i] = 3 + (int)random_below(MAX_WORD - 2);
        memcpy(words[i], text + random_below(N - MAX_WORD), (size_t)lengths[i]);
        add_word(i);
    }
    link_states();
    uint64_t depths = 0;
    int at = 0;
    for (int round = 0; round < ROUNDS; round++) depths = depths * 5 + scan(text + round, N - 2 * round, &at);
    print_u64("states", (uint64_t)state_count);
    print_u64("depths", depths);
    print_bytes("hits", hits, sizeof hits);
    return 0;
}
