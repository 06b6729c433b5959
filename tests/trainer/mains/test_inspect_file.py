"""A file is inspected in a process of its own, by the code of a worker, and nothing is kept."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import PATIENCE_S, row, rows, write_jsonl
from trainer.config.loader import BadConfig
from trainer.config.schema import Settings
from trainer.mains import inspect_file as inspection
from trainer.model import tiny
from trainer.protocol.data_report import DataReport, InspectionOrder
from trainer.protocol.faults import ModelUnavailable
from trainer.protocol.job import FaultKind
from trainer.protocol.one_shot import Refused


def order(base: Path, file: Path, *, deep: bool = False, model: Any = "tiny", **data: Any) -> InspectionOrder:
    settings = Settings.model_validate({"data": data, "model": {"base_model": str(model)}})
    return InspectionOrder(
        file=str(file), settings=settings.model_dump(mode="json"), base=str(base), deep=deep
    )


@pytest.fixture
def look(base_dir, tiny_folder, tmp_path):
    """Return a function that gives the report on rows, and the words told meanwhile."""

    def run(content: list[Any], **options: Any) -> tuple[DataReport, list[str]]:
        told: list[str] = []
        file = write_jsonl(tmp_path / "a.jsonl", content)
        return inspection.inspect(
            order(base_dir, file, **({"model": tiny_folder} | options)), told.append
        ), told

    return run


def test_a_whole_file_is_looked_at_whatever_the_settings_say_of_jobs(look):
    report, told = look([*rows(30), rows(1)[0], {"no": "row"}], validation="quick", max_bad_row_fraction=0.5)

    assert (report.rows, report.rejected_rows, report.sampled_rows, report.duplicate_rows) == (31, 1, 31, 1)
    assert [(finding.rule, finding.level) for finding in report.findings] == [
        ("rows", "warning"),
        ("duplicates", "warning"),
    ]
    assert "line 32: found" in report.findings[0].message
    assert report.job_id is None
    assert told == ["reading every row", "loading the tokenizer"]


@pytest.mark.parametrize("deep", [False, True])
def test_rows_under_other_names_are_looked_at_as_they_are_trained(look, deep):
    asked = [{"frage": f"What is {n}?", "antwort": f"It is {n}."} for n in range(3)]

    report, _ = look(asked, deep=deep, fields={"prompt": "frage", "completion": "antwort"})

    assert (report.sampled_rows, report.is_blocked) == (3, False)


@pytest.mark.parametrize("deep, looked_at", [(False, 32), (True, 100)])
def test_rows_beyond_a_sample_are_rendered_only_when_deep(look, monkeypatch, deep, looked_at):
    monkeypatch.setattr(inspection, "SAMPLED_ROWS", 32)
    monkeypatch.setattr(inspection, "ROWS_BETWEEN_WORDS", 16)

    report, told = look(rows(100), deep=deep)

    assert (report.sampled_rows, report.validation) == (looked_at, "deep" if deep else "standard")
    assert told[2] == f"16 of {looked_at} rows"


def test_lengths_are_those_of_whole_rows(look):
    long = row("Say it.", " ".join(str(n) for n in range(200)))

    report, _ = look([*rows(9), long], max_length=64)

    [tokens] = [len(tiny.tokenizer().apply_chat_template(long["messages"])["input_ids"])]
    assert report.tokens is not None
    assert report.tokens.max == tokens > 64
    assert (report.over_max_length, report.is_blocked) == (0.1, True)


@pytest.mark.parametrize(
    "content, message",
    [([], "it is empty"), (["{"] * 3, "3 of 3 rows are malformed"), ([{}, *rows(3)], "1 of 4 rows")],
)
def test_a_file_that_would_not_be_taken_in_is_blocked_by_that(look, content, message):
    report, told = look(content)

    assert report.is_blocked
    assert message in report.blocks[0].message
    assert told == ["reading every row"]


def test_the_newest_checkpoint_has_the_tokenizer(look, base_dir, tiny_folder):
    (base_dir / "models").mkdir()
    (base_dir / "models" / "current_model").symlink_to(tiny_folder)

    report, _ = look(rows(3), model="gone")

    assert report.sampled_rows == 3


def test_a_model_that_is_not_there_is_an_error(look):
    with pytest.raises(ModelUnavailable, match=r"\./gone"):
        look(rows(1), model="./gone")


def test_a_template_that_cannot_be_used_is_an_error(look, tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ messages[-1]['content'] }}")

    with pytest.raises(BadConfig, match="chat template"):
        look([{"messages": row()["messages"] * 2}], model=folder)


@pytest.mark.parametrize("num_odd, level", [(1, "note"), (2, "warning")])
def test_what_the_profile_finds_odd_is_told(base_dir, tiny_folder, tmp_path, num_odd, level):
    odd = [row("Add.", f"(add {n}") for n in range(num_odd)]
    file = write_jsonl(tmp_path / "a.jsonl", [*rows(100 - num_odd), *odd])
    asked = order(base_dir, file, model=tiny_folder)
    settings = asked.settings | {"profile": {"name": "regime3", "options": {}}}

    report = inspection.inspect(asked.model_copy(update={"settings": settings}), lambda words: None)

    [finding] = [found for found in report.findings if found.rule == "profile_faults"]
    assert (finding.level, finding.rows) == (level, num_odd)
    place = f"the first: line {101 - num_odd}: messages[1]: the answer begins as an expression"
    assert place in finding.message


def test_nothing_is_left_behind(look, base_dir):
    look(rows(3), model="tiny")

    assert list(base_dir.iterdir()) == []


def test_the_process_answers_with_nothing_but_the_report_and_loads_no_code_of_models(
    base_dir, tiny_folder, seven_rows
):
    command = [sys.executable, "-X", "importtime", "-P", "-m", "trainer.mains.inspect_file"]
    asked = order(base_dir, seven_rows, model=tiny_folder).model_dump_json()

    result = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=PATIENCE_S)

    assert result.returncode == 0
    assert DataReport.model_validate_json(result.stdout).sampled_rows == 7
    assert "reading every row" in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "tokenizers" in imported
    assert not imported & {"peft", "transformers.modeling_utils"}


def test_the_process_says_why_there_is_no_report(nursery, base_dir, tmp_path, seven_rows):
    bad_profile = order(base_dir, seven_rows).model_dump()
    bad_profile["settings"]["profile"]["name"] = "rot13"
    orders = order(base_dir, tmp_path / "gone.jsonl"), InspectionOrder.model_validate(bad_profile)

    no_file, bad_settings = [
        nursery.run("trainer.mains.inspect_file", asked=asked.model_dump_json()) for asked in orders
    ]

    found = [Refused.model_validate_json(result.stdout) for result in (no_file, bad_settings)]
    assert [result.returncode for result in (no_file, bad_settings)] == [1, 78]
    assert [refused.fault for refused in found] == [FaultKind.ENVIRONMENT, FaultKind.BAD_CONFIG]
    assert (found[0].errno, "gone.jsonl" in found[0].message) == (errno.ENOENT, True)
    assert 'profile.name is "rot13"' in found[1].message
    assert "Traceback" not in no_file.stderr


def test_an_order_and_a_report_are_plain_json(look):
    report, _ = look(rows(3))

    assert DataReport.model_validate(json.loads(report.model_dump_json())) == report


def thoughtful(answer: str) -> dict[str, Any]:
    """Return a row in which only an earlier answer, which is context, has thoughts."""
    [question, reply] = row("Say 1.", answer)["messages"]
    return {"messages": [question, reply | {"reasoning_content": f"Why not {answer}?"}, question, reply]}


def test_context_that_the_template_does_not_show_is_reported_or_refused(look):
    content = [*rows(30), thoughtful("1")]

    reported, _ = look(content, train_on="last_assistant")
    refused, _ = look(content, train_on="last_assistant", hidden_parts="refuse")

    [finding] = reported.findings
    assert (finding.rule, finding.level, finding.rows, finding.lines) == ("hidden_parts", "warning", 1, (31,))
    assert "first the reasoning of messages[1]" in finding.message
    [finding] = refused.findings
    assert (finding.rule, finding.level) == ("unrenderable", "block")
    assert "line 31: the chat template does not show the reasoning of messages[1], which" in finding.message


def test_rows_that_quote_control_tokens_are_named(look):
    report, _ = look([*rows(30), row("What ends a turn?", "It is <|im_end|>.")])

    [finding] = report.findings
    assert (finding.rule, finding.rows, finding.lines) == ("quoted_control_tokens", 1, (31,))
