// The page Now: what is being trained, how it goes, and the buttons that control it.

import { liveCurves } from "./curves.js";
import { diagnosisCard } from "./diagnosis.js";
import { ask, fill, h, note } from "./dom.js";
import { on, read, send } from "./server.js";
import { ago, bytes, count, decimal, duration, plural, time } from "./words.js";

const OUTLOOK_MS = 10000, PREVIEWS_MS = 30000;
const SECTIONS = { loading: "loads the model", preparing: "prepares the rows", evaluating: "measures the model", previewing: "answers the fixed prompts", saving: "saves the model" };

export async function open(page, current) {
  const card = (id, title, ...children) => h("section", { class: "card", id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), children);
  const words = h("p", { class: "in-words", id: "in-words" });
  const progress = h("progress", { max: 1, value: 0, "aria-label": "Of the file", hidden: true });
  const parts = { doing: h("dl", { class: "facts" }), machine: h("dl", { class: "facts" }), alerts: h("div", {}), previews: h("ul", { class: "previews" }) };
  const buttons = makeButtons(current);
  const charts = h("div", { class: "now-charts" });
  const diagnosis = diagnosisCard({ brief: true });
  const previews = h("section", { class: "card", id: "previews", hidden: true, "aria-labelledby": "previews-title" }, h("h2", { id: "previews-title" }, "Answers to the fixed prompts"), parts.previews);
  fill(page, h("h1", {}, "Now"), h("div", { class: "now" },
    h("div", { class: "now-state" }, card("doing", "What it does", words, progress, parts.doing, buttons.element),
      card("alerts", "Alerts", parts.alerts), card("machine", "Machine", parts.machine), diagnosis.card),
    charts, h("div", { class: "now-more" }, previews)));

  let outlook = null, closed = false, outlookAt = 0, previewsAt = 0;
  const draw = () => {
    const { status } = current;
    if (!status || closed) return;
    setText(words, inWords(status));
    progress.hidden = !status.file_total_steps;
    progress.max = status.file_total_steps || 1;
    progress.value = Math.min(progress.max, status.file_step || 0);
    facts(parts.doing, doing(status, outlook));
    facts(parts.machine, machine(status));
    parts.machine.parentElement.hidden = !parts.machine.childElementCount;
    drawAlerts(parts.alerts, status);
    buttons.draw(status, outlook);
  };
  const look = (always) => { // how much waits changes seldom, and is not worth a question each second
    if (closed || (!always && Date.now() - outlookAt < OUTLOOK_MS)) return;
    outlookAt = Date.now();
    read("/api/outlook").then((found) => { outlook = found; draw(); }, () => {});
  };
  const answers = (always) => {
    if (closed || (!always && Date.now() - previewsAt < PREVIEWS_MS)) return;
    previewsAt = Date.now();
    read("/api/previews").then((found) => { if (!closed) { previews.hidden = !found.length; drawPreviews(parts.previews, found); } }, () => {});
  };
  draw();
  look(true);
  answers(true);
  const curves = liveCurves(charts);
  const stops = [
    on("status", () => { draw(); look(false); }), on("queue", () => look(false)), on("connection", draw),
    on("steps", () => answers(false)), on("reload", () => { look(true); answers(true); }),
  ];
  return () => { closed = true; stops.forEach((stop) => stop()); curves.close(); diagnosis.stop(); };
}

function inWords(status) {
  const life = { stopped: "No daemon runs: it was stopped.", dead: "The daemon is dead: its process is gone.", silent: "The daemon is silent: it does not write its status any more.", "never started": "No daemon has run here yet.", unreadable: "The daemon's status cannot be read.", "no directory": "The working directory is gone." };
  if (status.daemon !== "running") return `${life[status.daemon] || status.daemon}${status.starts_paused ? " The next one starts paused." : ""}`;
  const file = status.current_file, why = status.status_reason ? `: ${status.status_reason}` : "";
  const part = status.file_total_steps ? ` (${Math.floor((100 * (status.file_step || 0)) / status.file_total_steps)} %)` : "";
  const section = SECTIONS[status.worker_section] ? `; now it ${SECTIONS[status.worker_section]}` : "";
  return {
    starting: `It is starting${why}.`,
    idle: "It has nothing to do: no file waits.",
    checking: `It checks ${file || "a file"}${why}.`,
    loading: `It loads the model${why}.`,
    training: `It trains ${file || "a file"}${part}${section}.`,
    paused: `It is paused${why}.`,
    blocked: `It cannot go on${why}.`,
    stopping: `It is about to stop${why}.`,
  }[status.status] || `${status.status}${why}`;
}

