"""Send the curves of the model's life to a tracker, each from a process of its own. Optional."""
