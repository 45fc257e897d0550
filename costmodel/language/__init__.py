"""A small causal language model, and its fine-tuning with low-rank layers."""
