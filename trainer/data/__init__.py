"""From bytes in a JSONL file to token ids with a loss mask. No torch; never writes to a user's file.

`reading` and `formats` make conversations of lines, `checks` rejects rows at intake and says what is odd,
`rendering` makes examples, and `plan` computes their order.
"""
