// Powers of large integers modulo an odd number, by Montgomery multiplication on 32-bit limbs. Tags: crypto.
#include "harness.h"

enum { LIMBS = PICK(8, 20, 32), POWERS = PICK(1, 5, 13) };

struct modulus {
    uint32_t limbs[LIMBS];
    uint32_t square[LIMBS]; // R^2 modulo it, where R = 2^(32 * count)
    uint32_t negated_inverse;
    int count;
};

static int compare(const uint32_t *a, const uint32_t *b, int count) {
    for (int i = count - 1; i >= 0; i--)
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    return 0;
}

static void subtract(uint32_t *from, const uint32_t *what, int count) {
    uint32_t borrow = 0;
    for (int i = 0; i < count; i++) {
        uint64_t difference = (uint64_t)from[i] - what[i] - borrow;
        from[i] = (uint32_t)difference;
        borrow = (uint32_t)(difference >> 63);
    }
}

// Adds a * factor to the sum; what does not fit goes into the two limbs above it.
static void multiply_add(uint32_t *sum, const uint32_t *a, uint32_t factor, int count) {
    uint64_t carry = 0;
    for (int i = 0; i < count; i++) {
        carry += (uint64_t)a[i] * factor + sum[i];
        sum[i] = (uint32_t)carry;
        carry >>= 32;
    }
    carry += sum[count];
    sum[count] = (uint32_t)carry;
    sum[count + 1] += (uint32_t)(carry >> 32);
}

static void montgomery_multiply(uint32_t *product, const uint32_t *a, const uint32_t *b,
                                const struct modulus *modulus) {
    int count = modulus->count;
    uint32_t sum[LIMBS + 2] = {0};
    for (int i = 0; i < count; i++) {
        multiply_add(sum, a, b[i], count);
        multiply_add(sum, modulus->limbs, sum[0] * modulus->negated_inverse, count);
        for (int j = 0; j <= count; j++) sum[j] = sum[j + 1];
        sum[count + 1] = 0;
    }
    if (sum[count] != 0 || compare(sum, modulus->limbs, count) >= 0) subtract(sum, modulus->limbs, count);
    memcpy(product, sum, (size_t)count * sizeof *product);
}

static void double_modulo(uint32_t *value, const struct modulus *modulus) {
    uint32_t carry = 0;
    for (int i = 0; i < modulus->count; i++) {
        uint32_t limb = value[i];
        value[i] = limb << 1 | carry;
        carry = limb >> 31;
    }
    if (carry || compare(value, modulus->limbs, modulus->count) >= 0) subtract(value, modulus->limbs, modulus->count);
}

static void prepare(struct modulus *modulus, const uint32_t *limbs, int count) {
    uint32_t inverse = 1;
    for (int i = 0; i < 5; i++) inverse *= 2 - limbs[0] * inverse; // Newton's iteration modulo 2^32
    memcpy(modulus->limbs, limbs, (size_t)count * sizeof *limbs);
    modulus->negated_inverse = 0 - inverse;
    modulus->count = count;
    memset(modulus->square, 0, sizeof modulus->square);
    modulus->square[0] = 1;
    for (int i = 0; i < 64 * count; i++) double_modulo(modulus->square, modulus);
}

static void power(uint32_t *result, const uint32_t *base, const uint32_t *exponent, const struct modulus *modulus) {
    uint32_t one[LIMBS] = {1}, scaled[LIMBS];
    montgomery_multiply(scaled, base, modulus->square, modulus);
    montgomery_multiply(result, one, modulus->square, modulus);
    for (int bit = 32 * modulus->count - 1; bit >= 0; bit--) {
        montgomery_multiply(result, result, result, modulus);
        if (exponent[bit / 32] >> bit % 32 & 1) montgomery_multiply(result, result, scaled, modulus);
    }
    montgomery_multiply(result, result, one, modulus);
}

static int fermat_holds(void) { // a^(p - 1) = 1 modulo the prime p = 2^127 - 1
    static const uint32_t prime[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX >> 1};
    uint32_t base[4], exponent[4] = {UINT32_MAX - 1, UINT32_MAX, UINT32_MAX, UINT32_MAX >> 1}, result[4];
    struct modulus modulus;
    for (int i = 0; i < 4; i++) base[i] = (uint32_t)random_u64() >> 2;
    prepare(&modulus, prime, 4);
    power(result, base, exponent, &modulus);
    return result[0] == 1 && result[1] == 0 && result[2] == 0 && result[3] == 0;
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    uint32_t limbs[LIMBS], exponent[LIMBS], value[LIMBS], result[LIMBS];
    struct modulus modulus;
    for (int i = 0; i < LIMBS; i++) {
        limbs[i] = (uint32_t)random_u64() | (i == 0) | (uint32_t)(i == LIMBS - 1) << 31;
        exponent[i] = (uint32_t)random_u64();
        value[i] = (uint32_t)random_u64() >> (i == LIMBS - 1);
    }
    print_u64("fermat_holds", (uint64_t)fermat_holds());
    prepare(&modulus, limbs, LIMBS);
    for (int i = 0; i < POWERS; i++) {
        power(result, value, exponent, &modulus);
        memcpy(value, result, sizeof value);
    }
    print_bytes("result", result, sizeof result);
    return 0;
}
