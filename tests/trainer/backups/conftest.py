"""A working directory to be backed up."""

import pytest

from tests.trainer.backups.backup_rig import make_site


@pytest.fixture
def site(tmp_path):
    return make_site(tmp_path)
