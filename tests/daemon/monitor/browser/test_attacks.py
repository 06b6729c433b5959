"""Another site in the same browser, which is logged in: it reads nothing and changes nothing."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from tests.daemon.monitor.browser.states import idle

pytestmark = pytest.mark.long

EVIL_PAGE = b"<!doctype html><title>evil</title><link rel=icon href=data:,><body>evil"


@pytest.fixture
def evil_port():
    """A real second origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(EVIL_PAGE)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def from_another_site(page, port):
    """Go to the other site, as a person does who is logged in here."""
    page.goto(f"http://evil.example:{port}/")
    expect(page.locator("body")).to_have_text("evil")


ASK = """
async ([url, options]) => {
  try {
    const answer = await fetch(url, {credentials: "include", ...options});
    return answer.type === "opaque" ? "opaque" : await answer.text();
  } catch (error) { return "refused"; }
}
"""


def test_another_site_cannot_read(layout, served, new_page, evil_port):
    idle(layout)
    page = new_page(served.link)
    from_another_site(page, evil_port)

    for address in ("/api/status", "/metrics", "/api/logs", "/static/main.js"):
        assert page.evaluate(ASK, [served.url + address, {}]) == "refused"
    # Without asking for leave to read: no cookie comes along, and the answer is not for other sites
    assert page.evaluate(ASK, [f"{served.url}/api/status", {"mode": "no-cors"}]) == "refused"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json"])
def test_another_site_cannot_change_anything(layout, served, new_page, evil_port, kind):
    idle(layout)
    page = new_page(served.link)
    from_another_site(page, evil_port)

    options = {"method": "POST", "body": "{}", "mode": "no-cors", "headers": {"Content-Type": kind}}
    assert page.evaluate(ASK, [f"{served.url}/api/pause", options]) == "refused"
    assert list(layout.control.iterdir()) == []


def test_a_form_of_another_site_changes_nothing(layout, served, new_page, evil_port):
    idle(layout)
    page = new_page(served.link)
    from_another_site(page, evil_port)

    with page.expect_navigation():
        page.evaluate(
            "url => { const form = document.createElement('form'); form.method = 'post'; form.action = url;"
            " document.body.append(form); form.submit(); }",
            f"{served.url}/api/pause",
        )

    expect(page.locator("body")).to_contain_text("training_monitor")  # it is asked to log in
    assert list(layout.control.iterdir()) == []


def test_a_name_that_suddenly_points_here_is_not_answered(layout, served, new_page):
    """DNS rebinding: the browser takes this server for the other site's own."""
    idle(layout)
    page = new_page(served.link)

    answer = page.goto(f"http://evil.example:{served.port}/api/status")

    assert answer.status == 421
    assert "does not answer to that host name" in answer.text()


def test_no_page_can_be_put_into_a_frame(layout, served, new_page, evil_port):
    idle(layout)
    page = new_page(served.link)
    from_another_site(page, evil_port)

    page.evaluate(
        "url => { const frame = document.createElement('iframe'); frame.src = url;"
        " document.body.append(frame); }",
        f"{served.url}/",
    )

    expect(page.frame_locator("iframe").locator("#pages")).to_have_count(0)


def test_who_only_looks_sees_no_button_that_would_be_refused(layout, served, new_page, problems):
    idle(layout)
    page = new_page(served.link_to_look)

    expect(page.locator("#state")).to_contain_text("idle")
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    assert page.evaluate("document.cookie") == ""
    assert problems == []
