"""One file per process: the worker, its followers, and helpers that carry out one order and end."""
