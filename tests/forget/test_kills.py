"""Wherever the power is cut, the model is the old one or the new one, and asking again finishes it."""

import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.jobs.wishes import is_published
from tests.crash.replay import digest
from tests.forget.histories import Life, RandomHistory, Turn
from tests.shallow import build_shallow
from tests.support import PowerCut
from trainer.checkpoints import publishing
from trainer.forgetting import erasing, scratch, training
from trainer.mains import forget as forget_main
from trainer.mains.forget import carry_out
from trainer.protocol.checkpoints import find_newest
from trainer.protocol.forgetting import ForgetOrder, branch_file, read_branch_header
from trainer.protocol.job import Priority
from trainer.protocol.layout import Layout
from trainer.protocol.one_shot import OrderRefused

MODULES = (erasing, scratch, training, publishing)
FAILPOINTS = [
    name
    for module in MODULES
    for name in re.findall(
        r'failpoint\("((?:forget|checkpoint|pointer)\..+?)"\)', Path(module.__file__).read_text()
    )
]
FROM_THE_START = ("forget.started", "forget.seeded", "forget.trained")
SETTINGS = {
    "training": {"batch_size": 2, "gradient_accumulation": 1, "micro_batch_tokens": 64, "cpu_threads": 1},
    "checkpoints": {"background": "never", "group_commit_s": 0.0},
}
HISTORY = RandomHistory(
    seed=1,
    num_rows=(2, 4, 4, 2),
    priorities=(Priority.NORMAL,) * 4,
    turns=(Turn(0), Turn(1), Turn(2, 1, "waits"), Turn(3), Turn(2)),
    settings=SETTINGS,
    forgotten=(1,),
)


def forget(layout):
    return carry_out(ForgetOrder(base_dir=layout.base), lambda text: None)


def cut_at(name, monkeypatch, layout):
    """Forget until the power is cut at a place; in publishing, when the model itself is published."""
    seen = []

    def fall_dark(place):
        seen.append(place)
        if place == name and (place.startswith("forget.") or "forget.ready" in seen):
            raise PowerCut

    with monkeypatch.context() as patch:
        for module in MODULES:
            patch.setattr(module, "failpoint", fall_dark)
        with pytest.raises(PowerCut):
            forget(layout)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Two directories: where it was only asked for, and where everything is trained; with both results."""
    folder = tmp_path_factory.mktemp("kills")
    base_model = build_shallow(folder / "base", dropout=0.1)
    life = Life(Layout(folder / "asked"), HISTORY, base_model)
    life.live()
    life.write_order(1)
    life.ledger.close()
    old = digest(life.layout.models / "current_model")
    shutil.copytree(folder / "asked", folder / "trained", symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        cut_at("forget.trained", patch, Layout(folder / "trained"))
    other = Life(Layout(folder / "without"), HISTORY.without(1), base_model)
    other.live()
    other.ledger.close()
    return folder, old, digest(other.layout.models / "current_model")


@pytest.mark.parametrize("name", FAILPOINTS)
def test_the_model_is_the_old_one_or_the_new_one_wherever_the_power_is_cut(
    tmp_path, places, monkeypatch, name
):
    folder, old, new = places
    origin = "asked" if name in FROM_THE_START else "trained"
    shutil.copytree(folder / origin, tmp_path / "base", symlinks=True)
    layout = Layout(tmp_path / "base")

    cut_at(name, monkeypatch, layout)
    found = find_newest(layout.models / "checkpoints").newest
    assert digest(found.path) in (old, new)
    forgot = forget(layout)

    newest = find_newest(layout.models / "checkpoints").newest
    assert newest.path == (layout.models / "current_model").resolve()
    assert digest(newest.path) == new
    assert forgot.branch == newest.manifest.branches[-1]
    assert not (layout.models / ".forget").exists()
    assert_nothing_is_left_of_it(layout)
    assert read_branch_header(branch_file(layout.models, 1)).at == forgot.branch.at


def assert_nothing_is_left_of_it(layout):
    steps = [path.name[:14] for path in sorted((layout.models / "checkpoints").glob("step-*"))]
    assert steps == ["step-000000001", "step-000000004"]  # after the first file, and the new one
    for path in layout.base.rglob("*"):
        if path.is_file() and path.suffix not in (".safetensors", ".sqlite3") and "tiny" not in path.parts:
            assert b" of 1." not in path.read_bytes(), path  # as every row of the file ends


def test_a_branch_that_was_never_published_is_nobodys(tmp_path, places, monkeypatch):
    folder, _, _ = places
    shutil.copytree(folder / "trained", tmp_path / "base", symlinks=True)
    layout = Layout(tmp_path / "base")
    cut_at("forget.ready", monkeypatch, layout)

    written = json.loads((layout.models / ".forget" / "branch.json").read_bytes())
    forgot = forget(layout)

    assert find_newest(layout.models / "checkpoints").newest.manifest.branches == (forgot.branch,)
    assert read_branch_header(branch_file(layout.models, 1)).at == forgot.branch.at
    assert written["number"] == forgot.branch.number


def test_one_that_was_asked_to_stop_goes_on_where_it_was_although_files_were_trained_since(
    tmp_path, places, monkeypatch
):
    base_model = places[0] / "base"
    longer = replace(HISTORY, num_rows=(2, 8, 8, 4, 4), priorities=(Priority.NORMAL,) * 5)
    whole = replace(longer, turns=(*longer.turns, Turn(4)))
    life = Life(Layout(tmp_path / "with"), whole, base_model)
    life.history = longer
    life.live()
    life.write_order(1)
    questions = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(forget_main, "is_to_end", lambda: next(questions) > 8)
        with pytest.raises(OrderRefused, match="what was trained is kept, and continued when you ask again"):
            forget(life.layout)
    cut_short = find_newest(life.layout.models / ".forget" / "models" / "checkpoints").newest.manifest

    life.history = replace(longer, turns=(Turn(4),))
    life.live()
    forgot = life.forget(1)

    other = Life(Layout(tmp_path / "without"), whole.without(1), base_model)
    other.live()
    other.ledger.close()
    assert digest(life.layout.models / "current_model") == digest(other.layout.models / "current_model")
    assert cut_short.progress.global_step > forgot.branch.from_step
    assert forgot.trained_steps == life.manifest.progress.global_step - forgot.branch.from_step
    life.ledger.close()


def test_a_daemon_knows_that_something_is_still_to_be_erased(tmp_path, places, monkeypatch):
    folder, _, _ = places
    shutil.copytree(folder / "trained", tmp_path / "base", symlinks=True)
    layout = Layout(tmp_path / "base")
    before = is_published(layout.models)
    cut_at("checkpoint.renamed", monkeypatch, layout)

    after = is_published(layout.models)
    forget(layout)

    assert (before, after, is_published(layout.models)) == (False, True, False)
