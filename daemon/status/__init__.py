"""What the daemon shows while it runs: the status file, the overhead, data reports, the machine."""
