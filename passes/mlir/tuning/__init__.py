"""Searches over MLIR schedules."""
