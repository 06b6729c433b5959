"""Puzzles with computed answers: each kind is a numbered space to draw from."""
