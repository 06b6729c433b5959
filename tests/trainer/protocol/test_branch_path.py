"""The way to a state of the model leads through the branches it was on, and two ways part at one step."""

from hypothesis import given
from hypothesis import strategies as st

from trainer.protocol.branch_path import Segment, beyond, path_to, shared_step
from trainer.protocol.manifest import Branch


def branch(number, *, of, to):
    return Branch(
        number=number, from_branch=of, from_step=to, left_step=9, at="", why="rollback", reason="", jobs=()
    )


BRANCHES = (branch(1, of=0, to=3), branch(2, of=1, to=5), branch(3, of=0, to=6))


def test_a_path_leads_through_the_branches_that_it_left():
    assert path_to(2, 7, BRANCHES) == [Segment(0, 0, 3), Segment(1, 3, 5), Segment(2, 5, 7)]
    assert path_to(2, 5, BRANCHES) == [Segment(0, 0, 3), Segment(1, 3, 5)]
    assert path_to(3, 8, BRANCHES) == [Segment(0, 0, 6), Segment(3, 6, 8)]
    assert path_to(0, 2, BRANCHES) == [Segment(0, 0, 2)]
    assert path_to(0, 0, BRANCHES) == []


def test_paths_part_at_the_last_step_that_both_have():
    assert shared_step(path_to(2, 7, BRANCHES), path_to(3, 8, BRANCHES)) == 3
    assert shared_step(path_to(2, 7, BRANCHES), path_to(1, 4, BRANCHES)) == 4
    assert shared_step(path_to(2, 7, BRANCHES), path_to(1, 8, BRANCHES)) == 5
    assert shared_step(path_to(0, 6, BRANCHES), path_to(3, 6, BRANCHES)) == 6
    assert shared_step(path_to(0, 0, BRANCHES), path_to(3, 6, BRANCHES)) == 0


@st.composite
def lives(draw):
    """Branches that each go back to a step of an earlier one, which it has."""
    found, ends = [], [draw(st.integers(1, 20))]
    for number in range(1, draw(st.integers(1, 6)) + 1):
        of = draw(st.integers(0, number - 1))
        to = draw(st.integers(0, ends[of]))
        found.append(branch(number, of=of, to=to))
        ends.append(to + draw(st.integers(0, 10)))
    return found, ends


@given(lives(), st.data())
def test_every_step_of_a_state_is_on_its_path_once_and_in_order(life, data):
    branches, ends = life
    number = data.draw(st.integers(0, len(branches)))

    path = path_to(number, ends[number], branches)

    steps = [step for segment in path for step in range(segment.after + 1, segment.until + 1)]
    assert steps == list(range(1, ends[number] + 1))


@given(lives(), st.data())
def test_what_lies_beyond_the_shared_step_is_nowhere_the_same(life, data):
    branches, ends = life
    one, other = (
        path_to(number, ends[number], branches)
        for number in data.draw(st.tuples(*[st.integers(0, len(branches))] * 2))
    )

    shared = shared_step(one, other)

    def steps(path):
        return {(s.branch, step) for s in path for step in range(s.after + 1, s.until + 1)}

    assert {step for _, step in steps(one) & steps(other)} == set(range(1, shared + 1))
    assert not steps(beyond(one, shared)) & steps(beyond(other, shared))
