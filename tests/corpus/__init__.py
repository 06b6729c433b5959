"""Bad input of every kind, made by code."""
