"""Processes of the daemon's side that carry out one order and exit. None loads torch."""
