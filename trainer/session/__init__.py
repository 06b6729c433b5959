"""A run of jobs in one warm process: the engine, the session, the job in training, and when to save."""
