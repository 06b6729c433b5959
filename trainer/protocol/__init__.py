"""Ground floor: what daemon and worker share, on disk and between processes.

Standard library and pydantic only; decides nothing.
"""
