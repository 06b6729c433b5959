"""training_models disk and gc: a person sees what takes space and what becomes free, and is asked."""

import io
import json
import os
from pathlib import Path

import pytest

from daemon.cli.disk_view import growth_text, kept_text
from daemon.cli.status_view import draw
from daemon.cli.training_models import app
from daemon.files.kept import KeptUse
from daemon.status.reader import Status
from tests.daemon.cli.runner import runner_of
from tests.trainer.disk.conftest import BIG, Site
from trainer.protocol.disk import DiskReport, Sample, Usage
from trainer.protocol.files import write_json

GB, HOUR_S = 10**9, 3600.0

run = runner_of(app)
pytestmark = pytest.mark.long  # each builds checkpoints of its own


@pytest.fixture
def site(tmp_path):
    """Three checkpoints, none of them on a spine, a deleted version of the oldest, and a token cache."""
    site = Site(tmp_path / "work")
    site.layout.config_file.write_text('{"checkpoints": {"spine_max_bytes": 0}}')
    paths = [site.checkpoint(step) for step in (10, 20, 30)]
    site.versions.delete(site.version(paths[0]))
    site.cache("a")
    return site


def asked(site, *arguments, **options):
    return run(site.layout, *arguments, **options)


def test_disk_shows_what_takes_space_and_what_could_be_freed(site):
    shown = asked(site, "disk").stdout

    assert "token cache (models/cache)" in shown
    assert "1  deleted version\n" in shown
    assert "1  checkpoint\n" in shown


def test_disk_as_json_knows_the_growth_that_a_daemon_measured(site):
    report = DiskReport(
        measured_at="2026-01-01T00:00:00.000Z",
        usage=Usage(places=(), free_bytes=1, total_bytes=1, checkpoint_bytes=1),
        used_bytes=1,
        growth_bytes_per_hour=1e6,
        full_in_s=None,
        samples=(Sample(at=1.0, used_bytes=1),),
    )
    write_json(site.layout.status / "disk.json", report.model_dump(mode="json"), durable=False)

    shown = json.loads(asked(site, "disk", "--json").stdout)

    assert shown["growth_bytes_per_hour"] == 1e6
    assert shown["full_in_s"] == pytest.approx(shown["usage"]["free_bytes"] / 1e6 * HOUR_S)
    assert [item["kind"] for item in shown["freeable"]] == ["version_trash", "token_cache", "checkpoint"]


def test_disk_says_how_long_files_are_kept_that_are_needed_to_forget_one(site):
    site.layout.kept_files.mkdir()
    (site.layout.kept_files / ("a" * 64)).write_bytes(bytes(1_000_000))
    site.layout.config_file.write_text('{"forget": {"kept_files_bytes": 4000000}}')

    shown = json.loads(asked(site, "disk", "--json").stdout)["kept"]

    assert (shown["files"], shown["bytes"], shown["budget_bytes"]) == (1, 1_000_000, 4_000_000)
    assert (
        "kept to be trained again have 1 MB of 4 MB (forget.kept_files_bytes)" in asked(site, "disk").stdout
    )


@pytest.mark.parametrize(
    "full_in_s, end",
    [
        (None, "of 4 MB (forget.kept_files_bytes)"),
        (
            HOUR_S,
            ": full in 1 h 00 min at the pace of the last days; then those trained longest ago go, and what "
            "is older can no longer be forgotten",
        ),
    ],
)
def test_kept_files_have_a_forecast_where_there_is_one(full_in_s, end):
    kept = KeptUse(
        files=1, bytes=10**6, budget_bytes=4 * 10**6, growth_bytes_per_day=1.0, full_in_s=full_in_s
    )

    assert kept_text(kept).endswith(end)


def test_gc_shows_its_plan_and_changes_nothing_until_somebody_agrees(site):
    refused = asked(site, "gc", "--all", input="n\n")
    dry = asked(site, "gc", "--all", "--dry-run")

    assert "checkpoint models/checkpoints/step-000000010" in refused.stdout
    assert "models/checkpoints/step-000000020 is one of the newest two" in dry.stdout
    assert (site.models / "cache" / "a.tokens").exists()
    assert (site.models / "versions" / ".trash" / "v001").is_dir()


def backing_up(site, to):
    settings = {
        "checkpoints": {"spine_max_bytes": 0},
        "backup": {"to": str(to), "fingerprint_max_bytes": 0},
    }
    site.layout.config_file.write_text(json.dumps(settings))


def test_gc_makes_a_backup_before_it_removes_what_cannot_be_had_again(site, tmp_path):
    backing_up(site, tmp_path / "backups")

    asked(site, "gc", "--all", "--yes")

    [manifest] = (tmp_path / "backups" / "manifests").iterdir()
    assert json.loads(manifest.read_bytes())["why"] == "before disk space is freed"
    assert not (site.models / "checkpoints" / "step-000000010").exists()


def test_gc_removes_nothing_if_that_backup_fails_and_trash_without_one(site, tmp_path):
    (tmp_path / "file").touch()
    backing_up(site, tmp_path / "file")

    refused = asked(site, "gc", "--all", "--yes")
    kept = (site.models / "cache" / "a.tokens").exists()
    trash = asked(site, "gc", "--yes")

    assert str(refused.exception).startswith("no backup could be made before this: ")
    assert 'take "gc" out of backup.before' in str(refused.exception)
    assert kept
    assert (trash.exit_code, (site.models / "versions" / ".trash" / "v001").exists()) == (0, False)
    assert (site.models / "checkpoints" / "step-000000010").is_dir()


