"""Timing one function of a program in place of whole runs: its calls are counted by code that is linked in."""
