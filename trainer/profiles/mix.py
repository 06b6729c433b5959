"""The profile `mix`: each row is taken by one of several profiles, chosen by its words."""

import hashlib
import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from trainer.data.conversation import Conversation
from trainer.profiles.base import (
    BadProfileOption,
    DataProfile,
    Expected,
    Generation,
    refuse_unknown_options,
)
from trainer.profiles.row_random import random_of

EXAMPLE = '{"plain": 0.5, "emoji_think": 0.5}'


class MixProfile(DataProfile):
    """Hands each row to one profile.

    Args:
        options: `shares`: of the rows, by the names of profiles; together 1. `options`: of these profiles, by
            their names.
        make: makes a profile of a name and options.
    Raises:
        BadProfileOption, UnknownProfile, BrokenProfile: this one or one of the others cannot be made.
    """

    name = "mix"

    def __init__(
        self, options: dict[str, Any], *, make: Callable[[str, dict[str, Any]], DataProfile]
    ) -> None:
        refuse_unknown_options(options, known=("shares", "options"), name=self.name)
        shares = _shares(options.get("shares"))
        of_each = _options_of_each(options.get("options", {}), shares)
        names = sorted(shares)  # so that a config.json in another order changes nothing
        self._parts = {name: make(name, of_each.get(name, {})) for name in names}
        self._bounds = list(zip(accumulate(shares[name] for name in names), names, strict=True))
        self.special_tokens = tuple(
            dict.fromkeys(token for part in self._parts.values() for token in part.special_tokens)
        )
        codes = [part.code for part in self._parts.values()]
        self.code = hashlib.sha256(repr(codes).encode()).hexdigest() if any(codes) else ""

    def transform(self, conversation: Conversation, *, line_number: int) -> Conversation:
        return self._part_for(conversation).transform(conversation, line_number=line_number)

    def faults(self, conversation: Conversation) -> tuple[str, ...]:
        return self._part_for(conversation).faults(conversation)

    def generation(self) -> Generation:
        """Return what any of the profiles asks for; of system prompts the first in the order of names."""
        all_of_them = [part.generation() for part in self._parts.values()]
        prompts = (each.system_prompt for each in all_of_them)
        return Generation(
            system_prompt=next((prompt for prompt in prompts if prompt is not None), None),
            stop_strings=tuple(dict.fromkeys(text for each in all_of_them for text in each.stop_strings)),
            logits_processors=tuple(make for each in all_of_them for make in each.logits_processors),
        )

    def measure(self, generated: str, *, expected: Expected) -> dict[str, float]:
        """Return the metrics of all profiles, named as in `regime3.exact_match`."""
        return {
            f"{name}.{metric}": value
            for name, part in self._parts.items()
            for metric, value in part.measure(generated, expected=expected).items()
        }

    def _part_for(self, conversation: Conversation) -> DataProfile:
        place = random_of(conversation, self.name).random()
        name = next((name for bound, name in self._bounds if place < bound), self._bounds[-1][1])
        return self._parts[name]


def _shares(value: Any) -> dict[str, float]:
    expected = f"expected names and shares that add up to 1, such as {EXAMPLE}"
    if not isinstance(value, dict) or not value:
        raise BadProfileOption(f"profile.options.shares is {value!r}; {expected}; set it")
    for name, share in value.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise BadProfileOption(
                f"profile.options.shares.{name} is {share!r}; expected a number above 0, and at most 1; "
                "change it, or remove the name"
            )
    if "mix" in value:
        raise BadProfileOption(
            "profile.options.shares contains mix itself; expected other profiles; remove it"
        )
    if not math.isclose(total := math.fsum(value.values()), 1.0, abs_tol=1e-9):
        raise BadProfileOption(f"profile.options.shares add up to {total:g}; {expected}; change them")
    return value


def _options_of_each(value: Any, shares: dict[str, float]) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(options, dict) for options in value.values()):
        raise BadProfileOption(
            f"profile.options.options is {value!r}; expected the options of each profile under its name; "
            "change it"
        )
    if unknown := [name for name in value if name not in shares]:
        raise BadProfileOption(
            f"profile.options.options has {', '.join(unknown)}; expected some of {', '.join(shares)}, "
            "which have shares; remove it, or give it a share"
        )
    return value