def test_gc_leaves_the_spine_as_it_is_set(site):
    site.layout.config_file.write_text("{}")

    shown = asked(site, "gc", "--all", "--yes").stdout

    assert "models/checkpoints/step-000000010 is on the spine" in asked(site, "gc", "--dry-run").stdout
    assert (site.models / "checkpoints" / "step-000000010").is_dir(), shown


def test_gc_frees_what_it_has_shown(site):
    before = site.free_bytes()

    shown = json.loads(asked(site, "gc", "--all", "--yes", "--json").stdout)

    assert shown["is_done"]
    assert [act["kind"] for act in shown["acts"]] == ["version_trash", "token_cache", "checkpoint"]
    assert shown["frees_bytes"] >= 3 * BIG
    assert abs(site.free_bytes() - before - shown["frees_bytes"]) < BIG
    assert asked(site, "gc", "--all", "--yes").stdout.startswith("nothing is to be removed\n")


def test_gc_without_options_removes_what_was_deleted(site):
    shown = asked(site, "gc", "--yes").stdout

    assert "\n0 bytes freed; " in shown  # a checkpoint still has its files
    assert not (site.models / "versions" / ".trash" / "v001").exists()
    assert (site.models / "cache" / "a.tokens").exists()


def test_gc_goes_on_until_so_much_is_free_and_says_if_it_cannot(site):
    shown = asked(site, "gc", "--free", "900TB", "--dry-run").stdout

    assert "will be freed:" in shown
    assert "that does not make 900,000.0 GB free;" in shown


@pytest.mark.parametrize("size", ["", "5", "-5GB", "5XB", "1e9GB", "5GB ", "\x1b[31m"])
def test_a_size_that_is_none_is_refused(site, size):
    result = asked(site, "gc", "--free", size)

    assert "expected a number with KB, MB, GB or TB" in str(result.exception)
    assert "\x1b" not in str(result.exception)


def test_json_does_not_ask(site):
    assert "--json does not ask" in str(asked(site, "gc", "--all", "--json").exception)


def test_names_cannot_command_the_terminal(site):
    os.rename(site.models / "cache" / "a.tokens", site.models / "cache" / "\x1b[31mred\n.tokens")

    shown = asked(site, "gc", "--all", "--dry-run").stdout

    assert "\\x1b[31mred\\n.tokens" in shown


def test_settings_that_cannot_be_read_are_named(site):
    site.layout.config_file.write_text('{"disk": {"min_free_bytes": -1}}')

    assert "disk.min_free_bytes is -1" in str(asked(site, "gc").exception)


@pytest.mark.parametrize(
    "growth, full_in_s, text",
    [
        (None, None, ""),
        (999_999.0, 1.0, ", and hardly anything is added"),
        (-5.0 * GB, None, ", and hardly anything is added"),
        (2.0 * GB, 9 * HOUR_S, "; 2.0 GB are added per hour: full in 9 h 00 min at this pace"),
        (2.0 * GB, 96 * HOUR_S, "; 2.0 GB are added per hour: full in 4 days at this pace"),
        (0.001 * GB, 9_000 * 24 * HOUR_S, "; 1 MB are added per hour"),
    ],
)
def test_growth_is_told_as_people_say_it(growth, full_in_s, text):
    assert growth_text(growth, full_in_s) == text


def test_the_panel_has_a_line_about_the_disk():
    from rich.console import Console

    console = Console(width=120, file=io.StringIO(), record=True)
    disk = {
        "used_bytes": GB,
        "free_bytes": 18 * GB,
        "growth_bytes_per_hour": 2.0 * GB,
        "full_in_s": 9 * HOUR_S,
    }
    console.print(draw(Status({"status": "idle", "disk": disk}, "running", 0.0)))

    assert "1.0 GB used here, 18.0 GB free; 2.0 GB are added per hour: full in 9 h" in console.export_text()


@pytest.mark.parametrize(
    "age_s, measured_at, shown",
    [
        (0.0, "2026-01-01T12:00:00.000Z", "18.0 GB free"),
        (59.0, "2026-01-01T12:00:00.000Z", "18.0 GB free"),
        (299.0, "2026-01-01T12:00:00.000Z", "18.0 GB free (measured 4 minutes ago)"),
        (200_000.0, "2026-01-01T12:00:00.000Z", "18.0 GB free (measured 2 days ago)"),
        (9.0, None, "18.0 GB free"),
        (9.0, "yesterday", "18.0 GB free"),
    ],
)
def test_the_panel_says_when_the_disk_was_measured_unless_it_was_just_now(age_s, measured_at, shown):
    from rich.console import Console

    console = Console(width=120, file=io.StringIO(), record=True)
    disk = {"used_bytes": GB, "free_bytes": 18 * GB, "measured_at": measured_at}
    fields = {"status": "stopped", "heartbeat_at": "2026-01-01T12:00:00.000Z", "disk": disk}

    console.print(draw(Status(fields, "stopped", age_s)))

    [line] = [line for line in console.export_text().splitlines() if "used here" in line]
    assert line.strip("│ ").endswith(f"1.0 GB used here, {shown}")


def test_the_page_names_every_setting():
    page = (Path(__file__).parents[3] / "docs" / "models" / "disk.md").read_text()

    for name in ("min_free_bytes", "version_trash_kept_s", "queue_trash_kept_s", "measure_interval_s"):
        assert f"disk.{name}" in page or f'"{name}"' in page
