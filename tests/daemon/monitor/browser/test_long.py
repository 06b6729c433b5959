"""A page that stays open all day takes no more memory."""

import json

import pytest
from playwright.sync_api import expect

from tests.daemon.monitor.browser.states import training

SECONDS = 2 * 3600  # at a status and two steps a second
MOST_GROWTH_BYTES = 8_000_000

pytestmark = pytest.mark.long

FAST_FORWARD = """
async ([status, from, seconds]) => {
  const server = await import("/static/server.js");
  for (let second = 0; second < seconds; second += 1) {
    const step = from + 2 * second;
    server.tell("status", {...status, current_step: step + 2, heartbeat_age_s: 0.5});
    server.tell("steps", [1, 2].map((number) => ({
      global_step: step + number, job_id: "20260101-000000-000001", file_step: step + number, rows: 8,
      replayed: 0, tokens: 500, supervised_tokens: 300, loss: 2 + Math.sin(step) / 2,
      learning_rate: 1e-4, grad_norm: 0.5, seconds: 0.5,
    })));
    if (second % 60 === 0) {
      server.tell("events", [{id: 1e6 + second, at: new Date().toISOString(), kind: "checkpoint",
        job_id: null, message: "published", level: "info", data: {path: "x", global_step: step}}]);
      server.tell("queue", {});
      server.tell("log", {});
    }
    if (second % 200 === 0) await new Promise((done) => setTimeout(done));
  }
}
"""


def heap(session):
    session.send("HeapProfiler.collectGarbage")
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "JSHeapUsedSize")


def test_two_hours_take_no_more_memory(layout, served, new_page, problems):
    training(layout)
    page = new_page(served.link)
    expect(page.locator("#state")).to_contain_text("training")
    status = json.loads(layout.status_file.read_text()) | {"daemon": "running"}
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.evaluate(FAST_FORWARD, [status, 49, SECONDS // 10])  # until everything has been made once
    before = heap(session)

    page.evaluate(FAST_FORWARD, [status, 49 + SECONDS // 5, SECONDS])

    assert heap(session) - before < MOST_GROWTH_BYTES
    assert problems == []
