// Least-recently-used cache: chained hash table and doubly linked list, under skewed requests. Tags: data structures.
#include "harness.h"

enum {
    LOG_BUCKETS = PICK(7, 9, 12), CAPACITY = 1 << LOG_BUCKETS, KEYS = CAPACITY * 8,
    REQUESTS = PICK(20000, 150000, 1300000)
};

struct entry {
    struct entry *newer, *older; // in the order of use
    struct entry *chained;       // in the same bucket
    uint32_t key;
    uint32_t uses;
    uint64_t value;
};

struct cache {
    struct entry entries[CAPACITY];
    struct entry *buckets[CAPACITY];
    struct entry ends; // newer: the oldest entry, older: the newest one
    uint32_t used;
    uint64_t hits, evicted;
};

static struct cache cache;
static uint32_t requests[REQUESTS];

static struct entry **bucket_of(struct cache *in, uint32_t key) {
    return &in->buckets[key * UINT32_C(2654435761) >> (32 - LOG_BUCKETS)];
}

static void unlink_entry(struct entry *entry) {
    entry->newer->older = entry->older;
    entry->older->newer = entry->newer;
}

static void make_newest(struct cache *in, struct entry *entry) {
    entry->newer = &in->ends;
    entry->older = in->ends.older;
    entry->older->newer = entry;
    in->ends.older = entry;
}

static struct entry *find(struct cache *in, uint32_t key) {
    struct entry *entry = *bucket_of(in, key);
    while (entry && entry->key != key) entry = entry->chained;
    return entry;
}

static void remove_from_bucket(struct cache *in, const struct entry *entry) {
    struct entry **place = bucket_of(in, entry->key);
    while (*place != entry) place = &(*place)->chained;
    *place = entry->chained;
}

static struct entry *free_entry(struct cache *in) {
    if (in->used < CAPACITY) return &in->entries[in->used++];
    struct entry *oldest = in->ends.newer;
    unlink_entry(oldest);
    remove_from_bucket(in, oldest);
    in->evicted = hash_word(in->evicted, (uint64_t)oldest->key << 32 | oldest->uses);
    return oldest;
}

static uint64_t compute(uint32_t key) { // what the cache saves: the sum of the key's divisors up to 8
    uint64_t sum = 0;
    for (uint32_t divisor = 1; divisor <= 8; divisor++)
        if (key % divisor == 0) sum += divisor;
    return sum;
}

static uint64_t get(struct cache *in, uint32_t key) {
    struct entry *entry = find(in, key);
    if (entry) {
        in->hits++;
        unlink_entry(entry);
    } else {
        entry = free_entry(in);
        entry->key = key;
        entry->uses = 0;
        entry->value = compute(key);
        struct entry **bucket = bucket_of(in, key);
        entry->chained = *bucket;
        *bucket = entry;
    }
    entry->uses++;
    make_newest(in, entry);
    return entry->value;
}

static uint64_t hash_newest(const struct cache *in, int count) {
    uint64_t hash = 0;
    for (const struct entry *entry = in->ends.older; entry != &in->ends && count > 0; entry = entry->older, count--)
        hash = hash_word(hash, (uint64_t)entry->key << 32 | entry->uses);
    return hash;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < REQUESTS; i++) { // low keys are asked for more often, and what is popular drifts
        uint64_t bits = random_u64(), a = bits >> 44, b = bits >> 24 & 0xFFFFF, c = bits >> 4 & 0xFFFFF;
        requests[i] = (uint32_t)(((a * b >> 20) * c >> 20) * KEYS >> 20) + (uint32_t)i / 128;
    }
    cache.ends.newer = cache.ends.older = &cache.ends;
    uint64_t sum = 0;
    for (int i = 0; i < REQUESTS; i++) sum += get(&cache, requests[i]) * (uint64_t)(i & 15);
    print_u64("hits", cache.hits);
    print_u64("sum", sum);
    print_u64("evicted", cache.evicted);
    print_u64("newest", hash_newest(&cache, CAPACITY));
    return 0;
}
