"""Generated MLIR programs."""
