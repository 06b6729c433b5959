"""From the JSON value of a row to a Conversation. One function a format, behind one small registry."""

from trainer.data.formats.registry import FORMATS, Format, read_conversation, read_row

__all__ = ["FORMATS", "Format", "read_conversation", "read_row"]
