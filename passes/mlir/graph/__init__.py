"""MLIR modules as graphs."""
