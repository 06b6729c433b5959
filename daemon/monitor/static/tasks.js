// Acts that take long: which run, how far they are, and what came of them. They go on when the page is closed.

import { fill, h, note } from "./dom.js";
import { on, read, send } from "./server.js";
import { ago } from "./words.js";

const SHOWN_AFTER_END_MS = { done: 600e3, failed: 3600e3, cancelled: 60e3 };

/** Follow them; returns {element, all(), leave()}. onChange is called with all of them, newest first. */
export function followTasks(current, onChange) {
  const element = h("section", { id: "tasks", class: "card wide", hidden: true, "aria-labelledby": "tasks-title" });
  let all = [], dismissed = new Set(), known = null;

  const load = async () => {
    try { all = await read("/api/tasks"); } catch { return; }
    for (const task of all) {
      const before = known && known.get(task.id);
      if (known && task.state !== "running" && before !== task.state) note(`${task.title}: ${STATES[task.state]}`, task.state === "failed" ? "bad" : "good");
    }
    known = new Map(all.map((task) => [task.id, task.state]));
    draw();
    onChange(all);
  };
  const draw = () => {
    const shown = all.filter((task) => task.state === "running" || (!dismissed.has(task.id) && task.kind !== "compare" && Date.now() - new Date(task.ended_at) < SHOWN_AFTER_END_MS[task.state]));
    element.hidden = !shown.length;
    if (element.contains(document.activeElement) && document.activeElement.tagName === "BUTTON" && shown.some((task) => task.state === "running")) {
      for (const task of shown) element.querySelector(`[data-task="${task.id}"] .said`)?.replaceChildren(said(task, current) || "");
      if (shown.every((task) => element.querySelector(`[data-task="${task.id}"][data-state="${task.state}"]`))) return;
    }
    fill(element, h("h2", { id: "tasks-title" }, "What was asked for"), h("ul", { class: "plain" }, shown.map((task) =>
      h("li", { "data-task": task.id, "data-state": task.state }, h("strong", {}, `${SIGNS[task.state]} ${task.title}`), ` – ${STATES[task.state]}, ${task.state === "running" ? `for ${ago(task.started_at).replace(" ago", "")}` : ago(task.ended_at)} `,
        h("a", { href: `/api/tasks/${task.id}`, target: "_blank", rel: "noopener" }, "as JSON"),
        h("p", { class: `said ${task.state === "failed" ? "bad" : "quiet"}` }, said(task, current)),
        task.state === "running" && task.is_cancellable && current.scope !== "read" ? h("button", { type: "button", onclick: () => send(`/api/tasks/${task.id}/cancel`) }, "Cancel it") : null,
        task.state === "running" ? null : h("button", { type: "button", onclick: () => { dismissed.add(task.id); draw(); } }, "Put away")))));
  };
  load();
  const stops = [on("tasks", load), on("reload", load), on("status", () => { if (all.some((task) => task.state === "running")) draw(); })];
  return { element, all: () => all, load, leave: () => stops.forEach((stop) => stop()) };
}

const SIGNS = { running: "…", done: "✓", failed: "✕", cancelled: "–" };
const STATES = { running: "under way", done: "done", failed: "failed", cancelled: "cancelled" };

function said(task, current) {
  if (task.problem) return task.problem;
  if (task.state === "done") return saidAtEnd(task);
  const daemon = ["go_back", "forget"].includes(task.kind) && current.status && current.status.daemon === "running" ? current.status.status_reason : null;
  return [task.progress, daemon ? `the daemon: ${daemon}` : null].filter(Boolean).join("; ")
    || (task.state === "running" && ["go_back", "forget"].includes(task.kind) ? "It goes on if you close this page." : "");
}

function saidAtEnd({ kind, result }) {
  if (!result) return "";
  if (result.said) return result.said;
  if (kind === "create_version") return `${result.id}, of step ${result.global_step}`;
  if (kind === "delete_version") return `${result.version} is in the trash`;
  if (kind === "back_up") return `${result.id} in ${result.to}${result.notes.length ? `; ${result.notes.join("; ")}` : ""}`;
  if (kind === "verify_backups") return Object.keys(result.damaged).length
    ? `damaged: ${Object.entries(result.damaged).map(([name, why]) => `${name}: ${why}`).join("; ")}; cannot be restored: ${result.unusable.join(", ") || "none"}`
    : `all ${result.objects} objects of ${result.backups} backups are whole`;
  if (kind === "free_space") return `${result.acts.length} removed`;
  return "";
}
