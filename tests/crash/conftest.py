"""One nursery serves all tests; each gets a lab of its own."""

import pytest

from tests.crash.lab import Lab, Nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    running = Nursery(tmp_path_factory.mktemp("nursery"))
    yield running
    running.close()


@pytest.fixture
def make_lab(tmp_path, nursery):
    made = []

    def make(**options) -> Lab:
        made.append(Lab(tmp_path / "lab", nursery, **options))
        return made[-1]

    yield make
    for lab in made:
        lab.close()
