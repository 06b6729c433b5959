// One file: what became of it, its curve, its data report, its rows as the model sees them, its events.

import { liveCurves } from "./curves.js";
import { ask, fill, h, note, table } from "./dom.js";
import { change, weightsOf } from "./files.js";
import { bars, drawReport } from "./report.js";
import { on, read, send } from "./server.js";
import { ago, bytes, count, decimal, duration, plural, time } from "./words.js";

const REJECTED = 20;
const LEAST_WAIT_MS = 2000;
const BUSY = 429, BUSY_MS = 2000, BUSY_TRIES = 30;

const moment = (iso) => h("time", { dateTime: iso, title: iso }, `${time(iso)} (${ago(iso)})`);

export async function open(page, current, name) {
  const mayAct = current.scope !== "read";
  const heading = h("h1", {}, name);
  const facts = h("dl", { class: "facts" }), links = h("div", { class: "buttons" }), attempts = h("div", {}), curve = h("div", {}), report = h("div", {});
  const rejected = h("div", {}), lengths = h("div", {}), row = h("div", {}), events = h("div", { class: "event-list", tabIndex: 0, role: "region", "aria-label": "Events of the file" }), flags = h("div", {});
  const card = (id, title, ...children) => h("section", { class: "card wide", "aria-labelledby": id, id: `card-${id}` }, h("h2", { id }, title), children);
  let known = null, alive = true, timer = null, curves = null;

  fill(page, h("p", {}, h("a", { href: "/files" }, "← All files")), heading, h("div", { class: "cards" },
    card("facts", "What became of it", facts, links, attempts), card("curve", "Loss while it was trained", curve),
    card("report", "Data report", report), card("rejected", "Rejected rows", rejected), card("lengths", "Lengths of its rows", lengths),
    card("row", "A row as the model sees it", rowForm(), row, flags), card("events", "Events", events)));

  // ---- facts

  function drawFacts() {
    const job = known.job;
    heading.textContent = known.name;
    document.title = `${known.name} – Training monitor`;
    const rows = [
      ["state", known.state], ["place", known.place || "its file is gone"], ["why", known.reason], ["priority", known.priority],
      ...(job ? jobFacts(job) : []),
      ["ended", known.ended_at && moment(known.ended_at)],
      ["admitted", known.is_admitted ? "yes: it is trained whatever its data report says" : null],
    ];
    fill(facts, rows.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([title, value]) => [h("dt", {}, title), h("dd", {}, value)]));
    fill(links, h("a", { href: `/models?${new URLSearchParams({ forget: known.name })}`, id: "forget" }, "Have the model forget this file …"),
      known.other_jobs.length ? h("details", {}, h("summary", {}, plural(known.other_jobs.length, "other file of this name", "other files of this name")),
        h("ul", {}, known.other_jobs.slice(0, 20).map((other) => h("li", {}, h("a", { href: `/files?${new URLSearchParams({ file: other })}` }, other))))) : null);
    const tries = job ? job.every_attempt : [];
    fill(attempts, tries.length > 1 ? [h("h3", {}, "Attempts"), table([
      { title: "Number", number: true, of: (one) => count(one.number) }, { title: "Started", of: (one) => time(one.started_at) }, { title: "Ended", of: (one) => time(one.ended_at) },
      { title: "How", of: (one) => one.verdict || "–" }, { title: "Why", of: (one) => one.message || "–" }], tries, { caption: "Attempts to train this file" })] : null,
    job && job.verdicts.length ? [h("h3", {}, "What the gate found"), h("ul", {}, job.verdicts.map((one) => h("li", {}, `${one.outcome} at step ${count(one.global_step)}: ${one.reason}`)))] : null);
  }

  function jobFacts(job) {
    return [
      ["job", job.id],
      ["rows", count(job.rows) + (job.format ? ` (${job.format})` : "")],
      ["rejected rows", job.rejected_lines.length ? count(job.rejected_lines.length) : null],
      ["accepted", moment(job.accepted_at)], ["started", job.started_at && moment(job.started_at)],
      ["attempts", job.every_attempt.length ? `${count(job.every_attempt.length)}, ${job.attempts ? count(job.attempts) : "none"} counted against the file` : null],
      ["trained", job.steps ? `${plural(job.rows_trained, "row")} in ${count(job.steps)}${job.total_steps ? ` of ${count(job.total_steps)}` : ""} steps` : null],
      ["time", job.steps ? `${duration(job.seconds)}${job.tokens_per_s ? `, ${count(Math.round(job.tokens_per_s))} tokens/s` : ""}` : null],
      ["loss", job.steps ? `${decimal(job.first_loss)} in its first step, ${decimal(job.last_loss)} in its last` : null],
      ["validation loss", validation(job)],
      ["checkpoint", job.checkpoint ? job.checkpoint + (job.is_checkpoint_kept ? "" : ", which has been removed") : null],
    ];
  }

  function validation(job) {
    if (!job.before && !job.after) return null;
    const one = (found) => found ? `${decimal(found.loss)}${weightsOf(found)} at step ${count(found.global_step)}` : "not measured";
    return [`before it ${one(job.before)}, after it ${one(job.after)}: `, job.validation_change === null ? "cannot be compared" : change(job.validation_change),
      job.other_steps ? ` – ${plural(job.other_steps, "step")} of other files also had a part in this` : null];
  }

  function drawEvents() {
    const found = known.job ? known.job.events : [];
    const atEnd = events.scrollHeight - events.scrollTop - events.clientHeight < 40;
    fill(events, found.length ? [h("p", {}, h("a", { href: `/api/file/events?${new URLSearchParams({ file: name, format: "csv" })}`, download: "" }, "Download as CSV")),
      h("ol", { class: "plain" }, found.map((event) => h("li", { class: event.level === "error" ? "bad" : event.level === "warning" ? "warn" : "" }, h("time", { title: event.at, class: "quiet" }, time(event.at)), event.level === "error" || event.level === "warning" ? ` ${event.level}:` : null, " ", event.message)))]
      : h("p", { class: "quiet" }, "Nothing is noted of this file."));
    if (atEnd) events.scrollTop = events.scrollHeight;
  }

  // ---- rows

  function rowForm() {
    const line = h("input", { type: "number", min: 1, step: 1, value: 1, id: "row-line", required: true });
    const show = (by) => (event) => { event.preventDefault(); if (by) line.value = Math.max(1, Number(line.value) + by); drawRow(Number(line.value)); };
    return h("form", { class: "buttons", onsubmit: show(0) }, h("label", { htmlFor: "row-line" }, "Line"), line,
      h("button", { class: "main", id: "row-show" }, "Show"), h("button", { type: "button", id: "row-back", onclick: show(-1) }, "← Line before"), h("button", { type: "button", id: "row-on", onclick: show(1) }, "Next line →"),
      mayAct ? h("button", { type: "button", id: "row-flag", onclick: () => flag(Number(line.value)) }, "Flag this row …") : null);
  }

  let asked = 0;
  async function drawRow(line) {
    const number = ++asked;
    fill(row, h("p", { class: "quiet", role: "status" }, "Another process loads the tokenizer, which takes some seconds …"));
    for (let tried = 1; alive && number === asked; tried += 1) {
      try {
        const shown = await read("/api/file/row", { file: name, line });
        if (alive && number === asked) fill(row, shownRow(shown));
        return;
      } catch (error) {
        if (!alive || number !== asked) return;
        if (error.status !== BUSY || tried === BUSY_TRIES) { fill(row, h("p", { class: "bad" }, error.message)); return; }
        fill(row, h("p", { class: "quiet", role: "status" }, "Another row is being rendered; this one comes next …"));
        await new Promise((resolve) => setTimeout(resolve, BUSY_MS));
      }
    }
  }

  async function flag(line) {
    const why = await ask(`Flag line ${count(line)}?`, { action: "Flag", field: "What should be looked at (optional)", details: ["The row is noted with its text, to be corrected later: training_data flag. Nothing is changed."] });
    if (why === null) return;
    const answer = await send("/api/file/flag", { file: known.place || known.name, line, note: why });
    if (answer) { note(`Line ${count(line)} is flagged.`); drawFlags(); }
  }

  async function drawFlags() {
    try {
      const place = known.place ? known.place.split("/").slice(-2).join("/") : null;
      const found = place ? await read("/api/flags", { file: place, limit: 1000 }) : [];
      fill(flags, found.length ? [h("h3", {}, "Flagged rows"), table([{ title: "Line", number: true, of: (one) => count(one.line) }, { title: "Note", of: (one) => one.note || "–" }, { title: "When", of: (one) => time(one.at) }], found, { caption: "Flagged rows of this file" })] : null);
    } catch (error) { fill(flags, h("p", { class: "bad" }, error.message)); }
  }

  async function drawRejected(after = 0, before = []) {
    const found = await part(rejected, "/api/file/rejected", { after, limit: REJECTED });
    if (!found) return;
    fill(rejected, !found.rows.length ? h("p", { class: "quiet" }, "No rejected row is listed.") : [
      h("p", {}, h("a", { href: `/api/file/rejected?${new URLSearchParams({ file: name, format: "csv" })}`, download: "" }, "Download as CSV")),
      table([{ title: "Line", number: true, of: (one) => count(one.line) }, { title: "Why", of: (one) => one.reason },
        { title: "The row", of: (one) => h("pre", { tabIndex: 0, role: "region", "aria-label": `Line ${one.line}` }, one.row + (one.is_cut ? " …" : "")) }], found.rows, { caption: "Rejected rows", key: (one) => one.line }),
      h("div", { class: "buttons" }, before.length ? h("button", { onclick: () => drawRejected(before.at(-1), before.slice(0, -1)) }, "← Back") : null,
        found.next === null ? null : h("button", { onclick: () => drawRejected(found.next, [...before, after]) }, "Next →"))]);
  }

  async function drawLengths() {
    const found = await part(lengths, "/api/file/lengths");
    if (!found) return;
    fill(lengths, !found.rows ? h("p", { class: "quiet" }, "It has no rows.") : [
      h("p", {}, found.is_whole ? `All ${plural(found.rows, "row")}, by their size in the file.` : `The first ${count(found.rows)} rows, by their size in the file.`),
      bars(found.buckets.map((one) => [`${bytes(one.from_bytes)} – ${bytes(one.to_bytes)}`, one.rows]))]);
  }

  /** Read what a card shows; what cannot be read is said there. */
  async function part(place, path, parameters = {}) {
    try {
      const found = await read(path, { file: name, ...parameters });
      return alive ? found : null;
    } catch (error) {
      if (alive) fill(place, h("p", { class: "quiet" }, error.message));
      return null;
    }
  }

  async function drawReportCard() {
    const found = await part(report, "/api/file/report");
    if (found) drawReport(report, found);
  }

  function drawCurve() {
    if (curves) return; // it follows the steps by itself
    if (known.job && known.job.steps) curves = liveCurves(curve, { metrics: ["loss"], file: known.job.id });
    else fill(curve, h("p", { class: "quiet" }, "It has taken no step."));
  }

  async function refresh() {
    try { known = await read("/api/file", { file: name }); } catch (error) {
      if (alive && !known) fill(page, h("p", {}, h("a", { href: "/files" }, "← All files")), h("h1", {}, name), h("p", { class: "bad" }, error.message));
      return false;
    }
    if (!alive) return false;
    drawFacts();
    drawEvents();
    return true;
  }

  if (await refresh()) await Promise.all([drawCurve(), drawReportCard(), drawRejected(), drawLengths(), drawFlags()]);
  const soon = () => { timer ??= setTimeout(async () => { timer = null; const state = known && known.state; if (await refresh()) { drawCurve(); if (known.state !== state) { drawReportCard(); drawRejected(); } } }, LEAST_WAIT_MS); };
  const isOurs = (event) => known && (known.job ? event.job_id === known.job.id : true);
  const stops = [on("reload", soon), on("events", (found) => { if (found.some(isOurs)) soon(); }),
    on("steps", (steps) => { if (known && known.job && steps.some((one) => one.job_id === known.job.id)) soon(); })];
  return () => { alive = false; asked += 1; clearTimeout(timer); if (curves) curves.close(); stops.forEach((stop) => stop()); };
}

