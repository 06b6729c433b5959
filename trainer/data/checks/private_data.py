"""Find private data and secrets in texts. Of what is found only the first characters leave this module."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from trainer.data.checks.minhash import as_text, said_in
from trainer.data.conversation import Conversation
from trainer.protocol.deep_findings import PRIVATE_PATTERNS, PrivatePattern
from trainer.protocol.text import printable

SHOWN_CHARACTERS = 3


def is_iban(text: str) -> bool:
    """Whether the check digits are right (ISO 13616), at the end of `text` or of a group before it.

    A word in capitals may have been taken for the last group.
    """
    groups = text.split(" ")
    candidates = {"".join(groups[:count]) for count in range(1, len(groups) + 1)}
    return any(15 <= len(iban) <= 34 and _has_iban_checksum(iban) for iban in candidates)


def _has_iban_checksum(iban: str) -> bool:
    digits = "".join(str(int(char, 36)) for char in iban[4:] + iban[:4])
    return int(digits) % 97 == 1


def is_card_number(text: str) -> bool:
    """Whether the last digit is right (Luhn; ISO/IEC 7812)."""
    digits = [int(char) for char in text if char.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_public_address(text: str) -> bool:
    """Whether an IPv4 address can be somebody's: not one of a private network or of no host at all."""
    return IPv4Address(text).is_global


@dataclass(frozen=True)
class Pattern:
    """What one kind of private data looks like.

    Args:
        is_valid: looks closer at what fits the expression.
    """

    expression: re.Pattern[str]
    is_valid: Callable[[str], bool] = lambda text: True


def _pattern(expression: str, is_valid: Callable[[str], bool] = lambda text: True) -> Pattern:
    return Pattern(re.compile(expression, re.ASCII), is_valid)


# Repeats have a limit, or cannot begin inside of each other: no text may take quadratic time
PATTERNS: dict[PrivatePattern, Pattern] = {
    "email": _pattern(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"),
    "phone": _pattern(
        r"(?<![\w+.-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,12}"
        r"|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4})(?![\d-])"
    ),
    "iban": _pattern(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", is_iban),
    "credit_card": _pattern(r"(?<![\w.-])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\w-])", is_card_number),
    "ipv4": _pattern(
        r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?!\.?\w)",
        is_public_address,
    ),
    "private_key": _pattern(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    "aws_key": _pattern(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "github_token": _pattern(r"\b(?:gh[oprsu]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b"),
    "slack_token": _pattern(r"(?<![\w-])xox[abeoprs]-\d[A-Za-z0-9-]{9,255}"),
    "google_key": _pattern(r"\bAIza[A-Za-z0-9_-]{35}(?![\w-])"),
    "jwt": _pattern(r"(?<![\w-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
}
assert tuple(PATTERNS) == PRIVATE_PATTERNS


def find_private_data(
    conversation: Conversation, patterns: Sequence[PrivatePattern]
) -> Iterator[tuple[PrivatePattern, str]]:
    """Yield each kind of private data in a row, with the beginning of the first of its kind."""
    if not patterns:
        return
    texts = [said_in(message) for message in conversation.messages]
    text = "\n\n".join([*texts, as_text(conversation.tools)])
    for name in patterns:
        pattern = PATTERNS[name]
        for found in pattern.expression.finditer(text):
            if pattern.is_valid(found[0]):
                yield name, masked(found[0])
                break


def masked(text: str) -> str:
    """Return the beginning of `text`, which says what it is and does not give it away."""
    return f"{printable(text[:SHOWN_CHARACTERS])}…"
