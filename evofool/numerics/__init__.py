"""What is written by hand for speed, or so that results are bit-identical: see docs/bit-identical.md."""
