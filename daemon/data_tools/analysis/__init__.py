"""Describe what a data file contains, in figures and charts. Loads numpy; import it only where needed."""
