"""Blocks of compiled code: read off assembly, and how often they run."""
