"""The web page: shows what a working directory's daemon does, and asks it for things, through the client."""
