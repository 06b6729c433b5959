"""Check what profiles from elsewhere return, and report what one gets wrong, with its name and the line."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from trainer.data.conversation import ROLES, Conversation, Message
from trainer.profiles.base import BadProfileOption, BrokenProfile, DataProfile, Expected, Generation
from trainer.protocol.text import printable

SHOWN = 200  # characters of what was found
CHECKED_ROWS = 8  # of each file: a second profile, made anew, must say the same of them

Result = TypeVar("Result")


class GuardedProfile(DataProfile):
    """Does what another profile does, and checks what it returns.

    Args:
        name: under which it was found.
        code: hash of its code.
        make: makes it; called anew for each of the first rows, because a restart makes it anew, too.
    Raises:
        BrokenProfile: it cannot be made.
    """

    def __init__(self, name: str, code: str, make: Callable[[], DataProfile]) -> None:
        self.name, self.code = name, code
        self._make = make
        self._profile = self._made()
        self.special_tokens = self._profile.special_tokens
        if not _are_words(self.special_tokens):
            found = f"special_tokens {self.special_tokens!r}"
            raise self._broken("has", found, "a tuple of texts without spaces around them")
        self._rows_to_check = CHECKED_ROWS

    def transform(self, conversation: Conversation, *, line_number: int) -> Conversation:
        """Return what the profile makes of a conversation.

        Raises:
            BrokenProfile: it fails, returns something else, or something else each time.
        """
        place = f" at line {line_number}"

        def ask(profile: DataProfile) -> Conversation:
            call = partial(profile.transform, conversation, line_number=line_number)
            return self._ask(place, call, Conversation)

        result = ask(self._profile)
        if why := _why_unusable(result):
            raise self._broken("returns", why, "messages with roles and texts", place)
        if self._rows_to_check:
            self._rows_to_check -= 1
            if ask(self._made()) != result:
                expected = "the same for the same row, always, also after a restart"
                raise self._broken("returns", "something else when it is made anew", expected, place)
        return result

    def faults(self, conversation: Conversation) -> tuple[str, ...]:
        return self._ask(" in faults()", lambda: self._profile.faults(conversation), tuple)

    def generation(self) -> Generation:
        place = " in generation()"
        how = self._ask(place, self._profile.generation, Generation)
        prompt, stops = how.system_prompt, how.stop_strings
        if not (prompt is None or isinstance(prompt, str)) or not all(
            isinstance(stop, str) and stop for stop in (*stops, "x")
        ):
            raise self._broken("returns", repr(how), "texts as system prompt and stop strings", place)
        return replace(how, logits_processors=tuple(map(self._guarded, how.logits_processors)))

    def _guarded(self, make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return what makes a logits processor whose errors are the profile's."""
        place = " in logits_processors"

        def made(tokenizer: Any) -> Callable[[Any, Any], Any]:
            processor = self._ask(place, lambda: make(tokenizer), object)
            if not callable(processor):
                raise self._broken("returns", repr(processor), "what is called with ids and scores", place)

            def process(token_ids: Any, scores: Any) -> Any:
                result = self._ask(place, lambda: processor(token_ids, scores), object)
                if getattr(result, "shape", None) != scores.shape:
                    raise self._broken("returns", repr(result), "scores of the same shape", place)
                return result

            return process

        return made

    def measure(self, generated: str, *, expected: Expected) -> dict[str, float]:
        place = " in measure()"
        found = self._ask(place, lambda: self._profile.measure(generated, expected=expected), dict)
        if not all(isinstance(k, str) and isinstance(v, int | float) for k, v in found.items()):
            raise self._broken("returns", repr(found), "numbers by their names", place)
        return found

    def _made(self) -> DataProfile:
        return self._ask(" when it is made", self._make, DataProfile, may_raise=BadProfileOption)

    def _ask(
        self,
        place: str,
        call: Callable[[], Result],
        kind: type[Result],
        *,
        may_raise: type[Exception] | tuple[()] = (),
    ) -> Result:
        try:
            result = call()
        except may_raise:
            raise
        except (Exception, SystemExit) as error:  # what code of others raises cannot be known
            what = f"{type(error).__name__}: {error}"
            raise self._broken("raises", what, "no error for any conversation", place) from error
        if not isinstance(result, kind):
            raise self._broken("returns", repr(result), f"a {kind.__name__}", place)
        return result

    def _broken(self, verb: str, found: str, expected: str, place: str = "") -> BrokenProfile:
        found = printable(found, limit=SHOWN)
        return BrokenProfile(
            f"profile {self.name}{place} {verb} {found}; expected {expected}; correct it, or set another "
            "profile.name"
        )


def _are_words(tokens: object) -> bool:
    return isinstance(tokens, tuple) and all(
        isinstance(token, str) and token and token == token.strip() for token in tokens
    )


def _why_unusable(conversation: Conversation) -> str | None:
    """Return what is wrong with a conversation; None if it can be rendered."""
    messages = conversation.messages
    if not isinstance(messages, tuple) or not messages:
        return f"messages {messages!r}"
    if conversation.is_plain_text and len(messages) > 1:
        return f"{len(messages)} messages for a plain text, which has one"
    for i, message in enumerate(messages):
        if not isinstance(message, Message):
            return f"{message!r} as messages[{i}]"
        if message.role not in ROLES:
            return f"the role {message.role!r} in messages[{i}]"
        if not (isinstance(message.content, str) and _is_unicode(message.content)):
            return f"{message.content!r} as the content of messages[{i}]"
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
