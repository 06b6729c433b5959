"""From bytes in a JSONL file to token ids with a loss mask. Plain Python, no torch."""
