"""The registry of versions: checkpoints that somebody keeps under a name. Knows no torch."""
