"""The run directory: all that a run leaves behind."""
