"""Find where the assistant's turn ends, which the model has to learn, too: it must know when to stop."""

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from trainer.data.conversation import Message
from trainer.data.rendering.chat_template import Tokenizer
from trainer.data.rendering.parts import reasoning_of, squeezed

_Known = tuple[tuple[int, str], tuple[tuple[str, ...], tuple[str, ...]]]
_KNOWN_TOKENS: WeakKeyDictionary[Tokenizer, _Known] = WeakKeyDictionary()


class TurnEnd:
    """The tokens with which turns may end, as far as the tokenizer knows them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._end_of_text: str = getattr(tokenizer, "eos_token", None) or ""
        self._tokens, self._closing = _tokens_of(tokenizer, self._end_of_text)
        self.is_known = bool(self._tokens)

    def within(self, produced: str, message: Message) -> int | None:
        """Return after how many characters a turn ends; None if what is said of it names no end.

        What follows the end, such as the next prompt, is not the model's to produce.
        """
        ended = produced.rstrip()
        start = _start_of_tail(ended, message)
        # Arguments may quote the token, and where they end cannot be told
        find = ended.rfind if message.tool_calls else ended.find
        if self._end_of_text and (found := find(self._end_of_text, start)) >= 0:
            return found + len(self._end_of_text)
        has_end = len(ended) > start and ended.endswith(self._tokens)
        return len(ended) if has_end or not self.is_known else None

    def ends(self, text: str) -> bool:
        """Return whether a text ends with one of the tokens."""
        return text.rstrip().endswith(self._tokens)

    def only_closes(self, produced: str, words: str) -> bool:
        """Return whether nothing but tokens stands behind the words of a turn, or in a turn without words.

        Args:
            produced, words: without white space.
        """
        while produced != words and not (words and produced.endswith(words)):
            tokens = [token for token in self._closing if produced.endswith(token)]
            if not tokens:
                return False
            produced = produced.removesuffix(max(tokens, key=len))
        return True

    def token_at(self, following: str) -> str | None:
        """Return the token that a text begins with, and any white space before it."""
        stripped = following.lstrip()
        found = max((t for t in self._tokens if stripped.startswith(t)), key=len, default=None)
        return following[: len(following) - len(stripped)] + found if found else None


def _tokens_of(tokenizer: Tokenizer, end_of_text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tokens that may end a turn, and those that may stand behind its words.

    Some vocabularies have thousands, and every row asks.
    """
    size = getattr(tokenizer, "__len__", int)()
    known = _KNOWN_TOKENS.get(tokenizer)
    if known is None or known[0] != (size, end_of_text):
        added: Iterable[str] = getattr(tokenizer, "get_added_vocab", dict)()
        # </tool_call> closes a call, not a turn; </s> is the end of text of many models
        closing = {*added, end_of_text} - {""}
        ending = {token for token in closing if not token.startswith("</") or token == end_of_text}
        known = _KNOWN_TOKENS[tokenizer] = ((size, end_of_text), (tuple(ending), tuple(closing)))
    return known[1]


def _start_of_tail(produced: str, message: Message) -> int:
    """Return where the words and the calls of a turn are over at the earliest."""
    start = 0
    for said in filter(None, map(str.strip, (reasoning_of(message), message.content))):
        found = produced.find(said, start)
        start = found + len(said) if found >= 0 else max(start, _after_squeezed(produced, squeezed(said)))
    return max(start, produced.rfind("}") + 1) if message.tool_calls else start


def _after_squeezed(text: str, words: str) -> int:
    """Return the place behind words of which the text differs in white space."""
    place = squeezed(text).find(words) + len(words)
    if place < len(words):
        return 0
    seen: Iterable[int] = (i + 1 for i, letter in enumerate(text) if not letter.isspace())
    return next((end for number, end in enumerate(seen, start=1) if number == place), 0)
