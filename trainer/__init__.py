"""Train one language model over file after file. Importing this package loads nothing heavy.

The library's face is `trainer.core.engine.TrainerEngine`; the process the daemon runs is `trainer.worker`.
"""

__version__ = "0.1.0"
