"""What ails the training so far, from what was recorded of it. Reads only, and decides nothing."""
