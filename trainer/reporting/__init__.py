"""What happens in a session, on its way to the daemon."""
