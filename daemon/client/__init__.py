"""Everything that a person can ask of a working directory, as typed functions. Prints nothing."""
