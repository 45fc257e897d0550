"""Programs that are compiled once on kind values and called again with hostile ones, compared with PyTorch."""
