"""A file that a person means and that is not there: what else may be meant."""

import pytest

from daemon.client.errors import NoSuchFile
from daemon.client.finding import the_file
from tests.support import rows, write_jsonl
from trainer.protocol.job import Priority


@pytest.mark.parametrize(
    "typed, offered",
    [
        ("chat", "; did you mean chat.jsonl?"),
        ("cht.jsonl", "; did you mean chat.jsonl?"),
        ("high/chta.jsonl", "; did you mean chat.jsonl?"),
        ("letters.jsonl", ""),
        ("", ""),
    ],
)
def test_of_an_unknown_name_it_says_which_files_have_one_like_it(layout, typed, offered):
    layout.create()
    write_jsonl(layout.waiting(Priority.HIGH) / "chat.jsonl", rows(1))
    (layout.failed / "chat.jsonl.reason.json").write_text("{}")

    with pytest.raises(NoSuchFile) as error:
        the_file(layout, typed)

    assert str(error.value).endswith(f"show them{offered}")
