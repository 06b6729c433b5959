"""What happens is seen: a daemon that dies and comes back, a monitor that does, new steps."""

import time

import pytest
from playwright.sync_api import expect

from daemon.client.client import Client
from tests.daemon.monitor.browser.states import die, idle, training, write_status
from trainer.protocol.status import State
from trainer.protocol.text import utc_text

pytestmark = pytest.mark.long


def test_a_dead_daemon_is_shown_dead_and_comes_back_without_a_reload(layout, served, new_page):
    training(layout)
    page = new_page(served.link)
    expect(page.locator("#state")).to_contain_text("training")
    expect(page.locator("#banner")).to_be_hidden()
    page.evaluate("window.stays = true")

    die(layout)

    expect(page.locator("#banner")).to_contain_text("The daemon is dead")
    expect(page.locator("#state")).to_contain_text("last heartbeat")
    write_status(layout, status=State.TRAINING)
    expect(page.locator("#banner")).to_be_hidden()
    assert page.evaluate("window.stays")


def test_a_daemon_that_only_stops_writing_is_seen_as_silent(layout, served, new_page):
    training(layout)
    page = new_page(served.link)
    expect(page.locator("#state")).to_contain_text("training")

    write_status(layout, status=State.TRAINING, heartbeat_at=utc_text(time.time() - 60))

    expect(page.locator("#banner")).to_contain_text("The daemon is silent")


def test_a_monitor_that_was_away_is_found_again_by_the_page(layout, served, new_page):
    idle(layout)
    page = new_page(served.link)
    expect(page.locator("#state")).to_contain_text("idle")

    served.stop()

    expect(page.locator("#banner")).to_contain_text("The monitor cannot be reached")
    write_status(layout, status=State.PAUSED)
    served.start()
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#state")).to_contain_text("paused")


def test_what_a_button_asks_for_is_done_by_the_daemon(rig, new_page, problems):
    from tests.daemon.monitor.browser.served import Served

    rig.start()
    served = Served(rig.layout.base).start()
    try:
        page = new_page(served.link)
        page.get_by_role("button", name="Pause", exact=True).click()
        page.get_by_label("Why").fill("lunch")
        page.get_by_role("dialog").get_by_role("button", name="Pause").click()

        expect(page.locator("#notes")).to_contain_text("paused")
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        [event] = [one for one in Client(rig.layout.base).events() if one.kind == "command"]
        assert (event.data["name"], event.data["reason"]) == ("pause", "lunch")
        assert problems == []
    finally:
        served.stop()
