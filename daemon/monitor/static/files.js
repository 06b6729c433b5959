// The page Files: what was trained, with what each file has brought; and one file with all that is known of it.

import { fill, h } from "./dom.js";
import { on, read } from "./server.js";
import { count, decimal, duration, time } from "./words.js";

const LIMIT = 50;
const STATES = [["all", "all"], ["completed", "completed"], ["failed", "failed"], ["skipped", "skipped"]];
const LEAST_WAIT_MS = 2000, REST = 50;

export async function open(page, current) {
  const wanted = new URLSearchParams(location.search).get("file");
  return wanted ? (await import("./file.js")).open(page, current, wanted) : list(page);
}

/** Whose validation losses these are, as words behind a number. */
export function weightsOf(validation) {
  return validation.weights === "average" ? " (averaged weights)" : "";
}

/** A change, with a sign and with words: a lower loss is better. */
export function change(number) {
  if (number === null || number === undefined) return "–";
  const words = number < 0 ? "better" : number > 0 ? "worse" : "the same";
  return h("span", { class: number < 0 ? "good" : number > 0 ? "bad" : "" }, `${number > 0 ? "+" : number < 0 ? "−" : ""}${decimal(Math.abs(number))} (${words})`);
}

const COLUMNS = [
  ["File", "", (file) => h("a", { href: `/files?${new URLSearchParams({ file: file.job })}` }, file.name)],
  ["State", "", (file) => file.reason ? h("details", {}, h("summary", {}, file.state), file.reason) : file.state],
  ["Ended", "", (file) => h("time", { title: file.finished_at || "" }, time(file.finished_at))],
  ["Rows", "number", (file) => file.rows_trained === file.rows ? count(file.rows) : `${count(file.rows_trained)} of ${count(file.rows)}`],
  ["Steps", "number", (file) => count(file.steps)],
  ["Tokens/s", "number", (file) => file.tokens_per_s === null ? "–" : count(Math.round(file.tokens_per_s))],
  ["Time", "number", (file) => file.steps ? duration(file.seconds) : "–"],
  ["Loss, first → last step", "number", (file) => file.steps ? `${decimal(file.first_loss)} → ${decimal(file.last_loss)}` : "–"],
  ["Validation loss, before → after", "number", (file) => file.before || file.after ? [`${file.before ? decimal(file.before.loss) + weightsOf(file.before) : "–"} → ${file.after ? decimal(file.after.loss) + weightsOf(file.after) : "–"}`, h("br"), change(file.validation_change)] : "–"],
  ["Checkpoint", "", (file) => file.checkpoint ? file.checkpoint + (file.is_checkpoint_kept ? "" : " (removed)") : "–"],
];

async function list(page) {
  const given = new URLSearchParams(location.search);
  const rows = new Map(); // job -> {element, update}
  let cursors = [""], next = null, alive = true, timer = null, took = 0, asking = 0;

  const search = h("input", { type: "search", id: "files-search", autocomplete: "off", value: given.get("search") || "", oninput: () => anew(300) });
  const state = h("select", { id: "files-state", onchange: () => anew(0) }, STATES.map(([value, words]) => h("option", { value, selected: value === given.get("state") }, words)));
  const download = h("a", { id: "csv", download: "" }, "Download as CSV");
  const body = h("tbody", {});
  const frame = h("div", { class: "table-frame", tabIndex: 0, role: "region", "aria-label": "Files that have ended" }, h("table", { class: "files" },
    h("caption", { class: "hidden" }, "Files that have ended, the last one first"),
    h("thead", {}, h("tr", {}, COLUMNS.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))), body));
  const empty = h("p", { class: "quiet", id: "files-empty" });
  const previous = h("button", { id: "previous", onclick: () => { cursors.pop(); refresh(); } }, "← Later files");
  const following = h("button", { id: "next", onclick: () => { cursors.push(next); refresh(); } }, "Earlier files →");
  const where = h("span", { class: "quiet" });

  fill(page, h("h1", {}, "Files"), h("section", { class: "card", "aria-labelledby": "past" }, h("h2", { id: "past" }, "What was trained"),
    h("p", { class: "quiet" }, "Files that have ended, the last one first. What waits is on the page ", h("a", { href: "/queue" }, "Queue"), ", also what was refused before it was accepted."),
    h("div", { class: "buttons" }, h("label", { htmlFor: "files-search" }, "Search names"), search, h("label", { htmlFor: "files-state" }, "Show"), state, download),
    frame, empty, h("div", { class: "buttons" }, previous, following, where)));

  function anew(wait) {
    cursors = [""];
    const query = new URLSearchParams(Object.entries({ search: search.value, state: state.value === "all" ? "" : state.value }).filter(([, value]) => value));
    history.replaceState(null, "", query.size ? `/files?${query}` : "/files");
    clearTimeout(timer);
    timer = setTimeout(refresh, wait);
  }

  function rowOf() {
    const cells = COLUMNS.map(([title, kind]) => h("td", { class: kind, "data-title": title }));
    let drawn = "";
    const update = (file) => {
      const text = JSON.stringify(file);
      if (text === drawn) return;
      drawn = text;
      COLUMNS.forEach(([, , of], place) => fill(cells[place], of(file)));
    };
    return { element: h("tr", {}, cells), update };
  }

  function draw(files) {
    const wanted = new Set(files.map((file) => file.job));
    for (const [job, row] of rows) if (!wanted.has(job)) { row.element.remove(); rows.delete(job); }
    let before = null;
    for (const file of files) {
      if (!rows.has(file.job)) { const row = rowOf(); row.element.dataset.key = file.job; rows.set(file.job, row); }
      const row = rows.get(file.job);
      row.update(file);
      const expected = before ? before.nextSibling : body.firstChild;
      if (row.element !== expected) body.insertBefore(row.element, expected);
      before = row.element;
    }
    frame.hidden = !files.length;
    empty.hidden = files.length > 0;
    empty.textContent = search.value || state.value !== "all" ? "No file fits." : "No file has ended yet.";
    previous.hidden = cursors.length === 1;
    following.hidden = next === null;
    where.textContent = files.length && (cursors.length > 1 || next !== null) ? `page ${count(cursors.length)}` : "";
    download.href = `/api/files?${new URLSearchParams({ state: state.value, search: search.value, format: "csv" })}`;
  }

  async function refresh() {
    clearTimeout(timer);
    timer = null;
    const number = ++asking, began = performance.now();
    try {
      const found = await read("/api/files", { state: state.value, search: search.value, after: cursors.at(-1), limit: LIMIT });
      if (!alive || number !== asking) return;
      next = found.next;
      draw(found.files);
    } catch (error) {
      if (alive && number === asking) { frame.hidden = true; empty.hidden = false; empty.textContent = error.message; }
    }
    took = performance.now() - began;
  }

  await refresh();
  const soon = () => { timer ??= setTimeout(refresh, Math.max(LEAST_WAIT_MS, REST * took)); };
  const changing = /^(completed|failed|skipped|checkpoint|validat|went_back|forgot)/;
  const stops = [on("reload", refresh), on("events", (events) => { if (events.some((event) => changing.test(event.kind))) soon(); })];
  return () => { alive = false; clearTimeout(timer); stops.forEach((stop) => stop()); };
}
