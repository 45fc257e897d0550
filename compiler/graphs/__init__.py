"""What is said of PyTorch's graphs: their operators, views, effects and forms."""
