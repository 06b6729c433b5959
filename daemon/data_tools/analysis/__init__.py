"""What a data file consists of, as figures and charts. Loads numpy, so import it only where it is needed."""
