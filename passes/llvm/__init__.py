"""LLVM pass sequences: grammar, compiler, measuring and observations."""
