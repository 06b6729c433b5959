"""Collect what happens in a session and send it to the daemon."""
