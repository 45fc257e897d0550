"""MLIR modules loaded, lowered, built and run in worker processes."""
