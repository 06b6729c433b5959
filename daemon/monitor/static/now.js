// The page Now: what is being trained, how it goes, and the buttons that control it.

import { ask, fill, h, note } from "./dom.js";
import { on, send } from "./server.js";
import { count, decimal, duration } from "./words.js";

export async function open(page, current) {
  const facts = h("dl", { class: "facts" });
  const buttons = h("div", { class: "buttons" });
  fill(page, h("h1", {}, "Now"),
    h("div", { class: "cards" }, h("section", { class: "card", "aria-labelledby": "doing" }, h("h2", { id: "doing" }, "What it does"), facts, buttons)));

  const draw = () => {
    const status = current.status;
    if (!status) return;
    const rows = [
      ["state", status.status_reason ? `${status.status}: ${status.status_reason}` : status.status || status.daemon],
      ["file", status.current_file],
      ["step of the file", status.file_total_steps ? `${count(status.file_step)} of ${count(status.file_total_steps)}` : null],
      ["step of the model", count(status.global_step)],
      ["loss", decimal(status.loss)],
      ["learning rate", decimal(status.learning_rate)],
      ["speed", status.tokens_per_sec ? `${count(Math.round(status.tokens_per_sec))} tokens/s` : null],
      ["file done in", status.eta_s === null || status.eta_s === undefined ? null : duration(status.eta_s)],
    ];
    fill(facts, rows.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    drawButtons(buttons, status);
  };
  draw();
  return on("status", draw);
}

function drawButtons(place, status) {
  const runs = status.daemon === "running";
  const act = (path, question, action, field) => async () => {
    const reason = await ask(question, { action, field });
    if (reason === null) return;
    const answer = await send(path, reason ? { reason } : {});
    if (answer) note(answer.result);
  };
  const paused = status.status === "paused";
  fill(place,
    paused ? h("button", { class: "main", disabled: !runs, onclick: act("/api/resume", "Continue training?", "Resume") }, "Resume")
      : h("button", { disabled: !runs, onclick: act("/api/pause", "Hold training at the next step?", "Pause", "Why (optional)") }, "Pause"),
    h("button", { disabled: !runs || !status.current_file, onclick: act("/api/skip", `Skip ${status.current_file || "the file"}?`, "Skip", "Why (optional)") }, "Skip the file"),
    h("button", { disabled: !runs, onclick: act("/api/stop", "Stop the daemon after the current file?", "Stop", "Why (optional)") }, "Stop"));
}
