"""Profiles of other people: from a package, from a file, broken in every way, and changed on the way."""

import hashlib
import importlib
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from tests.crash.nursery import NurseryLauncher
from tests.support import PATIENCE_S, job_for, rows, write_jsonl
from tests.trainer.engine_rig import Told, loaded, manifest_of, settings_with, train, weights_sha256
from tests.trainer.session_rig import LEAVE, FakeEngine, Run, start
from tests.trainer.session_rig import settings_with as session_settings
from tests.trainer.worker_rig import Worker
from trainer.data.conversation import Conversation, Message
from trainer.pipeline.job_plan import make_plan
from trainer.profiles.base import BadProfileOption, BrokenProfile, DataProfile, Generation
from trainer.profiles.guard import CHECKED_ROWS
from trainer.profiles.registry import hidden_profiles, make_profile
from trainer.protocol.job import FaultKind
from trainer.protocol.layout import Layout
from trainer.protocol.messages import (
    CheckpointPublished,
    Faulted,
    LoadModel,
    Notice,
    PrepareJob,
    QueueEmpty,
    ShutDown,
    StartJob,
    WorkerReady,
)

PAGE = (Path(__file__).parents[3] / "docs" / "data" / "profiles.md").read_text()
CONVERSATION = Conversation((Message("user", "Say 3."), Message("assistant", "3")))


def block(kind: str, containing: str) -> str:
    """Return a block of code from the documentation."""
    [found] = [text for text in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) if containing in text]
    return found


EXAMPLE = block("python", "DataProfile")


def written(folder: Path, body: str, *, name: str = "p.py") -> str:
    """Write a profile that overrides something; return its name."""
    path = folder / name
    path.write_text(
        "from dataclasses import replace\nfrom trainer.profiles.base import DataProfile\n"
        f"class P(DataProfile):\n    name = 'p'\n{body}\n"
    )
    return f"{name}:P"


def saying(word: str) -> str:
    """Return the body of a profile that has everybody say a word."""
    return (
        "    def transform(self, conversation, *, line_number):\n"
        f"        messages = [replace(m, content={word!r}) for m in conversation.messages]\n"
        "        return replace(conversation, messages=tuple(messages))"
    )


def returning(value: str) -> str:
    return f"    def transform(self, conversation, *, line_number):\n        return {value}"


