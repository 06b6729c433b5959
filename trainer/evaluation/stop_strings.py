"""Where a text ends because of what it says."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

TAIL_TOKENS = 32  # of the newest, in which a stop string is looked for


class StopStrings:
    """Strings that end a text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, strings: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._strings = strings
        self._tail = max([TAIL_TOKENS, *(4 * len(string) for string in strings)])

    def are_seen_in(self, new_tokens: Sequence[int]) -> bool:
        """Whether a text ends with its newest tokens.

        Args:
            new_tokens: all that were generated.
        """
        if not self._strings:
            return False
        tail = str(self._tokenizer.decode(list(new_tokens[-self._tail :])))
        return any(string in tail for string in self._strings)
