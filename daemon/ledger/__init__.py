"""The history of jobs, attempts, steps and events in one SQLite file: its one writer, and its readers."""
