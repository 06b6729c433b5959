"""Publish checkpoints, verify and retain them, and say which of them fit the settings."""
