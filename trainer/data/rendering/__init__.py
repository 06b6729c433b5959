"""From conversations to token ids and the loss mask, and what makes it fast."""
