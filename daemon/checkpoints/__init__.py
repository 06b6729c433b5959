"""Show checkpoints, and find the one to pin, while a worker may publish and remove some."""
