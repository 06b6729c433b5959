"""A file that a person means and that is not there: what else may be meant."""

import pytest

from daemon.client.errors import NoSuchFile, WrongPlace
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


@pytest.mark.parametrize(
    "name, content, why",
    [
        ("a.csv", "prompt,response\na,b\n", "inbox/a.csv: it is a table of comma-separated values (CSV), "),
        ("a.txt", "words", "inbox/a.txt: it is not accepted; expected a name that ends in "),
    ],
)
def test_a_file_that_is_never_accepted_is_not_said_to_wait_for_that(layout, name, content, why):
    layout.create()
    (layout.inbox / name).write_text(content)

    with pytest.raises(WrongPlace) as error:
        the_file(layout, name, [layout.waiting(Priority.HIGH)])

    assert str(error.value).startswith(why)
    assert str(error.value).endswith("; to be rid of it, move it out of inbox/")
