"""Solve generated puzzles from their text alone, by other means than the generator's."""

import ast
import re
from fractions import Fraction

import sympy
from sympy.logic.boolalg import Boolean
from sympy.logic.inference import satisfiable

# ---- arithmetic: Python's own grammar


def compute(question: str) -> str:
    """Return the value of the expression in a question."""
    [expression] = re.findall(r"[\d(][\d\s()+*/-]*[\d)]", question)
    return str(_value(ast.parse(expression, mode="eval").body))


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant):
        return Fraction(node.value)
    assert isinstance(node, ast.BinOp)
    left, right = _value(node.left), _value(node.right)
    match node.op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
    raise AssertionError(f"unexpected operator {node.op}")


# ---- symbolic: sympy

OPERATIONS = {
    "add": sympy.Add,
    "mul": sympy.Mul,
    "sub": lambda a, b: a - b,
    "pow": sympy.Pow,
    "max": sympy.Max,
    "min": sympy.Min,
}


def read_expression(text: str) -> sympy.Expr:
    """Return the meaning of an s-expression, expanded."""
    stack = [[]]
    for token in re.findall(r"[()]|[^\s()]+", text):
        if token == "(":
            stack.append([])
        elif token == ")":
            operator, *arguments = stack.pop()
            stack[-1].append(OPERATIONS[operator](*arguments))
        else:
            stack[-1].append(_atom(token))
    [[expression]] = stack
    return sympy.expand(expression)


def _atom(token: str) -> object:
    if token in OPERATIONS:
        return token
    return sympy.Symbol(token) if token.isalpha() else sympy.Integer(token)


def simplify(question: str) -> str:
    """Return the canonical form of the s-expression in a question, written from sympy's polynomial."""
    expression = read_expression(question[question.index("(") : question.rindex(")") + 1])
    if not expression.free_symbols:
        return str(expression)
    symbols = sympy.symbols("x y z")
    terms = sympy.Poly(expression, *symbols).terms(order="grlex")
    written = [_write_term(powers, coefficient, symbols) for powers, coefficient in terms]
    return written[0] if len(written) == 1 else f"(add {' '.join(written)})"


def _write_term(powers, coefficient, symbols) -> str:
    factors = [f"(pow {s} {p})" if p > 1 else str(s) for s, p in zip(symbols, powers, strict=True) if p]
    if coefficient != 1 or not factors:
        factors.insert(0, str(coefficient))
    return factors[0] if len(factors) == 1 else f"(mul {' '.join(factors)})"


# ---- syllogisms: propositional logic about a few individuals, by sympy

SENTENCE = re.compile(r"\b(all|no|some) (\w+) are (not )?(\w+)", re.IGNORECASE)
Sentence = tuple[str, str, str]


def sentences(text: str) -> list[Sentence]:
    """Return the categorical sentences in a text, as (all | no | some | some not, subject, predicate)."""
    return [
        (f"{word.lower()} {negation}".strip(), subject, predicate)
        for word, subject, negation, predicate in SENTENCE.findall(text)
    ]


def entailed(premises: list[Sentence], candidates: list[Sentence]) -> list[Sentence]:
    """Return the candidates that hold wherever the premises do.

    An individual for each "some" among the premises, and one against the candidate, are enough to refute it.
    All others may be left out, since what holds of all holds of fewer, too.
    """
    number = sum(word.startswith("some") for word, _, _ in premises) + 1
    given = sympy.And(*(_proposition(premise, number) for premise in premises))
    return [
        candidate
        for candidate in candidates
        if not satisfiable(sympy.And(given, sympy.Not(_proposition(candidate, number))))
    ]


def _proposition(sentence: Sentence, number: int) -> Boolean:
    word, *nouns = sentence
    pairs = [sympy.symbols([f"{noun}_{individual}" for noun in nouns]) for individual in range(number)]
    match word:
        case "all":
            return sympy.And(*(sympy.Implies(a, b) for a, b in pairs))
        case "no":
            return sympy.And(*(sympy.Not(sympy.And(a, b)) for a, b in pairs))
        case "some":
            return sympy.Or(*(sympy.And(a, b) for a, b in pairs))
        case "some not":
            return sympy.Or(*(sympy.And(a, sympy.Not(b)) for a, b in pairs))
    raise AssertionError(f"unexpected word {word}")


def judge(question: str) -> str:
    """Return the answer to a question about syllogisms."""
    given, asked = question.split("Groups may be empty.")
    candidates = sentences(asked)
    found = entailed(sentences(given), candidates)
    if len(candidates) == 1:
        return "yes" if found else "no"
    assert len(found) <= 1
    return _written(found[0]) if found else "none"


def _written(sentence: Sentence) -> str:
    word, subject, predicate = sentence
    negation = "not " if word == "some not" else ""
    return f"{word.split()[0].capitalize()} {subject} are {negation}{predicate}."