function doing(status, outlook) {
  const runs = status.daemon === "running", waiting = outlook && outlook.waiting_files;
  const weights = { last: "last weights", average: "averaged weights" };
  return [
    ["File", status.current_file],
    ["Step of the file", status.file_total_steps ? `${count(status.file_step || 0)} of ${count(status.file_total_steps)}${status.epoch ? `, pass ${count(status.epoch)}` : ""}` : null],
    ["File done in", runs && status.eta_s !== null && status.eta_s !== undefined ? `about ${duration(status.eta_s)}` : null],
    ["Queue done in", outlook && outlook.queue_s !== null && runs && status.eta_s !== null ? `about ${duration(status.eta_s + outlook.queue_s - outlook.file_s)}` : null],
    ["Waiting", waiting ? `${plural(outlook.waiting_files, "file")}, ${plural(outlook.waiting_rows, "row")}` : outlook ? "no file" : null],
    ["In the inbox", status.in_inbox ? plural(status.in_inbox, "file") : null],
    ["Step of the model", status.current_step ? count(status.current_step) : null],
    ["Loss", status.loss === null || status.loss === undefined ? null : decimal(status.loss)],
    ["Validation loss", status.validation_loss === null || status.validation_loss === undefined ? null : `${decimal(status.validation_loss)}${status.validation_weights ? ` (${weights[status.validation_weights] || status.validation_weights})` : ""}`],
    ["Speed", status.tokens_per_sec ? `${count(Math.round(status.tokens_per_sec))} tokens/s` : null],
    ["Model", status.model_name ? `${status.model_name}${status.method ? ` (${status.method})` : ""}` : null],
    ["Last request", status.last_command ? `${status.last_command.name}: ${status.last_command.result}, ${ago(status.last_command.at)}` : null],
    ["Last checkpoint", status.last_checkpoint ? `step ${count(status.last_checkpoint.step)}, ${ago(status.last_checkpoint.at)}` : null],
  ];
}

function machine(status) {
  const { memory, disk, gpus = [] } = status;
  const runs = status.daemon === "running";
  const grows = disk && disk.growth_bytes_per_hour > 0 ? `, grows by ${bytes(disk.growth_bytes_per_hour)} an hour` : "";
  return [
    ["Memory of the worker", runs && memory && memory.worker_rss_bytes ? bytes(memory.worker_rss_bytes) : null],
    ["Memory of the daemon", runs && memory && memory.daemon_rss_bytes ? bytes(memory.daemon_rss_bytes) : null],
    ["Memory that is free", runs && memory && memory.system_available_bytes ? bytes(memory.system_available_bytes) : null],
    ...(runs ? gpus : []).map((gpu, i) => [gpus.length > 1 ? `GPU ${i}` : "GPU", [gpu.name, `${bytes(gpu.used_bytes)} of ${bytes(gpu.total_bytes)}`, gpu.utilization_percent === null ? null : `${gpu.utilization_percent} % busy`, gpu.temperature_c === null ? null : `${gpu.temperature_c} °C`].filter(Boolean).join(", ")]),
    ["Disk used", disk ? `${bytes(disk.used_bytes)}${grows}` : null],
    ["Disk free", disk ? bytes(disk.free_bytes) : null],
    ["Disk full in", disk ? (disk.full_in_s === null ? "not foreseeable" : `about ${duration(disk.full_in_s)} at this pace`) : null],
    ["Newest backup", status.backup && status.backup.at ? ago(status.backup.at) : null],
  ];
}

/** Show facts in place: what stays the same is not touched, so that a selection stays. */
function facts(list, rows) {
  const wanted = rows.filter(([, value]) => value);
  const names = [...list.querySelectorAll("dt")].map((name) => name.textContent);
  if (names.join("\n") !== wanted.map(([name]) => name).join("\n")) fill(list, wanted.map(([name]) => [h("dt", {}, name), h("dd", {})]));
  list.querySelectorAll("dd").forEach((place, i) => setText(place, wanted[i][1]));
}

function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

function drawAlerts(place, status) {
  const warnings = new Set(status.warnings || []), error = status.last_error;
  const lines = (status.alerts || []).map((text) => [warnings.has(text) ? "warn" : "bad", `${warnings.has(text) ? "Warning" : "Error"}: ${text}`]);
  if (status.backup && status.backup.problem) lines.push(["bad", `Backup: ${status.backup.problem}`]);
  if (status.evaluation_left_out) lines.push(["warn", `Not measured: ${status.evaluation_left_out}`]);
  if (error) lines.push(["quiet", `Last error, ${time(error.at)}${error.file ? `, ${error.file}` : ""}: ${error.class}: ${error.message}`]);
  const now = JSON.stringify(lines);
  if (place.dataset.shown === now) return;
  place.dataset.shown = now;
  fill(place, lines.length ? h("ul", {}, lines.map(([kind, text]) => h("li", { class: kind }, text))) : h("p", { class: "quiet" }, "None."));
}

