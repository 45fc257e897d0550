"""Cost models compared on held-out tasks."""
