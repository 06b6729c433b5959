"""The commands people type, and the views that print what the client returns."""
