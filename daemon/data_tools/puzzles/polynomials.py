"""Polynomials with integer coefficients, and the one way each is written."""

from collections.abc import Iterable, Sequence
from operator import add

Exponents = tuple[int, ...]  # one for every variable
Polynomial = dict[Exponents, int]
"""Coefficient of each power; none is 0."""


def constant(value: int, num_variables: int) -> Polynomial:
    """Return a number as a polynomial."""
    return {(0,) * num_variables: value} if value else {}


def variable(position: int, num_variables: int) -> Polynomial:
    """Return the variable that stands at `position`."""
    return {tuple(int(i == position) for i in range(num_variables)): 1}


def total(left: Polynomial, right: Polynomial) -> Polynomial:
    """Return `left` + `right`."""
    return _collected([*left.items(), *right.items()])


def difference(left: Polynomial, right: Polynomial) -> Polynomial:
    """Return `left` - `right`."""
    return _collected(
        [*left.items(), *((exponents, -coefficient) for exponents, coefficient in right.items())]
    )


def product(left: Polynomial, right: Polynomial) -> Polynomial:
    """Return `left` times `right`."""
    return _collected(
        (tuple(map(add, a, b)), a_coefficient * b_coefficient)
        for a, a_coefficient in left.items()
        for b, b_coefficient in right.items()
    )


def _collected(terms: Iterable[tuple[Exponents, int]]) -> Polynomial:
    sums: dict[Exponents, int] = {}
    for exponents, coefficient in terms:
        sums[exponents] = sums.get(exponents, 0) + coefficient
    return {exponents: coefficient for exponents, coefficient in sums.items() if coefficient}


def canonical(polynomial: Polynomial, variables: Sequence[str]) -> str:
    """Write a polynomial as a sum of products, such as `(add (mul 3 (pow x 2)) (mul -1 x y) 5)`.

    Terms of higher degree come first, and among equal degrees those with more of the earlier variable. A
    coefficient of 1, an exponent of 1, a sum of one term and a product of one factor are not written.
    """
    ordered = sorted(polynomial.items(), key=lambda item: (sum(item[0]), item[0]), reverse=True)
    terms = [_term(exponents, coefficient, variables) for exponents, coefficient in ordered]
    return _applied("add", terms) if terms else "0"


def _term(exponents: Exponents, coefficient: int, variables: Sequence[str]) -> str:
    powers = [
        name if exponent == 1 else f"(pow {name} {exponent})"
        for name, exponent in zip(variables, exponents, strict=True)
        if exponent
    ]
    is_written = coefficient != 1 or not powers
    return _applied("mul", [str(coefficient)] * is_written + powers)


def _applied(operator: str, arguments: list[str]) -> str:
    return arguments[0] if len(arguments) == 1 else f"({operator} {' '.join(arguments)})"
