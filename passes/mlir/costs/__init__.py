"""Costs of MLIR modules: labels, observations, predictions and their training."""
