"""How long it takes to answer a suite's questions: all together as the evaluator does, and one by one.

Questions are made up: of 5 to 300 tokens, with answers of 1 to 64. Both ways take turns, and what is told is
the ratio of their medians, in processor time and by the clock. Every answer of the two is compared.
"""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.benchmarks.results import Cell, Table, median, parser_for, publish
from scripts.benchmarks.shapes import SHAPES, build_model
from scripts.benchmarks.turns import tell
from trainer.evaluation.generation import Generated, GenerationLimits, TextGenerator, generating_alone
from trainer.evaluation.together import Prompt
from trainer.model.tiny import TEXT
from trainer.profiles.base import Generation

MAX_TOKENS = 8192  # the default of training.micro_batch_tokens
STEPS, ROWS, ROW_TOKENS = 150, 8, 64
TOGETHER, ONE_BY_ONE = "together", "one by one"

Answers = Callable[[], list[Generated]]


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = parser_for("answers", __doc__)
    parser.add_argument("--questions", type=int, default=500, help="how many (default: 500)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way (default: 3)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    num_questions, repeats = (20, 1) if options.quick else (options.questions, options.repeats)
    rows: list[list[Cell]] = []
    data = {}
    with tempfile.TemporaryDirectory(prefix="answers-") as folder:
        model_folder = build_model(Path(folder) / "model", SHAPES["tiny"])
        tokenizer = AutoTokenizer.from_pretrained(model_folder)
        model = AutoModelForCausalLM.from_pretrained(model_folder)
        token_ids = tokenizer(TEXT)["input_ids"]
        questions = made_up(token_ids, num_questions)
        for state in ("untrained", "trained"):
            if state == "trained":
                learn(model, token_ids)
            model.eval()
            with generating_alone(model, tokenizer, Generation()) as generator:
                found = measure(generator, questions, repeats, state)
            rows.append([state, *figures(found)])
            data[state] = found["seconds"]
    columns = [
        "tiny",
        "answers",
        "the same",
        "processor time",
        "by the clock",
        "ms each",
        "ms each, one by one",
    ]
    publish("answers", options, [Table("One by one / together", columns, rows)], {"seconds": data})


def made_up(token_ids: list[int], number: int) -> list[Prompt]:
    """Return questions of all lengths, always the same ones."""
    chance = random.Random(number)
    found = []
    for _ in range(number):
        length = chance.randint(5, 300)
        first = chance.randrange(len(token_ids) - length)
        found.append(Prompt(token_ids[first : first + length], chance.randint(1, 64)))
    return found


def learn(model: Any, token_ids: list[int]) -> None:
    """Train on the text until the model is far from where it began."""
    torch.manual_seed(1)
    model.train()
    ids = torch.tensor(token_ids)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(STEPS):
        firsts = torch.randint(len(ids) - ROW_TOKENS, (ROWS,)).tolist()
        batch = torch.stack([ids[first : first + ROW_TOKENS] for first in firsts])
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def measure(generator: TextGenerator, questions: list[Prompt], repeats: int, state: str) -> dict[str, Any]:
    """Let both ways answer in turns; return their answers and seconds."""
    ways: dict[str, Answers] = {
        TOGETHER: lambda: generator.generate_each(questions, max_tokens=MAX_TOKENS),
        ONE_BY_ONE: lambda: [
            generator.generate(question.token_ids, GenerationLimits(question.max_new_tokens))
            for question in questions
        ],
    }
    generator.generate_each(questions[:2], max_tokens=MAX_TOKENS)  # the model is tried once in its life
    answers: dict[str, list[Generated]] = {}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, answer in ways.items():
            started = time.process_time(), time.perf_counter()
            answers[name] = answer()
            seconds[name].append((time.process_time() - started[0], time.perf_counter() - started[1]))
            tell(f"{state}, turn {repeat + 1} of {repeats}: {name}")
    return {"answers": answers, "seconds": seconds}


def figures(found: dict[str, Any]) -> list[Cell]:
    """Return the cells of one row of the table."""
    answers, seconds = found["answers"], found["seconds"]
    same = sum(one == other for one, other in zip(answers[TOGETHER], answers[ONE_BY_ONE], strict=True))
    medians = {
        name: [median([turn[kind] for turn in turns]) or 0.0 for kind in (0, 1)]
        for name, turns in seconds.items()
    }
    (cpu, clock), (old_cpu, old_clock) = medians[TOGETHER], medians[ONE_BY_ONE]
    number = len(answers[TOGETHER])
    return [number, same, old_cpu / cpu, old_clock / clock, 1000 * cpu / number, 1000 * old_cpu / number]


if __name__ == "__main__":
    main()
