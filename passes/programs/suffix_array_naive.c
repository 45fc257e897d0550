// Suffix array by comparison sorting, its longest common prefixes, and searches by bisection. Tags: string search.
#include "harness.h"

enum { N = PICK(2500, 14000, 110000), QUERIES = N / 8, QUERY_LENGTH = 9 };

static char text[N + 1];
static int32_t suffixes[N], rank_of[N], common[N];

static int compare_text(const char *a, const char *b, int limit) {
    for (int i = 0; i < limit; i++) {
        if (a[i] != b[i]) return (uint8_t)a[i] < (uint8_t)b[i] ? -1 : 1;
        if (a[i] == '\0') return 0;
    }
    return 0;
}

static int suffix_before(int32_t a, int32_t b) { return compare_text(text + a, text + b, N + 1) < 0; }

static void swap(int32_t *a, int32_t *b) {
    int32_t old = *a;
    *a = *b;
    *b = old;
}

static void sort_suffixes(int32_t *list, int count) {
    while (count > 1) {
        int kept = 0;
        swap(&list[count / 2], &list[count - 1]);
        for (int i = 0; i < count - 1; i++)
            if (suffix_before(list[i], list[count - 1])) swap(&list[i], &list[kept++]);
        swap(&list[kept], &list[count - 1]);
        sort_suffixes(list, kept);
        list += kept + 1;
        count -= kept + 1;
    }
}

// common[i]: how many letters the suffixes i - 1 and i of the sorted order share (Kasai's algorithm).
static void find_common_prefixes(void) {
    int length = 0;
    for (int i = 0; i < N; i++) rank_of[suffixes[i]] = i;
    for (int i = 0; i < N; i++) {
        if (rank_of[i] == 0) {
            length = 0;
            continue;
        }
        const char *a = text + i, *b = text + suffixes[rank_of[i] - 1];
        while (a[length] && a[length] == b[length]) length++;
        common[rank_of[i]] = length;
        if (length > 0) length--;
    }
}

// The first suffix that does not come before the query, or with `after` the first one that comes behind it.
static int bound(const char *query, int after) {
    int low = 0, high = N;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (compare_text(text + suffixes[middle], query, QUERY_LENGTH) < after)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < N; i++) {
        text[i] = "acgt"[random_below(4)];
        suffixes[i] = i;
    }
    sort_suffixes(suffixes, N);
    find_common_prefixes();
    uint64_t occurrences = 0;
    int longest = 0;
    for (int i = 0; i < QUERIES; i++) {
        const char *query = text + (i * 7) % (N - QUERY_LENGTH);
        occurrences += (uint64_t)(bound(query, 1) - bound(query, 0));
    }
    for (int i = 0; i < N; i++)
        if (common[i] > longest) longest = common[i];
    print_u64("longest_repeat", (uint64_t)longest);
    print_u64("occurrences", occurrences);
    print_bytes("suffixes", suffixes, sizeof suffixes);
    print_bytes("common", common, sizeof common);
    return 0;
}
