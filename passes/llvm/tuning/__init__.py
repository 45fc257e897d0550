"""Searches over pass sequences, and what they suggest, rank and measure."""
