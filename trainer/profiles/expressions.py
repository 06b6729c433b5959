"""Answers in one form, so that equal ones are equal texts: `( ADD 2.50 03 )` becomes `(add 2.5 3)`.

answer     = expression [ "=" value ] | number | any other text
expression = "(" operator value … ")"
value      = expression | number | symbol | "text in quotes"
"""

import re
from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction

from trainer.protocol.text import printable

PART = re.compile(r'\s*([()]|"(?:[^"\\]|\\.)*"|[^\s()"]+|")')
SYMBOL = re.compile(r"[^\W\d][\w.:?!+*/<>=%^&|~-]*|[+*/<>=!?%^&|~-]+")
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
FRACTION = re.compile(r"[+-]?[0-9]{1,1000}/0*[1-9][0-9]{0,999}")
THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
MOST_ZEROS = 30  # that a number gets in place of its exponent
QUOTED = 40  # characters of a part that a message shows


class MalformedExpression(ValueError):
    """A text begins with a parenthesis, but is no expression."""


def canonical(answer: str) -> str:
    """Return an answer in its one form. In a text that is no expression, white space is one space.

    Raises:
        MalformedExpression: it begins as an expression does, and is none.
    """
    answer = answer.strip()
    if answer.startswith("("):
        return canonical_expression(answer)
    without_commas = answer.replace(",", "") if THOUSANDS.fullmatch(answer) else answer
    return canonical_number(without_commas) or " ".join(answer.split())


def canonical_expression(text: str) -> str:
    """Return `(op arg …)`, or `(op arg …) = value`, in its one form.

    Raises:
        MalformedExpression: the text is something else.
    """
    parts = PART.findall(text)
    end = _end_of_value(parts, 0)
    if parts[end:] and parts[end].startswith("="):
        parts[end : end + 1] = ["=", parts[end][1:]] if parts[end] != "=" else ["="]
        end = _end_of_value(parts, end + 1)
    if parts[end:]:
        raise MalformedExpression(f"found {_shown(parts[end])} after the expression; expected nothing more")
    return "".join(_written(part, before) for before, part in zip(["", *parts], parts, strict=False))


def canonical_number(text: str) -> str | None:
    """Return a number in its one form, such as 2.5 for +02.50 and 1/2 for 2/4; None if it is no number."""
    if FRACTION.fullmatch(text):
        return str(Fraction(text))
    if not NUMBER.fullmatch(text):
        return None
    number = Decimal(text).normalize(Context(prec=len(text)))  # so long that nothing is rounded
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)  # else it would be infinite
    if not number:
        return "0"
    return f"{number:f}" if abs(exponent) <= MOST_ZEROS else f"{number:e}"


def _end_of_value(parts: Sequence[str], start: int) -> int:
    """Return where the value ends that begins at `start`. A loop, because texts may be nested very deep.

    Raises:
        MalformedExpression: it has no end, or an expression in it has no arguments.
    """
    sizes: list[int] = []  # of the open expressions: how many parts each has so far
    for i in range(start, len(parts)):
        if parts[i] == ")":
            if not sizes or sizes.pop() < 2:
                raise MalformedExpression('found ")" too early; expected an operator and its arguments')
        elif sizes:
            sizes[-1] += 1
        if parts[i] == "(":
            sizes.append(0)
        if not sizes:
            return i + 1
    raise MalformedExpression('found no end; expected ")"' if sizes else 'found nothing after "="')


def _written(part: str, before: str) -> str:
    """Return a part in its one form, with the space in front of it.

    Raises:
        MalformedExpression: it is none, or cannot follow the part before.
    """
    space = "" if part == ")" or before in ("", "(") else " "
    if before == "(":
        if not SYMBOL.fullmatch(part):
            raise MalformedExpression(f"the operator is {_shown(part)}; expected a word or a sign")
        return part.lower()
    if part in "()" or (part[0] == '"' and len(part) > 1) or SYMBOL.fullmatch(part):
        return space + part
    if (number := canonical_number(part)) is None:
        raise MalformedExpression(f"found {_shown(part)}; expected a number, a word or an expression")
    return space + number


def _shown(part: str) -> str:
    return f'"{printable(part, limit=QUOTED)}"'
