"""Generated puzzles: their answers are right by an independent solver, and no two runs share one."""

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.data_tools.puzzles.arithmetic import in_infix
from daemon.data_tools.puzzles.nouns import NOUNS, choose, count_choices
from daemon.data_tools.puzzles.skills import SPACES, Skill
from daemon.data_tools.puzzles.space import LEVELS, MAX_SPACE, NUM_SEEDS, Puzzle, Space, TooFewPuzzles, draw
from daemon.data_tools.puzzles.symbolic import in_prefix
from daemon.data_tools.puzzles.trees import Grammar, build_tree, count_trees
from tests.daemon.data_tools.checkers import compute, judge, simplify

SOLVERS = {Skill.ARITHMETIC: compute, Skill.SYMBOLIC: simplify, Skill.SYLLO: judge}
EVERY_KIND = pytest.mark.parametrize(
    "skill, difficulty", [(skill, difficulty) for skill in Skill for difficulty in LEVELS]
)
SMALL = Grammar(operators=("+", "-", "*"), leaves=(1, 2), num_operators=3)


def drawn(skill: Skill, difficulty: int, *, seed: int = 7, count: int = 40) -> list[Puzzle]:
    return list(draw(SPACES[skill](difficulty), key=f"{skill}:{difficulty}", seed=seed, count=count))


# ---- answers


@EVERY_KIND
def test_another_solver_finds_the_same_answers(skill, difficulty):
    puzzles = drawn(skill, difficulty)

    for puzzle in puzzles:
        assert SOLVERS[skill](puzzle.question) == puzzle.answer, puzzle.question


def test_syllogisms_are_answered_yes_and_no_equally_often():
    answers = [puzzle.answer for puzzle in drawn(Skill.SYLLO, 3, count=400)]

    assert [answers.count(answer) for answer in ("yes", "no", "none")] == [100, 100, 100]


def test_a_division_by_zero_is_no_puzzle():
    [space] = SPACES[Skill.ARITHMETIC](5)
    indices = range(0, space.size, space.size // 3000)

    expressions = [puzzle.question for puzzle in map(space.puzzle, indices) if puzzle]

    assert len(expressions) < len(indices)  # some had none
    for expression in expressions:
        compute(expression)


# ---- spaces: every number is another puzzle


@pytest.mark.parametrize("write", [in_infix, in_prefix])
def test_every_tree_has_exactly_one_number_and_is_written_in_its_own_way(write):
    number = count_trees(SMALL)

    written = {write(build_tree(SMALL, index)) for index in range(number)}

    assert number == 5 * 3**3 * 2**4  # shapes (a Catalan number), operators, leaves
    assert len(written) == number


@pytest.mark.parametrize(
    "index, expected", [(0, "1 - 1 - 1"), (1, "1 - 1 - 2"), (7, "2 - 2 - 2"), (8, "1 - (1 - 1)")]
)
def test_brackets_stand_only_where_they_change_what_is_meant(index, expected):
    grammar = Grammar(operators=("-",), leaves=(1, 2), num_operators=2)
    shapes = {in_infix(build_tree(grammar, i)) for i in range(count_trees(grammar))}

    assert expected in shapes


@given(index=st.integers(0, count_choices(3) - 1))
def test_chosen_nouns_are_different_and_tell_their_number(index):
    chosen = [NOUNS.index(noun) for noun in choose(index, 3)]

    digits = [place - sum(other < place for other in chosen[:i]) for i, place in enumerate(chosen)]
    assert len(set(chosen)) == 3
    assert digits[0] + len(NOUNS) * (digits[1] + (len(NOUNS) - 1) * digits[2]) == index


@EVERY_KIND
@settings(max_examples=25)
@given(data=st.data())
def test_two_numbers_never_give_the_same_question(skill, difficulty, data):
    spaces = SPACES[skill](difficulty)
    numbers = data.draw(
        st.lists(
            st.integers(0, len(spaces) - 1).flatmap(
                lambda i: st.tuples(st.just(i), st.integers(0, spaces[i].size - 1))
            ),
            min_size=2,
            max_size=10,
            unique=True,
        )
    )

    questions = [puzzle.question for i, index in numbers if (puzzle := spaces[i].puzzle(index))]

    assert len(set(questions)) == len(questions)


@EVERY_KIND
def test_every_space_is_large_enough_for_many_rows_and_small_enough_to_be_mixed(skill, difficulty):
    spaces = SPACES[skill](difficulty)

    assert len(spaces) * min(space.share for space in spaces) >= 50_000
    assert max(space.size for space in spaces) <= MAX_SPACE


# ---- seeds


def numbers(size: int) -> Space:
    """Return a space of which every third number has no puzzle."""
    return Space(size, lambda index: Puzzle(str(index), "") if index % 3 else None)


def test_all_seeds_together_get_every_puzzle_once():
    spaces = [Space(3 * NUM_SEEDS, lambda index: Puzzle(str(index), ""))]

    shares = [draw(spaces, key="key", seed=seed, count=3) for seed in range(NUM_SEEDS)]

    found = sorted(int(puzzle.question) for puzzle in chain.from_iterable(shares))
    assert found == list(range(3 * NUM_SEEDS))


def test_a_seed_whose_share_is_too_small_says_so_before_its_first_puzzle():
    with pytest.raises(TooFewPuzzles, match="seed 3 has 10 puzzles here; expected at least 11"):
        draw([numbers(10 * NUM_SEEDS + NUM_SEEDS // 2)], key="key", seed=3, count=11)


def test_a_seed_whose_numbers_have_too_few_puzzles_says_how_many_there_were():
    found = []

    with pytest.raises(TooFewPuzzles) as caught:
        found.extend(draw([numbers(300 * NUM_SEEDS)], key="key", seed=3, count=290))

    assert "expected at least 290" in str(caught.value)
    assert 150 < int(str(caught.value).split()[3]) < 250


@EVERY_KIND
def test_runs_repeat_exactly_and_share_nothing_with_those_of_another_seed(skill, difficulty):
    first, again, other = (drawn(skill, difficulty, seed=seed, count=200) for seed in (0, 0, NUM_SEEDS - 1))

    assert first == again
    assert len({puzzle.question for puzzle in [*first, *other]}) == 400


def test_two_difficulties_share_no_puzzle():
    for skill in Skill:
        questions = [
            puzzle.question for difficulty in LEVELS for puzzle in drawn(skill, difficulty, count=200)
        ]

        assert len(set(questions)) == 200 * len(LEVELS)
