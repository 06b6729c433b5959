"""Puzzles whose answers are computed, not guessed: each kind is a numbered space to draw from."""