# ---- the example in the documentation


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder where the example was installed as a package."""
    source, target = tmp_path_factory.mktemp("polite"), tmp_path_factory.mktemp("site")
    (source / "polite.py").write_text(EXAMPLE)
    (source / "pyproject.toml").write_text(block("toml", "entry-points"))
    options = ["--no-index", "--no-build-isolation", "--no-deps", "--quiet", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()


def test_the_example_works_from_its_file(tmp_path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "polite.py").write_text(EXAMPLE)

    profile = make_profile("profiles/polite.py:Polite", {"greeting": "Gladly."}, base_dir=tmp_path)

    result = profile.transform(CONVERSATION, line_number=1)
    assert result.messages == (CONVERSATION.messages[0], Message("assistant", "Gladly. 3"))
    assert profile.faults(Conversation((Message("assistant", ""),))) == ("an answer is empty",)
    assert profile.generation() == Generation(system_prompt="Be polite.")
    assert profile.measure("Gladly. 4", expected=4) == {"politeness": 1.0}
    assert len(EXAMPLE.splitlines()) <= 32


@pytest.mark.usefixtures("installed")
def test_the_example_is_found_by_its_entry_point_and_named_among_the_others():
    profile = make_profile("polite", {}, base_dir=Path())

    assert profile.transform(CONVERSATION, line_number=1).messages[1].content == "Of course! 3"
    assert tomllib.loads(block("toml", "entry-points"))["project"]["version"] == "1.0"
    with pytest.raises(BadProfileOption, match="has tone; the profile polite takes greeting"):
        make_profile("polite", {"tone": 1}, base_dir=Path())
    with pytest.raises(
        ValueError, match="expected one of plain, emoji_think, regime3, mix, polite, or a class"
    ):
        make_profile("rude", {}, base_dir=Path())


@pytest.mark.usefixtures("installed")
def test_a_mix_takes_profiles_from_elsewhere_and_counts_their_code():
    mixed = make_profile("mix", {"shares": {"polite": 1}}, base_dir=Path())

    assert mixed.transform(CONVERSATION, line_number=1).messages[1].content == "Of course! 3"
    assert mixed.code
    assert not make_profile("mix", {"shares": {"plain": 1}}, base_dir=Path()).code


@pytest.mark.loads_torch
def test_a_real_worker_trains_what_an_installed_profile_makes(tmp_path, site, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{site}:{Path(__file__).parents[3]}")
    layout = Layout(tmp_path / "base")
    layout.create()
    path = write_jsonl(layout.processing / "a.jsonl", rows(4))
    settings = settings_with("tiny", profile={"name": "polite"}).model_dump(mode="json")
    with ExitStack() as stack:
        worker = Worker(layout)
        stack.callback(worker.channel.close)
        stack.callback(worker.launched.process.wait, PATIENCE_S)
        stack.callback(worker.launched.process.signal, signal.SIGKILL)

        worker.channel.send(LoadModel(settings=settings))
        worker.first(WorkerReady)
        worker.channel.send(StartJob(job=job_for(path), path=str(path), settings=settings))
        worker.channel.send(QueueEmpty())
        worker.first(CheckpointPublished)
        worker.channel.send(ShutDown(reason="the test is over"))
        assert worker.exit_code() == 0

    greeted = [row["messages"] for row in rows(4)]
    for _, answer in greeted:
        answer["content"] = f"Of course! {answer['content']}"
    other = write_jsonl(tmp_path / "b.jsonl", [{"messages": messages} for messages in greeted])
    tokens = manifest_of(layout.base)["progress"]["tokens_seen"]
    engine, _ = train(tmp_path / "other", settings_with("tiny"), [(job_for(other), other)])
    assert tokens == engine.progress.tokens_seen


@pytest.mark.loads_torch
def test_a_real_worker_says_that_a_broken_profile_is_the_settings_fault(tmp_path, nursery):
    layout = Layout(tmp_path / "base")
    layout.create()
    name = written(layout.base, returning("None"))
    path = write_jsonl(layout.processing / "a.jsonl", rows(4))
    settings = settings_with("tiny", profile={"name": name}).model_dump(mode="json")
    with ExitStack() as stack:
        worker = Worker(layout, NurseryLauncher(nursery.address))
        stack.callback(worker.channel.close)
        stack.callback(worker.launched.process.wait, PATIENCE_S)
        stack.callback(worker.launched.process.signal, signal.SIGKILL)

        worker.channel.send(LoadModel(settings=settings))
        worker.channel.send(StartJob(job=job_for(path), path=str(path), settings=settings))
        fault = worker.first(Faulted)

    assert (fault.fault, fault.error_class) == (FaultKind.BAD_CONFIG, "BrokenProfile")
    assert re.match(r"profile p\.py:P at line \d returns None; expected a Conversation", fault.message)


# ---- broken ones


@pytest.mark.parametrize(
    "body, message",
    [
        (returning("conversation.words"), r"p\.py:P at line 7 raises AttributeError: .*expected no error"),
        (returning("{'messages': []}"), r"at line 7 returns \{'messages': \[\]\}; expected a Conversation"),
        (returning("replace(conversation, messages=())"), r"returns messages \(\); expected messages"),
        (returning("replace(conversation, messages=('a',))"), r"returns 'a' as messages\[0\]"),
        (saying(3), r"returns 3 as the content of messages\[0\]"),
        (saying("\ud800"), r"returns '\\ud800' as the content"),
        (returning("1 / 0 if line_number == 7 else conversation"), "raises ZeroDivisionError"),
        (returning("(_ for _ in ()).throw(KeyError('\x1b[31m'))"), r"raises KeyError: '\\x1b\[31m'"),
        (returning("__import__('sys').exit(3)"), "raises SystemExit: 3"),
        (
            returning("replace(conversation, is_plain_text=True)"),
            "returns 2 messages for a plain text, which has one",
        ),
    ],
)
def test_a_profile_that_does_not_do_what_one_does_is_told_with_its_line(tmp_path, body, message):
    profile = make_profile(written(tmp_path, body), {}, base_dir=tmp_path)

    with pytest.raises(BrokenProfile, match=message):
        profile.transform(CONVERSATION, line_number=7)


COUNTING = """
    def __init__(self, options):
        self.rows = 0
    def transform(self, conversation, *, line_number):
        self.rows += 1
        return replace(conversation, metadata={"n": self.rows})"""
CHANCE = """
    def transform(self, conversation, *, line_number):
        import random
        return replace(conversation, metadata={"n": random.random()})"""


def test_a_profile_may_take_its_options_out_of_what_it_is_given(tmp_path):
    body = "    def __init__(self, options): self.word = options.pop('word')\n" + returning("conversation")
    profile = make_profile(written(tmp_path, body), {"word": "a"}, base_dir=tmp_path)

    assert profile.transform(CONVERSATION, line_number=1) == CONVERSATION


@pytest.mark.parametrize("body", [COUNTING, CHANCE], ids=["counting", "chance"])
def test_a_profile_that_is_not_a_function_of_the_row_is_found_out_by_its_first_rows(tmp_path, body):
    profile = make_profile(written(tmp_path, body), {}, base_dir=tmp_path)

    def take_the_first_rows() -> None:
        for line in range(1, CHECKED_ROWS):
            profile.transform(CONVERSATION, line_number=line)

    with pytest.raises(BrokenProfile, match=r"at line \d returns something else when it is made anew"):
        take_the_first_rows()


def test_only_the_first_rows_are_made_twice(tmp_path):
    body = "    made = []\n" + returning("self.made.append(line_number) or conversation")
    profile = make_profile(written(tmp_path, body), {}, base_dir=tmp_path)

    for line in range(50):
        profile.transform(CONVERSATION, line_number=line)

    assert len(sys.modules[f"profile_{profile.code[:16]}"].P.made) == 50 + CHECKED_ROWS


@pytest.mark.parametrize(
    "content, name, message",
    [
        (None, "p.py:P", r'profile.name is "p\.py:P", but loading it gave .*No such file or directory'),
        ("import no_such_module", "p.py:P", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = ", "p.py:P", "SyntaxError"),
        ("class P: pass", "p.py:P", r"gave <class .*P'>; expected a subclass of trainer\.profiles\.base"),
        ("P = 3", "p.py:P", "gave 3; expected a subclass"),
        ("Q = 3", "p.py:P", "gave nothing; expected a subclass"),
        (EXAMPLE, "p.py:", "gave nothing; expected a subclass"),
    ],
)
def test_a_file_that_holds_no_profile_is_told(tmp_path, content, name, message):
    if content is not None:
        (tmp_path / "p.py").write_text(content)

    with pytest.raises(BrokenProfile, match=message):
        make_profile(name, {}, base_dir=tmp_path)


@pytest.mark.parametrize(
    "body, message",
    [
        ("    def __init__(self, options): options['a']", "when it is made raises KeyError: 'a'"),
        ("    special_tokens = 'ab'", "has special_tokens 'ab'; expected a tuple of texts"),
        ("    special_tokens = ('a', ' b')", "has special_tokens"),
    ],
)
def test_a_profile_that_cannot_be_made_is_told(tmp_path, body, message):
    with pytest.raises(BrokenProfile, match=message):
        make_profile(written(tmp_path, body), {}, base_dir=tmp_path)


@pytest.mark.parametrize(
    "method, ask",
    [
        ("faults(self, conversation)", lambda profile: profile.faults(CONVERSATION)),
        ("generation(self)", lambda profile: profile.generation()),
        ("measure(self, generated, *, expected)", lambda profile: profile.measure("", expected=None)),
    ],
)
def test_what_a_profile_says_besides_is_looked_at_too(
    tmp_path, method: str, ask: Callable[[DataProfile], object]
):
    profile = make_profile(written(tmp_path, f"    def {method}: return 3"), {}, base_dir=tmp_path)

    with pytest.raises(BrokenProfile, match=rf"in {method.partition('(')[0]}\(\) returns 3; expected a"):
        ask(profile)


@pytest.mark.parametrize("found", ['{"x": "3"}', "{1: 2.0}"])
def test_metrics_are_numbers_by_their_names(tmp_path, found):
    body = f"    def measure(self, generated, *, expected): return {found}"
    profile = make_profile(written(tmp_path, body), {}, base_dir=tmp_path)

    with pytest.raises(BrokenProfile, match=r"in measure\(\) returns .*; expected numbers by their names"):
        profile.measure("", expected=None)


@pytest.mark.parametrize("how", ["stop_strings=(5,)", "stop_strings=('',)", "system_prompt=3"])
def test_texts_are_generated_with_texts(tmp_path, how):
    body = (
        "    def generation(self):\n        from trainer.profiles.base import Generation\n"
        f"        return Generation({how})"
    )
    profile = make_profile(written(tmp_path, body), {}, base_dir=tmp_path)

    with pytest.raises(BrokenProfile, match=r"in generation\(\) returns .*; expected texts"):
        profile.generation()


@pytest.mark.parametrize(
    "make, message",
    [
        ("lambda tokenizer: None", "returns None; expected what is called with ids and scores"),
        ("lambda tokenizer: 1 / 0", "raises ZeroDivisionError"),
        ("lambda tokenizer: lambda ids, scores: None", "returns None; expected scores of the same shape"),
        ("lambda tokenizer: lambda ids, scores: scores.nothing", "raises AttributeError"),
    ],
)
def test_a_logits_processor_that_fails_is_the_profiles_fault(tmp_path, make, message):
    body = (
        "    def generation(self):\n        from trainer.profiles.base import Generation\n"
        f"        return Generation(logits_processors=({make},))"
    )
    [guarded] = make_profile(written(tmp_path, body), {}, base_dir=tmp_path).generation().logits_processors

    with pytest.raises(BrokenProfile, match=f"in logits_processors {message}"):
        guarded(None)(torch.zeros(1, 2), torch.zeros(1, 3))


def offer(site: Path, monkeypatch: pytest.MonkeyPatch, points: str) -> None:
    """Have an installed package `mine` offer profiles."""
    monkeypatch.syspath_prepend(site)
    dist = site / "mine-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text(f"[training_daemon.profiles]\n{points}\n")
    importlib.invalidate_caches()


def test_two_packages_that_offer_one_name_are_refused(site, monkeypatch, tmp_path):
    for folder in (site, tmp_path):
        monkeypatch.syspath_prepend(folder)
    dist = tmp_path / "rude_profile-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: rude-profile\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text("[training_daemon.profiles]\npolite = rude:Rude\n")
    importlib.invalidate_caches()

    with pytest.raises(
        BrokenProfile, match=r"polite-profile \(polite:Polite\) and rude-profile \(rude:Rude\)"
    ):
        make_profile("polite", {}, base_dir=Path())


def test_a_profile_with_the_name_of_a_built_in_one_is_named_and_no_other(monkeypatch, tmp_path):
    offer(tmp_path, monkeypatch, "plain = mine:Plain\nown = mine:Own\nmix = mine:Mix")

    found = hidden_profiles()

    assert [text.partition(" is never used")[0] for text in found] == [
        'the profile "mix" of mine (mine:Mix)',
        'the profile "plain" of mine (mine:Plain)',
    ]


def test_an_engine_says_as_it_loads_that_a_profile_is_hidden(monkeypatch, tmp_path, tiny_folder):
    offer(tmp_path, monkeypatch, "plain = mine:Plain")
    (tmp_path / "base").mkdir()

    told = train(tmp_path / "base", settings_with(tiny_folder), [])[1]

    [notice] = told.of(Notice)
    assert notice.key == "profile name"
    assert notice.message.startswith('the profile "plain" of mine (mine:Plain) is never used')


def test_a_package_that_cannot_be_imported_is_told_with_its_name(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    dist = tmp_path / "gone-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: gone\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text("[training_daemon.profiles]\ngone = gone.profile:Gone\n")
    importlib.invalidate_caches()

    with pytest.raises(BrokenProfile, match=r"gave gone \(gone\.profile:Gone\): ModuleNotFoundError"):
        make_profile("gone", {}, base_dir=Path())


# ---- changed ones


def test_a_changed_file_is_another_profile_even_if_neither_size_nor_time_tell(tmp_path):
    name = written(tmp_path, saying("one"))
    first = make_profile(name, {}, base_dir=tmp_path)
    written(tmp_path, saying("two"))

    second = make_profile(name, {}, base_dir=tmp_path)

    words = [
        profile.transform(CONVERSATION, line_number=1).messages[1].content for profile in (first, second)
    ]
    assert words == ["one", "two"]
    assert first.code != second.code
    assert second.code == hashlib.sha256((tmp_path / "p.py").read_bytes()).hexdigest()


def trained(base_dir: Path, tiny_folder: Path, path: Path, name: str, *, stop_at: int | None = None) -> Told:
    settings = settings_with(tiny_folder, profile={"name": name})
    return train(base_dir, settings, [(job_for(path, id="1"), path)], stop_at=stop_at)[1]


def test_a_changed_profile_gets_no_tokens_of_the_old_one(tmp_path, tiny_folder):
    path = write_jsonl(tmp_path / "a.jsonl", rows(7))
    fresh, used = tmp_path / "fresh", tmp_path / "used"
    for folder in (fresh, used):
        folder.mkdir()
    name = written(used, saying("one"))
    settings = settings_with(tiny_folder, profile={"name": name})
    loaded(used, settings).run_job(path)
    (used / "models").joinpath("cache").rename(tmp_path / "cache")
    for folder in (fresh, used):
        written(folder, saying("two"))
    for checkpoint in ("checkpoints", "current_model"):
        (used / "models" / checkpoint).rename(tmp_path / checkpoint)
    (tmp_path / "cache").rename(used / "models" / "cache")

    trained(used, tiny_folder, path, name)
    trained(fresh, tiny_folder, path, name)

    assert weights_sha256(used) == weights_sha256(fresh)


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_profile_that_changes_in_the_middle_of_a_file_is_an_alert(tmp_path, tiny_folder, is_changed):
    path = write_jsonl(tmp_path / "a.jsonl", rows(7))
    name = written(tmp_path, saying("one"))
    trained(tmp_path, tiny_folder, path, name, stop_at=1)
    if is_changed:
        written(tmp_path, saying("two"))

    told = trained(tmp_path, tiny_folder, path, name)

    alerts = [notice for notice in told.of(Notice) if notice.key == "profile"]
    assert len(alerts) == is_changed
    if is_changed:
        assert alerts[0].job_id == "1"
        assert "p.py:P has changed since a.jsonl started" in alerts[0].message
        assert "rows from step 2 on" in alerts[0].message


def test_a_profile_that_cannot_be_made_is_refused_before_a_model_is_loaded(tmp_path, tiny_folder):
    settings = settings_with(tiny_folder, profile={"name": "no_such_file.py:P"})

    with pytest.raises(BrokenProfile, match="No such file"):
        loaded(tmp_path, settings)

    assert not list(tmp_path.iterdir())


def test_what_was_trained_before_a_profile_broke_is_saved(job_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job, path = job_file("a", 8)
    settings = session_settings(profile={"name": "p.py:P"}, training={"batch_size": 1})
    last_step = make_plan(job, settings, ()).num_steps - 1
    last_line = make_plan(job, settings, ()).positions(last_step)[0] + 1
    written(tmp_path, returning(f"conversation if line_number != {last_line} else None"))
    engine = FakeEngine()

    with pytest.raises(BrokenProfile, match=f"at line {last_line} returns None"):
        Run([start(job, path, settings), LEAVE], engine=engine)

    assert engine.saved_steps == [last_step]
    assert engine.progress.cursors["a"].step == last_step > 0


def test_a_profile_that_breaks_while_the_next_file_is_made_ready_waits_for_its_turn(job_file, tmp_path):
    job, path = job_file("a", 4)
    other, other_path = job_file("b", 4)
    prepare = PrepareJob(job=other, path=str(other_path))

    run = Run(
        [start(job, path), LEAVE],
        between={0: [prepare]},
        settings=session_settings(profile={"name": "no_such_file.py:P"}),
    )

    assert run.engine.progress.global_step > 0
