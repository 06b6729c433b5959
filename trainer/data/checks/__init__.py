"""What is unusual in the rows of a file: unreadable, repeated, leaked, private. Changes no file.

`file_check` is where a row is rejected, before its file becomes a job; all other checks only report.
"""
