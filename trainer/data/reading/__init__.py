"""Read a file row by row, compressed or not."""
