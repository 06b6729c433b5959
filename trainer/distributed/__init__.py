"""Several processes share each optimizer step: its rows are sharded, and the gradients added up.

Nothing here decides what is trained or saved; only rank 0, the worker, does.
"""
