"""Contests: who may run a graph, and who is the fastest."""
