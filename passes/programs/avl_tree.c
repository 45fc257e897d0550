// AVL tree on the heap: insertions, deletions and rank queries. Tags: data structures.
#include "harness.h"

enum { KEYS = PICK(1500, 10000, 60000), RANGE = KEYS * 4 };

struct node {
    struct node *child[2];
    uint32_t key, size, value;
    int32_t height;
};

static int height_of(const struct node *node) { return node ? node->height : 0; }

static uint32_t size_of(const struct node *node) { return node ? node->size : 0; }

static void update(struct node *node) {
    int left = height_of(node->child[0]), right = height_of(node->child[1]);
    node->height = 1 + (left > right ? left : right);
    node->size = 1 + size_of(node->child[0]) + size_of(node->child[1]);
}

// Child 0 is the left one, child 1 the right one; `side` comes up, its parent goes down to the other side.
static struct node *rotate(struct node *node, int side) {
    struct node *top = node->child[side];
    node->child[side] = top->child[!side];
    top->child[!side] = node;
    update(node);
    update(top);
    return top;
}

static struct node *balance(struct node *node) {
    update(node);
    int lean = height_of(node->child[1]) - height_of(node->child[0]), side = lean > 0;
    if (lean >= -1 && lean <= 1) return node;
    struct node *high = node->child[side];
    if (height_of(high->child[side]) < height_of(high->child[!side])) node->child[side] = rotate(high, !side);
    return rotate(node, side);
}

static struct node *new_node(uint32_t key, uint32_t value) {
    struct node *node = malloc(sizeof *node);
    if (!node) exit(1);
    *node = (struct node){{NULL, NULL}, key, 1, value, 1};
    return node;
}

static struct node *insert(struct node *node, uint32_t key, uint32_t value) {
    if (!node) return new_node(key, value);
    int side = key > node->key;
    if (key == node->key)
        node->value += value;
    else
        node->child[side] = insert(node->child[side], key, value);
    return balance(node);
}

static struct node *take_smallest(struct node *node, struct node **smallest) {
    if (!node->child[0]) {
        *smallest = node;
        return node->child[1];
    }
    node->child[0] = take_smallest(node->child[0], smallest);
    return balance(node);
}

static struct node *erase(struct node *node, uint32_t key) {
    if (!node) return NULL;
    if (key != node->key) {
        int side = key > node->key;
        node->child[side] = erase(node->child[side], key);
        return balance(node);
    }
    struct node *left = node->child[0], *right = node->child[1], *next;
    free(node);
    if (!right) return left;
    right = take_smallest(right, &next);
    next->child[0] = left;
    next->child[1] = right;
    return balance(next);
}

static uint32_t rank_of(const struct node *node, uint32_t key) { // how many keys are smaller
    uint32_t rank = 0;
    for (; node; node = node->child[key > node->key])
        if (key > node->key) rank += size_of(node->child[0]) + 1;
    return rank;
}

static uint64_t hash_in_order(const struct node *node, uint64_t hash) {
    if (!node) return hash;
    hash = hash_in_order(node->child[0], hash);
    return hash_in_order(node->child[1], hash_word(hash, (uint64_t)node->key << 32 | node->value));
}

static void free_tree(struct node *node) {
    if (!node) return;
    free_tree(node->child[0]);
    free_tree(node->child[1]);
    free(node);
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    struct node *root = NULL;
    uint64_t ranks = 0;
    for (uint32_t i = 0; i < KEYS; i++) root = insert(root, random_below(RANGE), i);
    for (uint32_t i = 0; i < KEYS; i++) {
        uint32_t key = random_below(RANGE);
        root = i % 2 ? erase(root, key) : insert(root, key / 2, i);
        ranks = ranks * 3 + rank_of(root, RANGE - key);
    }
    print_u64("height", (uint64_t)height_of(root));
    print_u64("size", size_of(root));
    print_u64("ranks", ranks);
    print_u64("in_order", hash_in_order(root, 0));
    free_tree(root);
    return 0;
}
