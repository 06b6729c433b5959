"""Publish checkpoints, verify and retain them, and say which of them fit the settings.

Nothing is deleted before its replacement is verified, and what somebody has pinned (`trainer.protocol.pins`)
or uses never is. When to save is the session's to decide.
"""
