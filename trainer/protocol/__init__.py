"""Ground floor: what daemon and worker share. Standard library and pydantic only."""
