"""What people do with their data files before and after training.

Never loads torch, and never changes a file that it reads.
"""
