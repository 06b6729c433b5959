"""What is shown before something changes."""

import pytest

from daemon.cli import asking, options


@pytest.mark.parametrize("columns", [40, None])
def test_a_plan_is_broken_between_words_only_on_a_terminal(monkeypatch, capsys, columns):
    monkeypatch.setattr(options, "columns_of", lambda stream: columns)
    line = "  chat.jsonl (steps 1 to 9) is undone and goes to queue/skipped/"

    asking.show({}, [line], as_json=False)

    shown = capsys.readouterr().out.splitlines()
    assert " ".join(part.strip() for part in shown) == line.strip()
    assert len(shown) == (1 if columns is None else 2)
    assert all(part.startswith("  ") for part in shown)
