"""What is run from the source tree: set-up, tests, measurements."""
