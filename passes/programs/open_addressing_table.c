// Hash table with linear probing and deletion by shifting back, under a mix of operations. Tags: hashing.
#include "harness.h"

enum { LOG_CAPACITY = PICK(10, 13, 15), CAPACITY = 1 << LOG_CAPACITY, OPERATIONS = PICK(12000, 90000, 700000) };

struct slot {
    uint64_t key; // 0: empty
    uint64_t value;
};

struct table {
    struct slot *slots;
    uint32_t mask;
    uint32_t used;
};

struct operation {
    uint32_t key;
    uint32_t kind;
};

static struct slot storage[CAPACITY];
static struct operation operations[OPERATIONS];

static uint32_t home_of(const struct table *table, uint64_t key) {
    return (uint32_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 40) & table->mask;
}

static struct slot *find(struct table *table, uint64_t key) {
    uint32_t at = home_of(table, key);
    while (table->slots[at].key != 0 && table->slots[at].key != key) at = (at + 1) & table->mask;
    return &table->slots[at];
}

static void add(struct table *table, uint64_t key, uint64_t value) {
    struct slot *slot = find(table, key);
    if (slot->key == 0) {
        slot->key = key;
        slot->value = 0;
        table->used++;
    }
    slot->value += value;
}

static int erase(struct table *table, uint64_t key) {
    struct slot *slot = find(table, key);
    if (slot->key == 0) return 0;
    uint32_t hole = (uint32_t)(slot - table->slots);
    for (uint32_t at = (hole + 1) & table->mask; table->slots[at].key != 0; at = (at + 1) & table->mask) {
        uint32_t home = home_of(table, table->slots[at].key);
        if (((at - home) & table->mask) < ((at - hole) & table->mask)) continue; // would land before its home
        table->slots[hole] = table->slots[at];
        hole = at;
    }
    table->slots[hole].key = 0;
    table->slots[hole].value = 0;
    table->used--;
    return 1;
}

static uint64_t apply(struct table *table, const struct operation *list, int count) {
    uint64_t found = 0;
    for (int i = 0; i < count; i++) {
        switch (list[i].kind) {
        case 0:
        case 1:
            if (table->used < CAPACITY / 4 * 3) add(table, list[i].key, (uint64_t)i);
            break;
        case 2:
            found = found * 3 + (uint64_t)erase(table, list[i].key);
            break;
        default:
            found += find(table, list[i].key)->value;
        }
    }
    return found;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < OPERATIONS; i++) {
        uint64_t bits = random_u64();
        operations[i].key = (uint32_t)(bits >> 32) % (CAPACITY + CAPACITY / 4) + 1;
        operations[i].kind = (uint32_t)bits & 7;
        if (operations[i].kind > 5) operations[i].kind &= 1;
    }
    struct table table = {storage, CAPACITY - 1, 0};
    print_u64("found", apply(&table, operations, OPERATIONS));
    print_u64("found_again", apply(&table, operations, OPERATIONS));
    print_u64("used", table.used);
    print_bytes("slots", storage, sizeof storage);
    return 0;
}
