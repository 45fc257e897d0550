// Insertion sort of records by name, then age, with an own string comparison. Tags: sorting.
#include "harness.h"

enum { N = PICK(500, 3000, 9500), NAME_SIZE = 12 };

struct person {
    char name[NAME_SIZE];
    uint16_t age;
    int16_t score;
    float weight;
};

static struct person people[N];

static int compare_names(const char *a, const char *b) {
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return (unsigned char)*a - (unsigned char)*b;
}

static int comes_before(const struct person *a, const struct person *b) {
    int order = compare_names(a->name, b->name);
    if (order != 0) return order < 0;
    if (a->age != b->age) return a->age < b->age;
    return a->score > b->score;
}

static void insertion_sort(struct person *list, int count) {
    for (int i = 1; i < count; i++) {
        struct person moved = list[i];
        int j = i;
        for (; j > 0 && comes_before(&moved, &list[j - 1]); j--) list[j] = list[j - 1];
        list[j] = moved;
    }
}

static float running_weight(const struct person *list, int count) {
    float total = 0;
    for (int i = 0; i < count; i++) total = total * 0.5f + list[i].weight * (float)list[i].score;
    return total;
}

static void make_person(struct person *person) {
    int length = 3 + (int)random_below(NAME_SIZE - 4);
    for (int i = 0; i < NAME_SIZE; i++)
        person->name[i] = (char)(i < length ? 'a' + (int)random_below(i < 3 ? 2 : 20) : 0);
    person->age = (uint16_t)random_below(100);
    person->score = (int16_t)((int)random_below(2000) - 1000);
    person->weight = (float)random_f64();
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < N; i++) make_person(&people[i]);
    insertion_sort(people, N);
    int ordered = 1;
    for (int i = 1; i < N; i++) ordered &= !comes_before(&people[i], &people[i - 1]);
    print_u64("ordered", (uint64_t)ordered);
    print_f64("running_weight", running_weight(people, N));
    print_bytes("people", people, sizeof people);
    return 0;
}
