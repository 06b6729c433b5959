"""Averaged weights beside the last ones, and beside a learning rate that falls, on skills that can be marked.

One run of the embedded model for each skill and seed, at a constant learning rate, with every average kept
beside it. Its last tenth is repeated with a learning rate that falls to zero, from the same point on.
"""

import copy
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn

from daemon.data_tools.puzzles.skills import Skill
from scripts.benchmarks.parts import Asked, measured_in_parts
from scripts.benchmarks.results import Cell, Table, parser_for, publish
from scripts.benchmarks.skill_run import Marks, SkillRun, puzzles
from trainer.step.averaging import AverageKind, WeightAverage
from trainer.step.feeding_trainer import FeedingTrainer

FALLING_SHARE = 0.1
COST_STEPS = 200
AVERAGE_STEPS = 50  # the default
SOUP = 8  # checkpoints that are averaged, as many steps apart as divide the falling part into as many
SKILLS = (Skill.SYLLO, Skill.ARITHMETIC, Skill.SYMBOLIC)
AVERAGES: dict[str, tuple[AverageKind, int]] = {
    "ema, half-life 10": ("ema", 10),
    "ema, half-life 34": ("ema", 34),
    "ema, half-life 50": ("ema", 50),
    "ema, half-life 100": ("ema", 100),
    "ema, half-life 200": ("ema", 200),
    "window of 50": ("window", 50),
    "window of 100": ("window", 100),
}
LAST, FALLING, SOUPED = (
    "last weights",
    "learning rate falls to 0 (WSD)",
    f"mean of the last {SOUP} checkpoints",
)


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = parser_for("averages", __doc__)
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    steps, seeds = (60, 2) if options.quick else (options.steps, options.seeds)
    asked: list[Asked] = [(skill.value, seed, steps) for skill in SKILLS for seed in range(seeds)]
    found: dict[str, dict[str, list[Marks]]] = {skill.value: defaultdict(list) for skill in SKILLS}
    parts = options.out and options.out / "averages.parts"
    # Several at once, as answers do not depend on the time they take
    runs = measured_in_parts(_marks, asked, folder=parts, processes=options.threads)
    for (skill, *_), of_run in zip(asked, runs, strict=True):
        for name, marks in of_run.items():
            found[str(skill)][name].append(Marks(**marks))
    tables = [_table(skill, marks) for skill, marks in found.items()]
    data = {
        skill: {name: [vars(one) for one in ones] for name, ones in of.items()} for skill, of in found.items()
    }
    tables.append(_cost_table(COST_STEPS, options.threads))
    publish("averages", options, tables, {"marks": data})


def _marks(asked: Asked) -> dict[str, dict[str, float]]:
    skill, seed, steps = asked
    found = Run(Skill(str(skill)), int(seed), int(steps), threads=1).carry_out()
    return {name: vars(marks) for name, marks in found.items()}


def _table(skill: str, found: dict[str, list[Marks]]) -> Table:
    """Return means over the seeds, and how many points each is above the last weights, run by run."""
    rows: list[list[Cell]] = []
    for name, marks in found.items():
        gains = [100 * (one.right - last.right) for one, last in zip(marks, found[LAST], strict=True)]
        gain = f"{mean(gains):+.1f} ({min(gains):+.1f} to {max(gains):+.1f})"
        right, loss = (mean(values) for values in zip(*((one.right, one.loss) for one in marks), strict=True))
        rows.append([name, f"{100 * right:.1f} %", "" if name == LAST else gain, f"{loss:.4f}"])
    columns = ["weights", "right", "points above the last", "loss"]
    return Table(f"{skill}: new puzzles answered right", columns, rows)


def _cost_table(steps: int, threads: int) -> Table:
    """Return how much longer a step takes with an average."""
    update_s: list[float] = []
    with tempfile.TemporaryDirectory(prefix="averages-") as folder:
        run = SkillRun(Path(folder), puzzles(SKILLS[0]), 0, steps, threads=threads)
        weights = [weight for weight in run.trainer.model.parameters() if weight.requires_grad]
        average = WeightAverage(weights, "ema", AVERAGE_STEPS)

        def keep(step: int) -> None:
            began = time.perf_counter()
            average.note_step()
            update_s.append(time.perf_counter() - began)

        run.train(0, steps, keep)
    rows: list[list[Cell]] = [
        [
            "embedded model",
            1000 * run.step_s,
            1000 * mean(update_s),
            f"{100 * mean(update_s) / run.step_s:.1f} %",
        ]
    ]
    return Table("Time of an average", ["model", "step (ms)", "average (ms)", "share"], rows)


class Run:
    """One training run of a skill, and what its weights are worth at the end."""

    def __init__(self, skill: Skill, seed: int, steps: int, *, threads: int) -> None:
        self._skill = skill
        self._seed = seed
        self._steps = steps
        self._threads = threads
        self._falls_at = steps - int(FALLING_SHARE * steps)
        self._soup: list[list[Tensor]] = []

    def carry_out(self) -> dict[str, Marks]:
        """Return what was measured, by what the weights are."""
        with tempfile.TemporaryDirectory(prefix="averages-") as folder:
            run = SkillRun(Path(folder), puzzles(self._skill), self._seed, self._steps, threads=self._threads)
            trainer = run.trainer
            self._weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
            self._averages = {
                name: WeightAverage(self._weights, kind, steps) for name, (kind, steps) in AVERAGES.items()
            }
            found = {}
            run.train(0, self._falls_at, self._keep)
            with _as_before(trainer, self._weights):
                run.train(self._falls_at, self._steps, self._keep)
                found[LAST] = run.marks()
                for name, average in self._averages.items():
                    with average.in_place():
                        found[name] = run.marks()
                means = [torch.stack(parts).mean(0) for parts in zip(*self._soup, strict=True)]
                with _in_place(self._weights, means):
                    found[SOUPED] = run.marks()
            falling = {"schedule": "wsd", "decay_fraction": FALLING_SHARE}
            trainer.use(run.settings.training.model_copy(update=falling))
            run.train(self._falls_at, self._steps)
            found[FALLING] = run.marks()
            return found

    def _keep(self, step: int) -> None:
        for average in self._averages.values():
            average.note_step()
        between = max(1, (self._steps - self._falls_at) // SOUP)
        if step > self._steps - SOUP * between and (self._steps - step) % between == 0:
            self._soup.append([weight.detach().clone() for weight in self._weights])


@contextmanager
def _as_before(trainer: FeedingTrainer, weights: list[nn.Parameter]) -> Iterator[None]:
    """Bring weights, optimizer and schedule back to where they are now when the block ends."""
    values = [weight.detach().clone() for weight in weights]
    optimizer = copy.deepcopy(trainer.optimizer.state_dict())
    step = trainer.lr_scheduler.last_epoch
    yield
    for weight, value in zip(weights, values, strict=True):
        weight.data.copy_(value)
    trainer.optimizer.load_state_dict(optimizer)
    trainer.lr_scheduler.last_epoch = step


@contextmanager
def _in_place(weights: list[nn.Parameter], values: list[Tensor]) -> Iterator[None]:
    """Let the model have other weights while the block lasts."""
    own = [weight.data for weight in weights]
    for weight, value in zip(weights, values, strict=True):
        weight.data = value
    yield
    for weight, value in zip(weights, own, strict=True):
        weight.data = value


if __name__ == "__main__":
    main()
