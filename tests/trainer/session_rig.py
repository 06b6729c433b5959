"""One session from start to end, with a fake model, a fake loop and commands that come as scripted."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import CharSpan

from tests.support import FakeClock
from trainer.config.schema import CheckpointSettings, Settings
from trainer.data.rendering.render import Tokenizer
from trainer.data.rendering.token_cache import TokenCache
from trainer.evaluation.evaluator import ValidationLoss
from trainer.protocol.faults import BrokenModel
from trainer.protocol.job import Job
from trainer.protocol.manifest import Progress
from trainer.protocol.messages import CheckpointRef, Command, Event, ShutDown, StartJob, StepsTaken
from trainer.reporting.reporter import Reporter
from trainer.session.gate_state import GateState
from trainer.session.session import Session
from trainer.step.feeding_trainer import StepBundle

LEAVE = ShutDown(reason="the test is over")


@dataclass
class CharEncodings:
    input_ids: list[list[int]]

    def char_to_token(self, row: int, char_index: int) -> int:
        return char_index

    def token_to_chars(self, row: int, token: int) -> CharSpan | None:
        return CharSpan(token, token + 1) if token < len(self.input_ids[row]) else None


class CharTokenizer:
    """One token a character, and a template of one line a turn."""

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> CharEncodings:
        return CharEncodings([[ord(char) for char in one] for one in text])

    def apply_chat_template(
        self, conversation: list[dict[str, Any]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        turns = [f"{message['role']}:{message['content']}\n" for message in conversation]
        return "".join(turns) + ("assistant:" if add_generation_prompt else "")


@dataclass
class FakeSave:
    """A checkpoint on its way; it is there as soon as somebody waits for it."""

    checkpoint: CheckpointRef
    is_there: bool = True
    error: OSError | None = None

    def is_done(self) -> bool:
        return self.is_there

    def result(self) -> CheckpointRef:
        if self.error:
            raise self.error
        self.is_there = True
        return self.checkpoint


class FakeBatchSizes:
    """Finds always the same number, and keeps what did not fit."""

    def __init__(self) -> None:
        self.limits: list[int] = []

    def for_new_job(self) -> int:
        return self.limited(1000)

    def limited(self, tokens: int) -> int:
        return min([tokens, *self.limits])

    def note_out_of_memory(self, tokens: int) -> None:
        self.limits.append(tokens)


class FakeEngine:
    """Remembers what it was asked to do."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = (progress or Progress()).model_copy(deep=True)
        self.tokenizer: Tokenizer = CharTokenizer()
        self.batch_sizes = FakeBatchSizes()
        self.saved: list[Progress] = []
        self.saved_with: list[CheckpointSettings] = []
        self.tidied_with: list[CheckpointSettings] = []
        self.used: list[Settings] = []
        self.gate_state = GateState()
        self.newest_checkpoint: Path | None = None
        self.suspects: frozenset[str] = frozenset()
        self.validated_at: list[int] = []
        self.save_error: Exception | None = None
        self.is_broken = False

    def use(self, settings: Settings) -> None:
        self.used.append(settings)

    def save(self, settings: CheckpointSettings) -> FakeSave:
        self.refuse_broken()
        if self.save_error:
            raise self.save_error
        self.saved_with.append(settings)
        self.saved.append(self.progress.model_copy(deep=True))
        return FakeSave(
            CheckpointRef(path=f"checkpoints/{len(self.saved)}", step=self.progress.global_step, at="now")
        )

    def tidy_up(self, settings: CheckpointSettings) -> None:
        self.tidied_with.append(settings)

    def refuse_broken(self) -> None:
        if self.is_broken:
            raise BrokenModel("a weight is not finite")

    @property
    def evaluator(self) -> "FakeEngine":
        return self

    def validation_loss(self, settings: Settings) -> ValidationLoss:
        self.validated_at.append(self.progress.global_step)
        return ValidationLoss(0.5, 7)

    @property
    def saved_steps(self) -> list[int]:
        return [progress.global_step for progress in self.saved]


