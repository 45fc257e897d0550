// Linked lists in scattered memory: sums, reversal, splitting and merge sort. Tags: data structures.
#include "harness.h"

enum { NODES = PICK(3000, 20000, 100000), ROUNDS = PICK(3, 4, 6) };

struct node {
    struct node *next;
    int32_t value;
    uint32_t id;
};

static struct node pool[NODES];

static int64_t sum(const struct node *list) {
    int64_t total = 0;
    for (; list; list = list->next) total += list->value;
    return total;
}

static int64_t alternating_sum(const struct node *list, int sign) {
    int64_t total = 0;
    for (; list; list = list->next, sign = -sign) total += sign * (int64_t)list->value;
    return total;
}

static struct node *reverse(struct node *list) {
    struct node *reversed = NULL;
    while (list) {
        struct node *next = list->next;
        list->next = reversed;
        reversed = list;
        list = next;
    }
    return reversed;
}

static int is_low(const struct node *node) { return node->value < 0; }

static int is_odd(const struct node *node) { return node->value & 1; }

// Moves the nodes that fit over to another list and keeps both in order.
static struct node *split(struct node **list, int (*fits)(const struct node *)) {
    struct node *moved = NULL, **moved_end = &moved;
    while (*list) {
        struct node *node = *list;
        if (!fits(node)) {
            list = &node->next;
            continue;
        }
        *list = node->next;
        node->next = NULL;
        *moved_end = node;
        moved_end = &node->next;
    }
    return moved;
}

static struct node *merge(struct node *a, struct node *b) {
    struct node *merged = NULL, **end = &merged;
    while (a && b) {
        struct node **from = b->value < a->value ? &b : &a;
        *end = *from;
        *from = (*from)->next;
        end = &(*end)->next;
    }
    *end = a ? a : b;
    return merged;
}

static struct node *sort(struct node *list, int count) {
    if (count < 2) return list;
    struct node *middle = list;
    for (int i = 1; i < count / 2; i++) middle = middle->next;
    struct node *half = middle->next;
    middle->next = NULL;
    return merge(sort(list, count / 2), sort(half, count - count / 2));
}

static uint64_t hash_ids(const struct node *list) {
    uint64_t hash = 0;
    for (; list; list = list->next) hash = hash_word(hash, list->id);
    return hash;
}

static struct node *make_list(void) {
    static uint32_t order[NODES];
    struct node *list = NULL;
    for (uint32_t i = 0; i < NODES; i++) {
        uint32_t other = random_below(i + 1);
        order[i] = order[other];
        order[other] = i;
    }
    for (int i = 0; i < NODES; i++) {
        struct node *node = &pool[order[i]];
        *node = (struct node){list, (int32_t)(random_u64() >> 33) - (1 << 30), order[i]};
        list = node;
    }
    return list;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    static int (*const choices[])(const struct node *) = {is_low, is_odd};
    struct node *list = make_list();
    int64_t sums = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct node *moved = split(&list, choices[round % 2]);
        sums += alternating_sum(list, 1) - 3 * alternating_sum(moved, round % 2 ? 1 : -1);
        list = merge(reverse(moved), list);
        sums += sum(list) >> round;
    }
    print_u64("sums", (uint64_t)sums);
    print_u64("ids", hash_ids(list));
    list = sort(list, NODES);
    print_u64("sorted_ids", hash_ids(list));
    print_u64("sum", (uint64_t)sum(list));
    return 0;
}
