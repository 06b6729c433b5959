"""Backups of a working directory: objects named by content, and manifests written last. Knows no torch."""
