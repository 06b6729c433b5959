"""The queue: jobs, where their files are, which one is next, and why one failed."""
