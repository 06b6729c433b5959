"""From a file, packed or not, to its rows."""
