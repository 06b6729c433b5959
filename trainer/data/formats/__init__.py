"""Turn the JSON value of a row into a Conversation. One function per format, behind a small registry."""

from trainer.data.formats.registry import FORMATS, Format, read_conversation, read_row

__all__ = ["FORMATS", "Format", "read_conversation", "read_row"]
