"""Which act on the model is due, and who is told what when the daemon stops."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.control.control_files import Request
from daemon.decide import Stopping
from daemon.model_acts import CannotAct, ModelActs
from trainer.protocol.status import State


@dataclass
class Act:
    """An act that does nothing."""

    name: str
    is_wanted: bool = False
    is_at_work: bool = False
    cut_off_by: tuple[Stopping, ...] = ()
    refusal: str | None = None

    def ask(self, request):
        if self.refusal:
            raise CannotAct(self.refusal)
        self.is_wanted = True

    def answer_to_stop(self, how):
        return f"{self.name} was cut off" if how in self.cut_off_by else None

    @property
    def shown(self):
        return (State.LOADING, self.name) if self.is_at_work else None


def request(name):
    return Request(name=name, path=Path("control") / f".{name}", written_at=0.0)


def test_nothing_is_due_until_it_is_asked_for():
    forget = Act("forget")
    acts = ModelActs([Act("go_back"), forget])

    assert acts.due(None) is None
    assert acts.ask(request("forget")) is None
    assert acts.due(None) is forget


def test_what_cannot_be_done_is_answered_and_not_due():
    acts = ModelActs([Act("go_back", refusal="there is no such version")])

    assert acts.ask(request("go_back")) == "there is no such version"
    assert acts.due(None) is None


def test_of_several_the_first_is_due_unless_another_has_started():
    go_back, forget = Act("go_back", is_wanted=True), Act("forget", is_wanted=True)
    acts = ModelActs([go_back, forget])

    assert acts.due(None) is go_back
    forget.is_at_work = True
    assert acts.due(None) is forget
    assert acts.shown == (State.LOADING, "forget")


@pytest.mark.parametrize(
    "how, due, told",
    [
        (None, "go_back", []),
        (Stopping.AFTER_FILE, "consolidate", [("go_back", "go_back was cut off")]),
        (
            Stopping.NOW,
            None,
            [("go_back", "go_back was cut off"), ("consolidate", "consolidate was cut off")],
        ),
    ],
)
def test_a_stop_waits_only_for_what_it_does_not_cut_off(how, due, told):
    always = (Stopping.AFTER_FILE, Stopping.NOW)
    acts = ModelActs(
        [
            Act("go_back", is_wanted=True, cut_off_by=always),
            Act("consolidate", is_wanted=True, cut_off_by=(Stopping.NOW,)),
            Act("forget", cut_off_by=always),
        ]
    )

    found = acts.due(how)

    assert (found.name if found else None) == due
    assert list(acts.cut_off_by(how)) == told
