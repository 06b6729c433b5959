"""One optimizer step, fast: forward pass, loss, micro-batches, optimizers, schedules, the Trainer class.

Knows no files and no jobs: it takes the steps it is fed. `micro_batches` cuts them, which changes speed and
memory and never the mathematics.
"""
