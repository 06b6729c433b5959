"""`training_monitor`: what it makes of its options before the server starts."""

import pytest

from daemon.cli.options import CommandFailed
from daemon.cli.training_monitor import MAX_UPLOAD, bytes_of
from daemon.client.uploads import MOST_BYTES


@pytest.mark.parametrize(
    "size, number",
    [
        ("5GB", 5_000_000_000),
        ("0", 0),
        ("300 mb", 300_000_000),
        ("1.5kB", 1_500),
        ("12", 12),
        (" 2TB ", 2 * 10**12),
    ],
)
def test_a_size_is_read_as_people_write_it(size, number):
    assert bytes_of(size) == number


@pytest.mark.parametrize("size", ["", "GB", "-1", "5 XB", "1e9", "nan", "\x1b[31m"])
def test_what_is_no_size_is_refused_with_an_example(size):
    with pytest.raises(CommandFailed, match="expected a size such as 5GB, 300MB or 0") as failure:
        bytes_of(size)
    assert "\x1b" not in str(failure.value)


def test_the_limit_is_the_same_without_the_option():
    assert bytes_of(MAX_UPLOAD) == MOST_BYTES
