"""Which act on the model is due, and who is told what when the daemon stops."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.control.control_files import Request
from daemon.decide import Stopping
from daemon.model_acts import STOPS, CannotAct, ModelActs
from trainer.protocol.status import State


@dataclass
class Act:
    """An act that does nothing."""

    name: str
    is_wanted: bool = False
    is_at_work: bool = False
    cut_off_by: tuple[Stopping, ...] = ()
    problem: str | None = None
    is_held_by_pause: bool = False
    is_asked_to_leave: bool = False

    @property
    def refusal(self):
        return f"no {self.name}"

    def ask(self, request):
        if self.problem:
            raise CannotAct(self.problem)
        self.is_wanted = True

    def is_cut_off_by(self, how):
        return how in self.cut_off_by

    def hold(self):
        self.is_asked_to_leave = True

    def withdraw(self):
        self.is_wanted = False

    @property
    def shown(self):
        return (State.LOADING, self.name) if self.is_at_work else None


def due(acts, *, stopping=None, is_paused=False):
    return acts.due(stopping=stopping, is_paused=is_paused)


def request(name):
    return Request(name=name, path=Path("control") / f".{name}", written_at=0.0)


def test_nothing_is_due_until_it_is_asked_for():
    forget = Act("forget")
    acts = ModelActs([Act("go_back"), forget])

    assert due(acts) is None
    assert acts.ask(request("forget"), stopping=None) is None
    assert due(acts) is forget


def test_what_cannot_be_done_is_answered_and_not_due():
    acts = ModelActs([Act("go_back", problem="there is no such version")])

    assert acts.ask(request("go_back"), stopping=None) == "there is no such version"
    assert due(acts) is None


def test_of_several_the_first_is_due_unless_another_has_started():
    go_back, forget = Act("go_back", is_wanted=True), Act("forget", is_wanted=True)
    acts = ModelActs([go_back, forget])

    assert due(acts) is go_back
    forget.is_at_work = True
    assert due(acts) is forget
    assert acts.shown == (State.LOADING, "forget")


@pytest.mark.parametrize(
    "how, first, told",
    [
        (None, "go_back", []),
        (Stopping.AFTER_FILE, "consolidate", [("go_back", f"no go_back: {STOPS}")]),
        (
            Stopping.NOW,
            None,
            [("go_back", f"no go_back: {STOPS}"), ("consolidate", f"no consolidate: {STOPS}")],
        ),
    ],
)
def test_a_stop_waits_only_for_what_it_does_not_cut_off(how, first, told):
    always = (Stopping.AFTER_FILE, Stopping.NOW)
    acts = ModelActs(
        [
            Act("go_back", is_wanted=True, cut_off_by=always),
            Act("consolidate", is_wanted=True, cut_off_by=(Stopping.NOW,)),
            Act("forget", cut_off_by=always),
        ]
    )

    found = due(acts, stopping=how)

    assert (found.name if found else None) == first
    if how:
        assert acts.cut_off_by(how) == told
        assert acts.cut_off_by(how) == []  # given up, also if the stop is cancelled


@pytest.mark.parametrize("how, answer", [(Stopping.AFTER_FILE, None), (Stopping.NOW, f"no forget: {STOPS}")])
def test_what_the_stop_does_not_wait_for_is_refused_once_the_daemon_stops(how, answer):
    acts = ModelActs([Act("forget", cut_off_by=(Stopping.NOW,))])

    assert acts.ask(request("forget"), stopping=how) == answer

    assert (due(acts, stopping=how) is None) == (answer is not None)


def test_a_pause_holds_what_trains_whether_it_has_begun_or_not():
    forget = Act("forget", is_wanted=True, is_held_by_pause=True)
    consolidate = Act("consolidate", is_wanted=True)
    acts = ModelActs([forget, consolidate])

    assert (due(acts), due(acts, is_paused=True)) == (forget, consolidate)
    assert (acts.is_held, acts.is_training) == (True, False)
    forget.is_at_work = consolidate.is_at_work = True
    acts.hold()

    assert (forget.is_asked_to_leave, consolidate.is_asked_to_leave) == (True, False)
    assert due(acts, is_paused=True) is forget  # until it has left
    assert (acts.is_held, acts.is_training) == (False, True)


def test_at_the_end_everybody_is_told():
    acts = ModelActs([Act("go_back", is_wanted=True), Act("forget")])

    assert acts.cut_off() == [("go_back", f"no go_back: {STOPS}")]
    assert acts.refused("forget", "too old") == "no forget: too old"
    assert acts.refused("skip", "too old") == "too old"
