"""One optimizer step, fast: forward pass, loss, micro-batches, optimizers, schedules, the Trainer class."""
