"""Data profiles: how a conversation is changed before it is rendered."""
