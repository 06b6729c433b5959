"""Data profiles: what is done to a conversation before it is rendered."""
