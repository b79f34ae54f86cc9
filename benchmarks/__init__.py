"""Benchmarks: the cost of a search beside its lower bound and beside its peers."""