@dataclass
class Pass:
    """Let time pass without a command."""

    seconds: float


@dataclass
class After:
    """A command that comes when some time has passed."""

    seconds: float
    command: Command


@dataclass
class Script:
    """Commands as they come: some while the session waits, some found between steps."""

    clock: FakeClock
    engine: FakeEngine
    waiting: deque[Command | Pass | After | Callable[[], None]]
    between: dict[int, list[Command]]
    """Number of steps taken -> commands found then."""
    waits: list[float | None] = field(default_factory=list)
    """How long the session was ready to wait, each time it waited."""

    def get(self, timeout_s: float | None) -> Command | None:
        if timeout_s == 0:
            pending = self.between.get(self.engine.progress.global_step)
            return pending.pop(0) if pending else None
        assert self.waiting, "the session waits for ever"
        item = self.waiting.popleft()
        if callable(item):
            item()
            return self.get(timeout_s)
        self.waits.append(timeout_s)
        if isinstance(item, Pass):
            assert timeout_s is not None, "the session waits for a command only"
            self.clock.now += item.seconds
            return None
        if isinstance(item, After):
            self.clock.now += item.seconds
            return item.command
        return item


class Run:
    """One session from start to end, with everything it did.

    Args:
        step_s: seconds a step takes.
        events: filled with what is told, for a session that does not end well.
        bad: steps of a job that are not applied, as its plan counts them.
        on_step: called with every step once it has been taken.
    """

    def __init__(
        self,
        waiting: Sequence[Any],
        *,
        between: dict[int, list[Command]] | None = None,
        engine: FakeEngine | None = None,
        settings: Settings | None = None,
        step_s: float = 0.0,
        events: list[Event] | None = None,
        bad: Sequence[int] = (),
        on_step: Callable[[StepBundle], None] = lambda bundle: None,
        cache: TokenCache | None = None,
        clock: FakeClock | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.engine = engine or FakeEngine()
        self.clock = clock or FakeClock()
        self.events = [] if events is None else events
        self.trained: list[StepBundle] = []
        reporter = Reporter(self.events.append, clock=self.clock)
        self.script = Script(self.clock, self.engine, deque(waiting), between or {})
        settings = settings or settings_with()
        session = Session(
            self.engine, self.script, reporter, settings, cache=cache, scratch=scratch, clock=self.clock
        )
        for bundle in session.bundles():
            self.trained.append(bundle)
            self.clock.now += step_s
            bundle.learning_rate = 0.25
            bundle.loss = 0.5
            if bundle.index in bad:
                bundle.not_applied = "the loss is nan"
            on_step(bundle)

    def told(self, *kinds: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def steps(self) -> list[Any]:
        return [step for event in self.told(StepsTaken) for step in event.steps]

    @property
    def token_ids(self) -> list[list[list[int]]]:
        return [[example.token_ids for example in bundle.examples] for bundle in self.trained]


def settings_with(**sections: dict[str, Any]) -> Settings:
    """Return settings of two rows a step that save neither by time nor late, unless told otherwise.

    Rows are not looked at before the first step, so that a test may have whichever it wants.
    """
    training = {"batch_size": 2, "gradient_accumulation": 1} | sections.pop("training", {})
    checkpoints = {"interval_s": 1e9, "group_commit_s": 0.0} | sections.pop("checkpoints", {})
    data = {"validation": "quick"} | sections.pop("data", {})
    own = {"training": training, "checkpoints": checkpoints, "data": data}
    return Settings.model_validate(own | sections)


def start(job: Job, path: Path, settings: Settings | None = None, **order: Any) -> StartJob:
    settings = settings or settings_with()
    return StartJob(job=job, path=str(path), settings=settings.model_dump(mode="json"), **order)