/** Return the buttons, which stay the same elements, so that none loses the focus. */
function makeButtons(current) {
  if (current.scope !== "control") return { element: h("p", { class: "quiet" }, "This link may only look. The one for control has buttons here."), draw() {} };
  const said = h("p", { class: "quiet", id: "answer", role: "status" });
  let asking = false, outlook = null;
  const act = async (path, question, action, { details = [], field = "Why (optional)", body = {}, dangerous = false } = {}) => {
    const reason = question === null ? "" : await ask(question, { action, field, details: details.filter(Boolean), dangerous });
    if (reason === null) return;
    asking = true;
    draw(current.status, outlook);
    setText(said, "Asking the daemon …");
    const answer = await send(path, reason ? { ...body, reason } : body);
    asking = false;
    setText(said, "");
    if (answer) note(`The daemon says: ${answer.result}`);
    draw(current.status, outlook);
  };
  const file = () => current.status.current_file || "the file";
  const left = () => (current.status.eta_s ? `The file takes about ${duration(current.status.eta_s)} more.` : null);
  const button = (id, text, onclick, kind = "") => h("button", { "data-act": id, class: kind, onclick }, text);
  const all = {
    resume: button("resume", "Resume", () => act("/api/resume", null), "main"),
    pause: button("pause", "Pause", () => act("/api/pause", "Hold training at the next step?", "Pause", { details: ["It stays paused until somebody resumes it, also across a restart."] })),
    skip: button("skip", "Skip this file", () => act("/api/skip", `Skip ${file()}?`, "Skip the file", { dangerous: true, details: [left(), "It moves to queue/skipped/, and training goes on with the next file. Steps that were taken stay in the model."] })),
    stop: button("stop", "Stop after this file", () => act("/api/stop", `Stop the daemon once ${file()} is trained?`, "Stop after the file", { details: [left(), "Until then, the stop can be taken back."] })),
    now: button("stop-now", "Stop at the next step", () => act("/api/stop", "Stop the daemon at the next step?", "Stop now", { body: { now: true }, dangerous: true, details: ["The model is saved first. The next start goes on where it was."] })),
  };
  function draw(status, found) {
    outlook = found;
    if (!status) return;
    const runs = status.daemon === "running", isStopping = status.status === "stopping", isPaused = status.status === "paused";
    const has = { resume: isPaused || isStopping, pause: !isPaused && !isStopping, skip: Boolean(status.current_file), stop: !isStopping && Boolean(status.current_file), now: true };
    setText(all.resume, isStopping ? "Take the stop back" : "Resume");
    setText(all.now, status.current_file ? "Stop at the next step" : "Stop");
    for (const [name, element] of Object.entries(all)) {
      element.hidden = !has[name];
      element.disabled = !runs || asking;
      element.title = runs ? "" : "No daemon runs that could obey.";
    }
  }
  return { element: h("div", {}, h("div", { class: "buttons", role: "group", "aria-label": "Control" }, Object.values(all)), said), draw };
}

/** Show the answers; what somebody has opened stays open. */
function drawPreviews(list, found) {
  const there = new Map([...list.children].map((item) => [item.dataset.prompt, item]));
  const items = found.map((one) => {
    const item = there.get(one.prompt) || previewOf(one.prompt);
    item.draw(one);
    return item;
  });
  if (items.length !== list.children.length || items.some((item, i) => item !== list.children[i])) fill(list, items);
}

function previewOf(prompt) {
  const where = h("p", { class: "quiet" }), text = h("pre", {}), texts = h("ol", { class: "texts" });
  const load = () => read("/api/previews/texts", { prompt, limit: 20 }).then((found) => fill(texts, found.map((one) =>
    h("li", {}, h("span", { class: "quiet" }, one.first_step === one.last_step ? `step ${count(one.last_step)}` : `steps ${count(one.first_step)} to ${count(one.last_step)}`, ended(one.ended_by)), h("pre", {}, one.text)))), () => {});
  const changes = h("details", { ontoggle: () => { if (changes.open) load(); } }, h("summary", {}, "How it has changed"), texts);
  const item = h("li", { "data-prompt": prompt }, h("h3", {}, prompt), where, text, changes);
  let shown = "";
  item.draw = (one) => {
    const now = `${one.global_step} ${one.text}`;
    if (shown === now) return;
    shown = now;
    setText(where, `step ${count(one.global_step)}, ${one.unchanged_since < one.global_step ? `the same since step ${count(one.unchanged_since)}` : "new"}${ended(one.ended_by)}`);
    setText(text, one.text);
    if (changes.open) load();
  };
  return item;
}

function ended(by) {
  return { tokens: ", cut off at its greatest length", time: ", cut off for time" }[by] || "";
}
