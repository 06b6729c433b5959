"""Check a working directory: what is fine, what is not, and what to do about it.

Nothing here needs a running daemon, and nothing but `repair` changes anything.
"""
