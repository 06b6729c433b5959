"""Who is let in: tokens, host names, origins and rates, whatever is asked for."""

import pytest
from starlette.testclient import TestClient

from daemon.client.client import Client
from daemon.monitor.access import FAILURES_ALLOWED, SECURITY_HEADERS
from daemon.monitor.app import PAGES, make_app
from daemon.monitor.stream import Hub
from daemon.monitor.tokens import UnusableTokens, load_tokens
from tests.daemon.monitor.conftest import PORT, TOKENS
from tests.support import FakeClock

OURS = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def stranger(layout, clock):
    client = Client(layout.base)
    app = make_app(client, TOKENS, port=PORT, hosts=["box.lan"], hub=Hub(client), clock=clock)
    with TestClient(app, base_url=OURS) as browser:
        yield browser


@pytest.fixture
def browser(stranger):
    """One that has opened the link to control."""
    stranger.get("/login", params={"token": TOKENS.control})
    return stranger


@pytest.mark.parametrize("path", [*PAGES, "/api/status", "/api/stream", "/metrics", "/nothing"])
def test_a_stranger_sees_nothing(stranger, path):
    answer = stranger.get(path)

    assert answer.status_code == 401
    assert "training_monitor" in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/static/app.css"])
def test_what_says_nothing_of_training_is_open(stranger, path):
    assert stranger.get(path).status_code == 200


def test_a_link_lets_a_browser_in_by_a_cookie_that_no_script_reads(stranger):
    answer = stranger.get("/login", params={"token": TOKENS.read})

    cookie = answer.headers["set-cookie"].lower()
    assert f"training_monitor_{PORT}=" in cookie
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert stranger.get("/").status_code == 200
    assert stranger.get("/api/status").json()["daemon"] == "never started"


def test_who_may_only_look_changes_nothing(stranger):
    stranger.get("/login", params={"token": TOKENS.read})

    answer = stranger.post("/api/pause", json={}, headers={"Origin": OURS})

    assert answer.status_code == 403
    assert "only read" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Origin": OURS, "Sec-Fetch-Site": "same-origin"}, 503),  # it is let through: no daemon runs
        ({"Sec-Fetch-Site": "same-origin"}, 503),
        ({"Origin": OURS}, 503),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9999", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://["}, 403),
        ({}, 403),
    ],
)
def test_a_change_must_come_from_our_own_page(browser, headers, status):
    assert browser.post("/api/pause", json={}, headers=headers).status_code == status


def test_a_program_sends_its_token_itself_and_has_no_origin(ask):
    assert ask.post("/api/pause", json={}).status_code == 503


@pytest.mark.parametrize(
    "host, status",
    [
        (f"127.0.0.1:{PORT}", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        (f"[::1]:{PORT}", 200),
        ("box.lan", 200),
        ("box.lan.", 200),
        ("evil.example", 421),
        (f"127.0.0.1.evil.example:{PORT}", 421),
        ("[::1", 421),
        ("box.lan@evil.example", 421),
    ],
)
def test_only_our_own_names_are_answered(browser, host, status):
    assert (
        browser.get(
            "/api/status", headers={"Host": host, "Authorization": f"Bearer {TOKENS.read}"}
        ).status_code
        == status
    )


def test_who_guesses_tokens_has_to_wait_and_the_owner_has_not(stranger, clock):
    for _ in range(FAILURES_ALLOWED):
        assert stranger.get("/login", params={"token": "x" * 43}).status_code == 401

    refused = stranger.get("/api/status", headers={"Authorization": "Bearer wrong"})
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "60"
    assert stranger.get("/login", params={"token": TOKENS.control}).status_code == 200
    clock.now += 61
    stranger.cookies.clear()
    assert stranger.get("/login", params={"token": "x" * 43}).status_code == 401


@pytest.mark.parametrize(
    "path", ["/login?token=wrong", "/api/status", "/", "/static/app.css", "/static/none"]
)
def test_every_answer_has_the_headers(stranger, path):
    answer = stranger.get(path)

    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/static/../tokens.py", "/static/%2e%2e/tokens.py", "/static/..%2ftokens.py", "//etc/passwd"]
)
def test_no_path_leads_out_of_the_folder_of_static_files(ask, path):
    assert ask.get(path).status_code == 404


def test_tokens_stay_until_they_are_renewed_and_are_their_owners_alone(layout):
    first = load_tokens(layout.status)

    assert load_tokens(layout.status) == first
    assert (layout.status / "monitor_tokens.json").stat().st_mode & 0o777 == 0o600
    assert load_tokens(layout.status, renew=True) != first


@pytest.mark.parametrize("content", ["", "{}", '{"read": "x", "control": "y"}', "[]"])
def test_a_file_that_holds_no_tokens_is_refused(layout, content):
    path = layout.status / "monitor_tokens.json"
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(UnusableTokens, match="--new-tokens"):
        load_tokens(layout.status)


def test_tokens_that_others_may_read_are_refused(layout):
    load_tokens(layout.status)
    (layout.status / "monitor_tokens.json").chmod(0o644)

    with pytest.raises(UnusableTokens, match="others than its owner"):
        load_tokens(layout.status)
