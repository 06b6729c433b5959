"""Every page in every state: it opens, complains of nothing, runs no text, and everybody can use it."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from daemon.monitor.app import PAGES
from tests.daemon.monitor.browser.states import STATES, idle, training

AXE = Path(__file__).with_name("axe") / "axe.min.js"
SERIOUS = ("serious", "critical")

pytestmark = pytest.mark.long


def visit(page, address):
    """Open a page by its link, as a person does, and wait until it has read what it shows."""
    page.click(f"#pages a[href='{address}']")
    page.locator(f"#pages a[href='{address}'][aria-current]").wait_for()
    expect(page.locator("#page")).not_to_contain_text("Loading …")


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_every_page_opens_without_a_complaint(layout, served, new_page, problems, state):
    state(layout)
    page = new_page(served.link)

    for address in PAGES:
        visit(page, address)
        assert page.locator("main h1").count() == 1, address
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{address} is too wide"

    assert problems == []


@pytest.mark.parametrize("scheme, width", [("light", 1440), ("dark", 390)])
def test_everybody_can_use_every_page(layout, served, new_page, scheme, width):
    training(layout)
    page = new_page(served.link, width=width, height=900, scheme=scheme)
    page.evaluate(AXE.read_text() + "; null")  # not as a script of the page, which it allows from itself only

    found = []
    for address in PAGES:
        visit(page, address)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        for violation in result["violations"]:
            if violation["impact"] in SERIOUS:
                places = [node["html"][:200] for node in violation["nodes"][:3]]
                found.append(f"{address}: {violation['help']}: {json.dumps(places)}")

    assert found == []


@pytest.mark.parametrize("width, height", [(390, 844), (768, 1024), (2560, 1440)])
def test_no_page_is_wider_than_the_window(layout, served, new_page, width, height):
    idle(layout)
    page = new_page(served.link, width=width, height=height)

    for address in PAGES:
        visit(page, address)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
