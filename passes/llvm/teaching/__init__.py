"""Evidence of what passes did, and local models that are fine-tuned on it."""
