"""The health check says whether notifications arrive."""

from daemon.health.check_result import Severity
from daemon.health.notifications import check_notifications
from trainer.protocol.files import write_json


def noted(layout, channel, **facts):
    value = {"problem": None, "pending": [], "lost": 0} | facts
    write_json(layout.notify_file(channel), value, durable=False)


def test_where_nothing_is_sent_nothing_is_said(layout):
    assert list(check_notifications(layout)) == []


def test_each_channel_is_judged_by_its_newest_try(layout):
    noted(layout, "command")
    noted(layout, "webhook", problem="it answers 500\x1b[0m", pending=[{}, {}], lost=1)

    command, webhook = check_notifications(layout)

    assert (command.level, command.message) == (Severity.OK, "notifications arrive")
    assert webhook.level is Severity.WARNING
    assert webhook.message == ("it answers 500\\x1b[0m; 2 notifications waiting; 1 notification lost so far")


def test_a_file_that_is_none_of_ours_is_named(layout):
    layout.notify_file("webhook").write_text("[]")

    [found] = check_notifications(layout)

    assert found.message.startswith("notify_webhook.json is unreadable: ")
