"""Show and pin checkpoints while a worker may publish and remove some."""
