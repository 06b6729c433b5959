"""The training engine. Everything that needs torch lives here."""
