"""Files as the daemon sees them: their identity, their names, notes beside them, and a probe."""
