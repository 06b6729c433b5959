"""Start the worker, talk to it, and judge how it ended."""
