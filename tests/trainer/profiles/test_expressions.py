"""Answers in one form: equal ones become equal texts, and nothing else does."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.profiles.expressions import (
    MalformedExpression,
    canonical,
    canonical_expression,
    canonical_number,
)


@pytest.mark.parametrize(
    "text, form",
    [
        ("(add 2 3)", "(add 2 3)"),
        ("( ADD\n 2.50   03 )", "(add 2.5 3)"),
        ("(Add X x)", "(add X x)"),
        ("(add(mul 2 3)(neg 4))", "(add (mul 2 3) (neg 4))"),
        ("(add 2 3) = 5.0", "(add 2 3) = 5"),
        ("(add 2 3)=5", "(add 2 3) = 5"),
        ("(f x) = (G y)", "(f x) = (g y)"),
        ("(= 2 2)", "(= 2 2)"),
        ("(+ -1 +2)", "(+ -1 2)"),
        ('(say "( a  B )" 1)', '(say "( a  B )" 1)'),
        ("(größe Ä)", "(größe Ä)"),
    ],
)
def test_expressions_have_one_form(text, form):
    assert canonical_expression(text) == form
    assert canonical_expression(form) == form


@pytest.mark.parametrize(
    "text, message",
    [
        ("(add 2 3", 'found no end; expected "\\)"'),
        ("(add 2 (", "found no end"),
        ("()", 'found "\\)" too early'),
        ("(add)", 'found "\\)" too early'),
        ("(add 2 3) 5", 'found "5" after the expression'),
        ("(add 2 3))", 'found "\\)" after the expression'),
        ("(add 2 3) = 5 6", 'found "6" after'),
        ("(add 2 3) =", 'found nothing after "="'),
        ("(add 2 3) = )", 'found "\\)" too early'),
        ("(2 add 3)", 'the operator is "2"; expected a word or a sign'),
        ("((f x) 3)", 'the operator is "\\("'),
        ('("add" 3)', "the operator is"),
        ("(add 2, 3)", 'found "2,"; expected a number'),
        ('(add "2 3)', "found "),
        ("(add 2 \x1b[31m)", r'found "\\x1b\[31m"'),
    ],
)
def test_what_only_begins_as_an_expression_is_refused_with_what_is_wrong(text, message):
    with pytest.raises(MalformedExpression, match=message):
        canonical_expression(text)


def test_an_expression_may_be_nested_as_deep_as_it_likes():
    depth = 100_000

    assert canonical_expression("(neg " * depth + "1" + ")" * depth).endswith(" 1" + ")" * depth)


@pytest.mark.parametrize(
    "text, form",
    [
        ("5", "5"),
        ("+05.0", "5"),
        ("-0", "0"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e3", "1000"),
        ("1E-2", "0.01"),
        ("1e999", "1e+999"),
        ("2/4", "1/2"),
        ("-6/3", "-2"),
        ("12345678901234567890123456789012345678901", "12345678901234567890123456789012345678901"),
        ("1/0", None),
        ("5 apples", None),
        ("1e99999999", None),
        ("٣", None),
        ("", None),
    ],
)
def test_numbers_have_one_form(text, form):
    assert canonical_number(text) == form


@given(st.fractions(), st.integers(0, 3))
def test_equal_fractions_have_the_same_form_however_they_are_written(number, zeros):
    padded = f"{'0' * zeros}{abs(number.numerator) * 7}/{number.denominator * 7}"

    form = canonical_number(f"-{padded}" if number < 0 else padded)

    assert form is not None
    assert Fraction(form) == number


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.integers(0, 3))
def test_a_decimal_keeps_its_value_whatever_zeros_it_has(number, zeros):
    form = canonical_number(f"{number:f}" + "0" * zeros)

    assert form is not None
    assert Fraction(form) == Fraction(number)


@pytest.mark.parametrize(
    "one, other",
    [
        ("1,234,567", "1234567"),
        (" Paris\n is it ", "Paris is it"),
        ("42.0", "42"),
        ("(ADD 1 2)", "(add 1 2)"),
    ],
)
def test_answers_that_are_equal_have_the_same_form(one, other):
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize("one, other", [("1,23", "123"), ("Paris", "paris"), ("4", "42"), ("", "0")])
def test_answers_that_differ_have_forms_that_differ(one, other):
    assert canonical(one) != canonical(other)
