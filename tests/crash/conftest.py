"""One nursery serves all tests; each of these gets a lab of its own."""

import pytest

from tests.crash.lab import Lab


@pytest.fixture
def make_lab(tmp_path, nursery):
    made = []

    def make(**options) -> Lab:
        made.append(Lab(tmp_path / "lab", nursery, **options))
        return made[-1]

    yield make
    for lab in made:
        lab.close()
