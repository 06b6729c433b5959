"""What a person asks of a running daemon: pause, resume, skip, stop."""
