"""The solver of syllogisms, against every small world and against two thousand years of tradition."""

from itertools import combinations_with_replacement, product

from daemon.data_tools.puzzles.logic import MOODS, Statement, follows, is_consistent
from tests.support import every_case

# Mood and figure of the fifteen forms that are valid though groups may be empty
VALID = {
    *("AAA-1", "EAE-1", "AII-1", "EIO-1"),  # Barbara, Celarent, Darii, Ferio
    *("EAE-2", "AEE-2", "EIO-2", "AOO-2"),  # Cesare, Camestres, Festino, Baroco
    *("IAI-3", "AII-3", "OAO-3", "EIO-3"),  # Disamis, Datisi, Bocardo, Ferison
    *("AEE-4", "IAI-4", "EIO-4"),  # Camenes, Dimaris, Fresison
}
S, M, P = 0, 1, 2
FIGURES = {1: ((M, P), (S, M)), 2: ((P, M), (S, M)), 3: ((M, P), (M, S)), 4: ((P, M), (M, S))}
KINDS = tuple(product((False, True), repeat=3))  # whether S, M and P apply to an individual
WORLDS = tuple(world for size in range(4) for world in combinations_with_replacement(KINDS, size))


def syllogism(form: str) -> tuple[list[Statement], Statement]:
    """Return premises and conclusion of a form such as `AAA-1`."""
    moods, figure = form.split("-")
    places = (*FIGURES[int(figure)], (S, P))
    major, minor, conclusion = (Statement(mood, *pair) for mood, pair in zip(moods, places, strict=True))
    return [major, minor], conclusion


def holds(statement: Statement, world) -> bool:
    applies = [individual[statement.predicate] for individual in world if individual[statement.subject]]
    return {
        "A": all(applies),
        "E": not any(applies),
        "I": any(applies),
        "O": not all(applies),
    }[statement.mood]


def test_each_of_the_256_forms_is_decided_as_tradition_and_all_small_worlds_do():
    forms = [f"{''.join(moods)}-{figure}" for moods in product(MOODS, repeat=3) for figure in FIGURES]
    decided = {form: follows(syllogism(form)[1], syllogism(form)[0], 3) for form in forms}

    with every_case() as cases:
        for form, verdict in decided.items():
            premises, conclusion = syllogism(form)
            models = [world for world in WORLDS if all(holds(premise, world) for premise in premises)]
            with cases.case(form):
                assert verdict == all(holds(conclusion, world) for world in models)
                assert verdict == (form in VALID)
    assert len(forms) == 256


def test_a_contradiction_is_found():
    all_are, none_are, some_are = (Statement(mood, 0, 1) for mood in ("A", "E", "I"))

    assert is_consistent([all_are, none_are], 2)  # there may be none at all
    assert not is_consistent([all_are, none_are, Statement("I", 0, 0)], 2)
    assert not is_consistent([none_are, some_are], 2)
