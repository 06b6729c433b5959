"""Disk space: what takes it, and what may be removed in which order. Knows no torch."""
