"""Look at a working directory the way a doctor does: what is well, what is not, and what to do about it.

Nothing here needs a running daemon, and nothing but `repair` changes anything.
"""
