"""Rewrites of whole operations and loop nests that upstream MLIR has no transform for; run inside a worker."""
