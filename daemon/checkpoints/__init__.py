"""Checkpoints as a person sees them, beside a worker that may publish and remove some."""
