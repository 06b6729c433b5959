"""What people do with their data files before and after training. Never loads torch, never changes a file it reads."""
