"""What went wrong, in words for people; programs get the name as it is recorded."""

WORDS = {  # by the values of FaultKind, whose module is slow to import
    "bad_data": "bad data",
    "bad_config": "invalid settings",
    "environment": "environment",
    "out_of_memory": "out of memory",
    "gpu_out_of_memory": "out of GPU memory",
    "nan": "loss or gradients not finite",
    "hang": "hang",
    "crash": "crash",
    "regression": "the model became worse",
    "request": "on request",
}

NO_LOSS = "none (not finite, or no supervised token)"  # of a step


NO_CRASH = "no crash, but training was blocked"


def fault_words(recorded: str) -> str:
    """Return what a recorded kind of fault means; what is none, such as `completed`, is returned as it is."""
    return WORDS.get(recorded, recorded)
