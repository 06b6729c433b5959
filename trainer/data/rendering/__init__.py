"""Turn conversations into token ids and a loss mask, fast."""
