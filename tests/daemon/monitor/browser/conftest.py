"""A real browser: Debian's Chromium, driven by Playwright."""

import shutil

import pytest

from tests.daemon.monitor.browser.served import Served
from trainer.protocol.layout import Layout

CHROMIUM = shutil.which("chromium")
PATIENCE_MS = 30_000


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip(
            "Chromium is not installed; scripts/test installs it where it may (apt-get install chromium)"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # No sandbox: as root, which builds often are, it does not start with one
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"],
        )
        yield browser
        browser.close()


class Problems(list):
    """What a page has complained about."""

    def watch(self, page):
        page.on("console", lambda message: message.type == "error" and self.append(message.text))
        page.on("pageerror", lambda error: self.append(str(error)))


@pytest.fixture
def problems():
    return Problems()


@pytest.fixture
def new_page(chromium, problems):
    """Open pages in a browser of their own; what they complain about is in `problems`."""
    contexts = []

    def opening(link, *, width=1280, height=800, scheme="light"):
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        problems.watch(page)
        page.goto(link)
        page.locator("#pages a").first.wait_for()
        return page

    yield opening
    for context in contexts:
        context.close()


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "base")
    layout.create()
    return layout


@pytest.fixture
def served(layout):
    served = Served(layout.base).start()
    yield served
    served.stop()
