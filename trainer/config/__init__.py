"""Settings: their schema, and how the effective ones come about."""
