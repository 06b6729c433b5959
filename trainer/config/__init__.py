"""Settings: their schema, and how the effective ones are put together."""
