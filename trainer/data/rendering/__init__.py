"""Turn conversations into token ids and a loss mask, fast. Knows no profiles, and no job."""
