"""The profile `plain`: conversations as they are."""

from trainer.profiles.base import DataProfile


class PlainProfile(DataProfile):
    """Changes nothing."""

    name = "plain"
