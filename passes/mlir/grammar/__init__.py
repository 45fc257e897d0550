"""The closed grammar of MLIR actions, and the schedules made of them."""
