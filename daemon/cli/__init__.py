"""The commands people type. One file per command; `output` and `options` are what they share."""
