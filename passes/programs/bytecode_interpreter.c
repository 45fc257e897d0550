// Stack machine run by a switch in a loop: its programs use memory, loops and recursive calls. Tags: interpreter.
#include "harness.h"

enum op {
    PUSH, LOAD, STORE, FETCH, PUT, ADD, SUB, MUL, MOD, XOR, LESS, JUMP, JUMP_ZERO, CALL, RETURN, COPY, SWAP, HALT
};

enum { STACK_SIZE = 128, MEMORY_SIZE = 1024, VARIABLES = 4, ROUNDS = PICK(2, 30, 200), FIBONACCI = PICK(10, 15, 17) };

struct instruction {
    uint8_t op;
    int16_t argument;
};

struct machine {
    uint64_t stack[STACK_SIZE];
    uint64_t memory[MEMORY_SIZE];
    uint64_t variables[VARIABLES];
    int calls[STACK_SIZE];
    uint64_t steps;
};

// For i from 1023 down to 1: memory[i] = (memory[i] * 31 ^ memory[i - 1]) % 32749; variable 1 gathers their sum.
static const struct instruction mix_memory[] = {
    {PUSH, 1023}, {STORE, 0}, {LOAD, 0}, {JUMP_ZERO, 25}, {LOAD, 0}, {FETCH, 0}, {PUSH, 31}, {MUL, 0}, {LOAD, 0},
    {PUSH, 1}, {SUB, 0}, {FETCH, 0}, {XOR, 0}, {PUSH, 32749}, {MOD, 0}, {COPY, 0}, {LOAD, 0}, {PUT, 0},
    {LOAD, 1}, {ADD, 0}, {STORE, 1}, {LOAD, 0}, {PUSH, 1}, {SUB, 0}, {JUMP, 1}, {HALT, 0},
};

// The Fibonacci number of variable 0, by recursion, into variable 1.
static const struct instruction fibonacci[] = {
    {LOAD, 0}, {CALL, 4}, {STORE, 1}, {HALT, 0},
    {COPY, 0}, {PUSH, 2}, {LESS, 0}, {JUMP_ZERO, 9}, {RETURN, 0}, {COPY, 0}, {PUSH, 1}, {SUB, 0}, {CALL, 4},
    {SWAP, 0}, {PUSH, 2}, {SUB, 0}, {CALL, 4}, {ADD, 0}, {RETURN, 0},
};

// How many primes there are below variable 0, by trial division, into variable 1.
static const struct instruction count_primes[] = {
    {PUSH, 2}, {STORE, 2}, {LOAD, 2}, {LOAD, 0}, {LESS, 0}, {JUMP_ZERO, 32}, {PUSH, 2}, {STORE, 3}, {LOAD, 3},
    {COPY, 0}, {MUL, 0}, {LOAD, 2}, {SWAP, 0}, {LESS, 0}, {JUMP_ZERO, 20}, {LOAD, 1}, {PUSH, 1}, {ADD, 0},
    {STORE, 1}, {JUMP, 28}, {LOAD, 2}, {LOAD, 3}, {MOD, 0}, {JUMP_ZERO, 28}, {LOAD, 3}, {PUSH, 1}, {ADD, 0},
    {JUMP, 7}, {LOAD, 2}, {PUSH, 1}, {ADD, 0}, {JUMP, 1}, {HALT, 0},
};

static uint64_t apply(enum op op, uint64_t a, uint64_t b) {
    switch (op) {
    case ADD: return a + b;
    case SUB: return a - b;
    case MUL: return a * b;
    case MOD: return b ? a % b : 0;
    case XOR: return a ^ b;
    default: return a < b;
    }
}

static uint64_t execute(struct machine *machine, const struct instruction *program, uint64_t input) {
    uint64_t *top = machine->stack; // the next free place
    int at = 0, depth = 0;
    memset(machine->variables, 0, sizeof machine->variables);
    machine->variables[0] = input;
    for (;;) {
        struct instruction now = program[at++];
        machine->steps++;
        switch ((enum op)now.op) {
        case PUSH: *top++ = (uint64_t)now.argument; break;
        case LOAD: *top++ = machine->variables[now.argument]; break;
        case STORE: machine->variables[now.argument] = *--top; break;
        case FETCH: top[-1] = machine->memory[top[-1] % MEMORY_SIZE]; break;
        case PUT:
            machine->memory[top[-1] % MEMORY_SIZE] = top[-2];
            top -= 2;
            break;
        case ADD:
        case SUB:
        case MUL:
        case MOD:
        case XOR:
        case LESS:
            top[-2] = apply((enum op)now.op, top[-2], top[-1]);
            top--;
            break;
        case JUMP: at = now.argument; break;
        case JUMP_ZERO: at = *--top == 0 ? now.argument : at; break;
        case CALL:
            machine->calls[depth++] = at;
            at = now.argument;
            break;
        case RETURN: at = machine->calls[--depth]; break;
        case COPY:
            *top = top[-1];
            top++;
            break;
        case SWAP: {
            uint64_t old = top[-1];
            top[-1] = top[-2];
            top[-2] = old;
            break;
        }
        case HALT: return machine->variables[1];
        }
    }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    static struct machine machine;
    uint64_t hash = 0;
    for (int i = 0; i < MEMORY_SIZE; i++) machine.memory[i] = random_u64();
    for (int round = 0; round < ROUNDS; round++) {
        hash = hash_word(hash, execute(&machine, mix_memory, 0));
        hash = hash_word(hash, execute(&machine, fibonacci, FIBONACCI - hash % 3));
        hash = hash_word(hash, execute(&machine, count_primes, 200 + hash % 300));
    }
    print_u64("fibonacci_ok", execute(&machine, fibonacci, 10) == 55);
    print_u64("primes_ok", execute(&machine, count_primes, 200) == 46);
    print_u64("steps", machine.steps);
    print_u64("hash", hash);
    return 0;
}
