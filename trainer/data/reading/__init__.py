"""Read a file row by row, compressed or not. Knows lines and JSON values, and no formats."""
