"""Computations written by hand for speed or for bit-identical results: see docs/bit-identical.md."""
