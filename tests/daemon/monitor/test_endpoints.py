"""Requests of the API: arguments, bodies, and what the client refuses."""

import pytest


def test_the_status_is_that_of_the_command(ask):
    found = ask.get("/api/status").json()

    assert (found["daemon"], found["in_inbox"]) == ("never started", 0)


@pytest.mark.parametrize(
    "send, said",
    [
        ({"params": {"colour": "red"}}, "unknown parameter 'colour'"),
        ({"json": {"reason": 3}}, "reason: Input should be a valid string"),
        ({"json": {"because": "x"}}, "because: Extra inputs are not permitted"),
        ({"content": b"{"}, "the body: Invalid JSON"),
        ({"content": b'{"reason": "' + b"x" * 1_100_000}, "the body has more than 1,000,000 bytes"),
    ],
)
def test_a_request_that_asks_for_what_is_not_offered_is_refused(ask, send, said):
    answer = ask.post("/api/pause", **send)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)


def test_what_the_client_refuses_is_said_in_its_words(ask):
    answer = ask.post("/api/pause", json={"reason": "lunch"})

    assert answer.status_code == 503
    assert "the daemon is not running" in answer.json()["error"]


def test_an_unknown_address_is_said_to_be_none(ask):
    assert ask.get("/api/nothing").json() == {"error": "there is nothing at this address"}