/** Show the tokens of a row. What is learnt is bold, green and underlined, and told so to those who hear it. */
function shownRow(shown) {
  const missing = shown.missing_turns.length ? h("p", { class: "warn" }, `Left out of every example: message ${shown.missing_turns.map((turn) => count(turn + 1)).join(", ")}.`) : null;
  return [
    h("p", {}, `Line ${count(shown.row)}: ${plural(shown.row_tokens, "token")}${shown.examples.length === 1 ? "" : `, in ${plural(shown.examples.length, "example")}`} (data.max_length ${count(shown.max_length)}, data.train_on ${shown.train_on}).`),
    h("p", {}, h("span", { class: "token learnt" }, "bold and underlined"), ": the model learns to write it; ", h("span", { class: "token context" }, "plain"), ": it only reads it; ", h("span", { class: "token quoted" }, "dotted frame"), ": a control token that is quoted, read as text."),
    shown.examples.length ? null : h("p", { class: "warn" }, "The row is dropped: it becomes no example."), missing,
    shown.examples.map((example, number) => [
      h("h3", {}, shown.examples.length > 1 ? `Example ${count(number + 1)}` : "Tokens"),
      h("p", { class: "quiet" }, `${plural(example.tokens.length, "token")}, ${count(example.supervised_tokens)} learnt${example.is_truncated ? `; ${count(example.cut_tokens)} cut off at the end` : ""}`),
      h("div", { class: "tokens", tabIndex: 0, role: "region", "aria-label": `Tokens of example ${number + 1}` }, runs(example.tokens).map((run) => h("span", { class: "run" },
        h("span", { class: "hidden" }, run.trained ? "[learnt: " : "[read: "), run.tokens.map((token) => h("span", { class: `token ${token.trained ? "learnt" : "context"}${token.quoted ? " quoted" : ""}`, title: `token ${token.id}` }, visible(token.text))), h("span", { class: "hidden" }, "]"))))]),
  ];
}

/** Tokens one after the other that are learnt, or are not. */
function runs(tokens) {
  const found = [];
  for (const token of tokens) {
    if (!found.length || found.at(-1).trained !== token.trained) found.push({ trained: token.trained, tokens: [] });
    found.at(-1).tokens.push(token);
  }
  return found;
}

/** Text with what nobody would see, or what would turn the line around, written out. */
function visible(text) {
  return text.replace(/\n/g, "↵\n").replace(/\t/g, "→\t").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200c\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
