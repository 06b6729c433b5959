"""Chat templates of widely used families, and what is learned with each."""
