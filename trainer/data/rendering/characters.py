"""Which characters are letters, numbers and white space, as far as all tokenizers agree on it.

Every library has the Unicode tables of its year. A character counts as certain if it has been what it is
since Unicode 3.2, the oldest table at hand, or is a sign or symbol; so every library sees the same in it.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

LOOKED_AT = (*range(0x80, 0xD800), *range(0xE000, 0x10000), *range(0x1F000, 0x1FB00))  # the last are emoji
WHITE_SPACE = (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
FOLDED_INTO_ASCII = (0x17F, 0x212A)  # equal s and k when case does not count


@dataclass(frozen=True)
class Classes:
    """The content of character classes of regular expressions."""

    letters: str
    numbers: str
    white_space: str

    def in_place_of_classes(self, expression: str) -> str:
        r"""Return an expression with these classes for `\p{L}`, `\p{N}`, `\s` and `\S`, which vary."""
        out, rest, is_inside = "", expression, False
        known = {r"\p{L}": self.letters, r"\p{N}": self.numbers, r"\s": self.white_space}
        while rest:
            if rest.startswith(r"\S"):
                out, rest = f"{out}[^{self.white_space}]", rest[2:]
            elif name := next((name for name in known if rest.startswith(name)), None):
                out, rest = out + (known[name] if is_inside else f"[{known[name]}]"), rest[len(name) :]
            else:
                size = 2 if rest[0] == "\\" else 1
                is_inside = rest[0] == "[" or (is_inside and rest[0] != "]")
                out, rest = out + rest[:size], rest[size:]
        return out


ASCII = Classes(letters="A-Za-z", numbers="0-9", white_space=r" \t\n\v\f\r")


def is_certain(text: str) -> bool:
    """Return whether every character of `text` is what it seems, and none would be composed with another."""
    return not _uncertain().search(text) and unicodedata.is_normalized("NFC", text)


@cache
def of_unicode() -> Classes:
    """Return the classes of all certain characters."""
    kinds = _kinds()
    return Classes(
        letters=ASCII.letters + _ranges(code for code, kind in kinds.items() if kind == "L"),
        numbers=ASCII.numbers + _ranges(code for code, kind in kinds.items() if kind == "N"),
        white_space=ASCII.white_space + _ranges(WHITE_SPACE),
    )


@cache
def _uncertain() -> re.Pattern[str]:
    return re.compile(rf"[^\0-\x7f{_ranges(_kinds())}]")


@cache
def _kinds() -> dict[int, str]:
    """Return every certain character beyond ASCII, with the first letter of its category."""
    kinds = {}
    for code in LOOKED_AT:
        kind = unicodedata.category(chr(code))[0]
        has_always_been = kind == unicodedata.ucd_3_2_0.category(chr(code))[0] and kind != "C"
        if (has_always_been or kind in "SP") and code not in FOLDED_INTO_ASCII:
            kinds[code] = kind
    return kinds


def _ranges(codes: Iterable[int]) -> str:
    """Return ascending code points as the content of a character class."""
    runs: list[list[int]] = []
    for code in codes:
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in runs)
