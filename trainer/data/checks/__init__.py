"""What is odd in the rows of a file: unreadable, repeated, leaked, private."""
