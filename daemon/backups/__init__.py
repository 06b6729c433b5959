"""Orders for the processes that make backups: what the settings and the ledger have to say about one."""
