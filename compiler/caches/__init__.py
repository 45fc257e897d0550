"""Tuned records in the caches that PyTorch carries from machine to machine."""
