"""Cycles of a module that is not run: llvm-mca's of each block of its code, weighted by how often the block runs."""
