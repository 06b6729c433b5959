"""The page Models: versions a page at a time, what people say of them, the model's life, and CSV."""

import csv
import io

import pytest

from daemon.client import Client
from tests.daemon.client.eventful import EVIL, Life
from tests.daemon.monitor.conftest import wait_for
from tests.health import publish
from trainer.protocol.manifest import Branch


@pytest.fixture
def versions(layout):
    """Three versions of a model that was trained on three files."""
    life = Life(layout)
    for number, name in enumerate(("a.jsonl", EVIL, "=1+2.jsonl"), 1):
        life.train(name, 2)
        life.publish(number)
        life.ledger.commit()
        Client(layout.base).models.create(note=f"number {number}")
    life.close()
    return ("v001", "v002", "v003")


def table(answer):
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_versions_come_a_page_at_a_time_the_newest_first(ask, versions):
    first = ask.get("/api/models/versions", params={"limit": 2}).json()
    rest = ask.get("/api/models/versions", params={"limit": 2, "after": first["next"]}).json()

    assert [line["id"] for line in first["versions"]] == ["v003", "v002"]
    assert ([line["id"] for line in rest["versions"]], rest["next"], rest["total"]) == (["v001"], None, 3)
    assert first["versions"][0]["is_current"]
    assert first["versions"][0]["bytes"] > 0


@pytest.mark.parametrize(
    "search, found", [("number 2", ["v002"]), ("CURRENT", ["v003"]), ("nothing", []), ("v00 hand", 3)]
)
def test_versions_are_found_by_what_people_call_them(ask, versions, search, found):
    page = ask.get("/api/models/versions", params={"search": search}).json()

    ids = [line["id"] for line in page["versions"]]
    assert (len(ids) if isinstance(found, int) else ids) == found


def test_tables_can_be_had_as_csv_without_formulas(ask, versions):
    [newest, *_] = table(ask.get("/api/models/versions", params={"format": "csv"}))
    files = table(ask.get("/api/models/versions/v003/files", params={"format": "csv"}))

    assert (newest["version"], newest["notes"]) == ("v003", "number 3")
    assert [row["name"] for row in files][2] == "'=1+2.jsonl"
    assert {row["sha256"] for row in files} != {""}


def test_an_unknown_version_is_none(ask, versions):
    answer = ask.get("/api/models/versions/v009")

    assert answer.status_code == 404
    assert "v009" in answer.json()["error"]


def test_notes_tags_and_names_are_those_of_the_command(ask, versions, layout):
    assert ask.post("/api/models/versions/v002/note", json={"text": "<b>it</b>"}).status_code == 200
    tagged = ask.post("/api/models/versions/v002/tag", json={"tag": "pinned"}).json()
    named = ask.post("/api/models/aliases", json={"alias": "deployed", "version": "v002"}).json()

    assert tagged["tags"] == ["pinned"]
    assert named == {"alias": "deployed", "before": None, "version": "v002"}
    found = Client(layout.base).models.find("deployed")
    assert (found.id, found.notes[-1], found.tags) == ("v002", "<b>it</b>", ("pinned",))

    untagged = ask.post("/api/models/versions/v002/tag", json={"tag": "pinned", "is_set": False}).json()
    assert untagged["tags"] == []
    assert ask.post("/api/models/aliases", json={"alias": "deployed"}).json()["before"] == "v002"
    assert ask.post("/api/models/aliases", json={"alias": "deployed"}).status_code == 404


def test_two_versions_differ_by_files(ask, versions):
    found = ask.get("/api/models/differences", params={"before": "v001", "after": "v002"}).json()

    assert (found["settings"], len(found["files_added"]), found["files_missing"]) == ([], 1, [])


def test_a_version_is_deleted_unless_a_name_means_it_and_comes_back(ask, versions, layout):
    ask.post("/api/models/aliases", json={"alias": "deployed", "version": "v001"})
    assert ask.post("/api/models/versions/v001/delete").status_code == 422
    ask.post("/api/models/aliases", json={"alias": "deployed"})

    task = ask.post("/api/models/versions/v001/delete").json()
    done = wait_for(ask, task)
    assert (done["state"], done["result"]) == ("done", {"version": "v001"})
    [deleted] = ask.get("/api/models/trash").json()
    assert (deleted["id"], deleted["global_step"]) == ("v001", 2)

    assert ask.post("/api/models/trash/v001/restore").json() == {"version": "v001"}
    assert ask.get("/api/models/trash").json() == []


def test_the_life_of_a_model_that_went_back_is_a_tree(ask, versions, layout):
    branch = Branch(
        number=1, from_branch=0, from_step=4, left_step=6, at="now", why="gate", reason="worse", jobs=()
    )
    publish(layout, 4, step=5, branch=1, branches=[branch])

    life = ask.get("/api/models/life").json()

    assert (life["step"], life["branch"], len(life["versions"])) == (5, 1, 3)
    assert [
        (
            item["number"],
            item["from_branch"],
            item["from_step"],
            item["last_step"],
            item["why"],
            item["led_until"],
        )
        for item in life["branches"]
    ] == [(0, None, 0, 6, None, 4), (1, 0, 4, 5, "gate", 5)]


def test_without_a_checkpoint_there_is_no_life(ask):
    life = ask.get("/api/models/life").json()

    assert (life["step"], life["branches"], life["versions"]) == (0, [], [])
    assert ask.get("/api/models/versions").json()["total"] == 0


def test_checkpoints_are_pinned_by_name(ask, versions):
    [newest, *_] = ask.get("/api/models/checkpoints").json()

    pinned = ask.post(f"/api/models/checkpoints/{newest['name']}/pin", json={"is_pinned": True}).json()

    assert pinned == {"checkpoint": newest["name"], "is_pinned": True, "has_changed": True}
    assert ask.get("/api/models/checkpoints").json()[0]["is_pinned"]
    assert ask.post("/api/models/checkpoints/step-9/pin", json={"is_pinned": True}).status_code == 404


def test_whether_averaged_weights_are_kept_is_said(ask, layout):
    layout.config_file.write_text('{"training": {"average": "ema"}}')

    found = ask.get("/api/models/average").json()

    assert (found["setting"], found["is_kept"], found["loss_of_average"]) == ("ema", False, None)
