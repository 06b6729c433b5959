"""What is seen of a training run while it runs."""
