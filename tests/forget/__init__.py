"""Forgetting a file is proved here: the model is, bit for bit, what it would be without it."""
