"""What Foretune does, in PyTorch's own tools: `TORCH_LOGS`, tlparse, `compile_times`, `torch.profiler`."""
