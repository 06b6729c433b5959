"""Services that Apprise knows are told like a web server, and their addresses are seen nowhere."""

import json
import logging
import subprocess
import sys

import pytest

from daemon.notify.delivery import NotDelivered
from daemon.notify.through_apprise import UnusableApprise, apprise

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # it imports it
BODY = json.dumps(
    {"event": "failed", "count": 1, "message": "failed a.jsonl: no rows", "host": "box", "base_dir": "/srv"}
).encode()


def address(server, secret="hunter2"):
    return f"json://user:{secret}@127.0.0.1:{server.server_port}/hook"


def test_a_service_is_told_in_words(server):
    apprise([address(server)], 10)("l-1", BODY, 0.0)

    [(_, body)] = server.received
    document = json.loads(body)
    assert document["title"] == "training: failed"
    assert document["message"] == "failed a.jsonl: no rows\nbox:/srv"
    assert document["type"] == "failure"


def test_a_service_that_was_told_is_not_told_again_for_one_that_fails(server, monkeypatch):
    answers = [204, 500, 204]
    server.answer = lambda request: request.say(answers.pop(0))
    deliver = apprise([address(server), address(server)], 10)

    with pytest.raises(NotDelivered, match="JSON"):
        deliver("l-1", BODY, 0.0)
    deliver("l-1", BODY, 0.0)

    assert len(server.received) == 3


def test_a_service_that_hangs_is_given_up_after_a_time(server, caplog):
    server.answer = server.hang

    with caplog.at_level(logging.DEBUG), pytest.raises(NotDelivered) as caught:
        apprise([address(server)], 0.3)("l-1", BODY, 0.0)

    assert "hunter2" not in str(caught.value) + caplog.text


def test_an_address_that_apprise_does_not_know_is_named_by_its_place_only():
    with pytest.raises(UnusableApprise) as caught:
        apprise(["nosuch://hunter2"], 1)

    assert "notify.apprise.0 begins with nosuch://" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)

    with pytest.raises(UnusableApprise, match="scripts/setup apprise"):
        apprise(["json://h"], 1)


def test_the_process_for_a_web_server_does_not_load_apprise():
    code = "import sys, daemon.notify.__main__; print('apprise' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
