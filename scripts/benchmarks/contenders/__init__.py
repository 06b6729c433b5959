"""The sides of a comparison. Each is a module that trains one file, run in a process of its own."""
