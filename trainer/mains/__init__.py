"""One file per process: the worker, its followers, and helpers that carry out one order and exit.

Beside them what they share: `one_shot` (orders and answers), `connection` and `fault_kind` (whose fault an
error is). No main imports another, and nothing imports a main.
"""
