"""The description of the API is that of the code, and every address in it answers."""

import json

from daemon.monitor.app import PARTS
from daemon.monitor.document import FILE, openapi


def test_the_committed_description_is_that_of_the_code():
    assert json.loads(FILE.read_text()) == json.loads(json.dumps(openapi())), (
        "run: python -m daemon.monitor.document"
    )


def test_every_endpoint_has_a_summary_and_a_name_of_its_own():
    endpoints = [endpoint for part in PARTS for endpoint in part.endpoints]

    assert [endpoint.path for endpoint in endpoints if not endpoint.summary.endswith((".", "`"))] == []
    names = [endpoint.function.__name__ for endpoint in endpoints]
    assert len(names) == len(set(names))


def test_what_needs_no_argument_answers_in_an_empty_directory(ask):
    for part in PARTS:
        for endpoint in part.endpoints:
            needed = [p for p in endpoint.parameters().values() if p.default is p.empty]
            if endpoint.method == "GET" and not needed:
                answer = ask.get(endpoint.path)
                assert answer.status_code == 200, (endpoint.path, answer.text)


def test_the_description_is_served(ask):
    assert ask.get("/api/openapi.json").json()["openapi"] == "3.1.0"
