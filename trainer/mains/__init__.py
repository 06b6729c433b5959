"""One file per process: the worker, its followers, and helpers that carry out one order and exit.

Beside them what they share: `one_shot` (orders and answers), `connection` and `fault_kind` (whose fault an
error is). No main imports another, and nothing imports a main.
"""

from trainer.mains.light_transformers import read_models_once

read_models_once()  # here, before a main imports what imports transformers
