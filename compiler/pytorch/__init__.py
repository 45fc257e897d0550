"""The backend of `torch.compile`, in the order in which a graph meets it: regions, import, guard, report."""
