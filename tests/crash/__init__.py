"""Real training under fire: processes are killed at any instant, and the weights must come out the same."""
