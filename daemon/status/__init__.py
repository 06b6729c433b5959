"""What is shown while the daemon runs: the status file, the overhead, the reports on data, the machine."""
