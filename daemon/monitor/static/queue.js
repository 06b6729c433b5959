// The page Queue: what waits, runs and has ended, by folder; files are moved, put back, added.

import { ask, fill, h, note, table } from "./dom.js";
import { findings } from "./report.js";
import { on, read, send } from "./server.js";
import * as upload from "./upload.js";
import { ago, bytes, count, plural, time } from "./words.js";

const FOLDERS = [
  ["inbox", "Inbox", "Files that were dropped in, and are not accepted yet."],
  ["high", "High", "Waiting, trained first."],
  ["normal", "Normal", "Waiting."],
  ["low", "Low", "Waiting, trained last."],
  ["processing", "Processing", "Being trained, or started and to go on."],
  ["failed", "Failed", "Not trained to the end; each with the reason."],
  ["skipped", "Skipped", "Left out because somebody wanted it, or because their content was trained before."],
  ["recently_completed", "Completed", "Trained, the last one first."],
  ["trash", "Trash", "Cleared away. They can be put back."],
];
const WAITING = ["high", "normal", "low"];
const TITLES = Object.fromEntries(FOLDERS);
const LIMIT = 100;
const LEAST_WAIT_MS = 1500, REST = 50; // after an answer that took long, it is left alone for as many times as long

/** Where files of a folder can go: [target, words]. */
function targets(folder) {
  if (WAITING.includes(folder)) return [...WAITING.filter((other) => other !== folder).map((other) => [other, `${TITLES[other]} priority`]), ["skipped", "Skipped (take out of the queue)"]];
  const back = [["back", "The queue again, with its earlier priority"], ...WAITING.map((other) => [other, `The queue again, with ${other} priority`])];
  if (folder === "failed" || folder === "skipped") return [...back, ["trash", "Trash"]];
  return folder === "trash" ? back : [];
}

/** What moving files from a folder to a target means for the server. */
function actOf(folder, target) {
  if (!targets(folder).some(([offered]) => offered === target)) return null;
  if (WAITING.includes(folder)) return target === "skipped" ? { act: "remove" } : { act: "priority", priority: target };
  if (target === "trash") return { act: "clear" };
  return { act: "retry", priority: target === "back" ? null : target };
}

export async function open(page, current) {
  const mayAct = current.scope !== "read";
  const selected = new Map(); // place -> file
  const rows = new Map(); // place -> row
  let folder = new URLSearchParams(location.search).get("folder");
  let counts = {}, cursors = [""], next = null, last = null; // last: the row that was chosen last, for ranges
  let alive = true, busy = false, again = false, timer = null;

  const tabs = h("div", { class: "tabs", role: "group", "aria-label": "Folders of the queue" });
  const about = h("p", { class: "quiet", id: "folder-about" });
  const search = h("input", { type: "search", id: "queue-search", autocomplete: "off", oninput: () => { cursors = [""]; soon(300); } });
  const everything = h("input", { type: "checkbox", id: "select-all", "aria-label": "Select all on this page", onchange: () => chooseAll(everything.checked) });
  const chosen = h("span", { id: "selected", "aria-live": "polite" });
  const moveTo = h("select", { id: "move-to", "aria-label": "Move what is selected to" });
  const move = h("button", { id: "move", onclick: () => moveFiles([...selected.keys()], moveTo.value) }, "Move");
  const admit = h("button", { id: "admit", onclick: () => admitFile([...selected.keys()][0]) }, "Admit …");
  const whole = h("div", { class: "buttons", id: "whole-folder" });
  const results = h("div", { id: "results", role: "status" });
  const body = h("tbody", {});
  const headings = h("tr", {});
  const frame = h("div", { class: "table-frame", tabIndex: 0, role: "region", "aria-label": "Files of the folder" },
    h("table", { class: "queue" }, h("caption", { class: "hidden" }, "Files of the folder"), h("thead", {}, headings), body));
  const empty = h("p", { class: "quiet", id: "queue-empty" });
  const previous = h("button", { id: "previous", onclick: () => { cursors.pop(); refresh(); } }, "← Back");
  const following = h("button", { id: "next", onclick: () => { cursors.push(next); refresh(); } }, "Next →");
  const where = h("span", { id: "where", class: "quiet" });
  const download = h("a", { id: "csv", download: "" }, "Download as CSV");
  const uploads = h("div", { id: "upload-list" });
  const priority = h("select", { id: "upload-priority" }, WAITING.map((name) => h("option", { value: name, selected: name === "normal" }, TITLES[name])));
  const chooser = h("input", { type: "file", multiple: true, id: "upload-files", class: "hidden", tabIndex: -1, "aria-hidden": "true", onchange: () => { upload.add([...chooser.files], priority.value); chooser.value = ""; } });

  fill(page, h("h1", {}, "Queue"),
    mayAct ? h("section", { class: "card", "aria-labelledby": "adding", id: "drop-zone" }, h("h2", { id: "adding" }, "Add files"),
      h("div", { class: "buttons" }, h("button", { class: "main", id: "choose", onclick: () => chooser.click() }, "Choose files …"), chooser,
        h("label", { htmlFor: "upload-priority" }, "Priority"), priority,
        h("span", { class: "quiet" }, "or drop them anywhere on this page: JSON Lines, or tables such as CSV and Parquet.")), uploads) : null,
    h("section", { class: "card", "aria-labelledby": "folders" }, h("h2", { id: "folders" }, "Files"), tabs, about,
      h("div", { class: "buttons" }, h("label", { htmlFor: "queue-search" }, "Search names"), search, whole, download),
      mayAct ? h("div", { class: "buttons", id: "acts" }, chosen, moveTo, move, admit) : null,
      results, frame, empty, h("div", { class: "buttons" }, previous, following, where)));

  // ---- folders

  function drawTabs() {
    if (!tabs.childElementCount) fill(tabs, FOLDERS.map(([name, title, words]) => h("button", {
      "data-folder": name, title: words, onclick: () => go(name),
      ondragover: (event) => { if (event.dataTransfer.types.includes("text/x-queue") && name !== folder) { event.preventDefault(); event.currentTarget.classList.add("over"); } },
      ondragleave: (event) => event.currentTarget.classList.remove("over"),
      ondrop: (event) => {
        event.currentTarget.classList.remove("over");
        const given = event.dataTransfer.getData("text/x-queue");
        if (!given) return;
        event.preventDefault();
        event.stopPropagation();
        moveFiles(JSON.parse(given), name);
      },
    }, h("span", {}, title), " ", h("span", { class: "count" }))));
    for (const tab of tabs.children) {
      const number = counts[tab.dataset.folder];
      tab.setAttribute("aria-pressed", String(tab.dataset.folder === folder));
      tab.querySelector(".count").textContent = number === undefined ? "" : count(number);
      tab.classList.toggle("alarm", tab.dataset.folder === "failed" && number > 0);
    }
  }

  function go(name) {
    folder = name;
    cursors = [""];
    search.value = "";
    selected.clear();
    last = null;
    fill(results);
    history.replaceState(null, "", `/queue?folder=${name}`);
    drawFolder();
    refresh();
  }

  function drawFolder() {
    drawTabs();
    about.textContent = FOLDERS.find(([name]) => name === folder)[2];
    const canMove = mayAct && targets(folder).length > 0;
    fill(moveTo, h("option", { value: "" }, "Move to …"), targets(folder).map(([target, words]) => h("option", { value: target }, words)));
    const hasReasons = ["inbox", "failed", "skipped", "trash"].includes(folder);
    fill(headings, canMove ? h("th", { scope: "col", class: "box" }, everything) : null,
      ["File", "State"].map((title) => h("th", { scope: "col" }, title)),
      hasReasons ? h("th", { scope: "col" }, "Why") : h("th", { scope: "col", class: "number" }, "Rows"),
      h("th", { scope: "col", class: "number" }, "Size"), h("th", { scope: "col" }, ["failed", "skipped", "recently_completed", "trash"].includes(folder) ? "Ended" : "Accepted"));
    fill(whole, wholeFolder());
    rows.clear();
    fill(body);
    drawSelection();
  }

  function wholeFolder() {
    if (!mayAct) return [];
    const all = async (question, details, action, path, answerOf, what) => {
      if (await ask(question, { details, action, dangerous: true }) === null) return;
      const answer = await send(path, what);
      if (answer) { note(answerOf(answer)); refresh(); }
    };
    const number = () => plural(counts[folder] || 0, "file");
    const buttons = [];
    if (folder === "failed") buttons.push(h("button", { id: "retry-all", onclick: () => all(`Retry all ${number()} that failed?`, ["Each waits again with the priority it had, and is checked anew."], "Retry all", "/api/queue/retry-failed", (names) => `${plural(names.length, "file waits", "files wait")} again.`, {}) }, "Retry all"));
    if (folder === "failed" || folder === "skipped") buttons.push(h("button", { id: "clear-all", onclick: () => all(`Move all ${number()} to the trash?`, ["They can be put back from there."], "Clear all", "/api/queue/clear", (found) => `${plural(found.moved.length, "file was", "files were")} moved to the trash.`, { outcome: folder }) }, "Clear all to the trash"));
    return buttons;
  }

  // ---- rows: each stays as long as its file, so that no focus is lost

  function rowOf(file) {
    const canMove = mayAct && targets(folder).length > 0;
    const box = h("input", { type: "checkbox", "aria-label": `Select ${file.name}`, onclick: (event) => choose(file.place, box.checked, event.shiftKey), onkeydown: (event) => step(event, file.place) });
    const cells = h("td", { "data-title": "File" }), state = h("td", { "data-title": "State" }), third = h("td", { "data-title": "Why" }), size = h("td", { class: "number", "data-title": "Size" }), at = h("td", { "data-title": "When" });
    const element = h("tr", { "data-key": file.place, draggable: canMove }, canMove ? h("td", { class: "box" }, box) : null, cells, state, third, size, at);
    element.addEventListener("dragstart", (event) => {
      const places = selected.has(file.place) ? [...selected.keys()] : [file.place];
      event.dataTransfer.setData("text/x-queue", JSON.stringify(places));
      event.dataTransfer.setData("text/plain", plural(places.length, "file"));
      event.dataTransfer.effectAllowed = "move";
    });
    let drawn = "";
    const update = (newer) => {
      const text = JSON.stringify(newer);
      if (text === drawn) return;
      drawn = text;
      fill(cells, nameOf(newer), actsOf(newer));
      const where = newer.state === "dropped" ? (newer.reason ? "is not accepted" : "to be accepted") : newer.state;
      state.textContent = newer.priority && folder === "inbox" ? `${where} (${newer.priority})` : where;
      const isReason = ["inbox", "failed", "skipped", "trash"].includes(folder);
      third.className = isReason ? "reason" : "number";
      third.textContent = isReason ? newer.reason || "–" : newer.rows === null ? "–" : `${count(newer.rows)}${newer.format ? ` ${newer.format}` : ""}`;
      size.textContent = bytes(newer.bytes);
      fill(at, newer.at ? h("time", { dateTime: newer.at, title: newer.at }, time(newer.at)) : "–");
    };
    return { element, box, update, file };
  }

  const nameOf = (file) => h("a", { href: `/files?${new URLSearchParams({ file: file.job || file.place })}`, draggable: false }, file.name);

  function actsOf(file) {
    const status = current.status;
    if (!mayAct || folder !== "processing" || !status) return null;
    if (status.daemon === "running") return status.current_file !== file.name ? null : h("button", { class: "small", onclick: () => skip(file) }, "Skip");
    return h("button", { class: "small", onclick: () => act([file.place], { act: "remove" }, `Take ${file.name} out of the queue?`, ["It was started. It goes to Skipped, from where it can be put back."]) }, "Remove");
  }

  async function skip(file) {
    const reason = await ask(`Skip ${file.name}?`, { action: "Skip", field: "Why (optional)", details: ["It is being trained. It goes to Skipped; what the model has learnt from it stays."] });
    if (reason === null) return;
    const answer = await send("/api/skip", reason ? { reason } : {});
    if (answer) note(answer.result);
  }

  function drawRows(files) {
    const wanted = new Set(files.map((file) => file.place));
    for (const [place, row] of rows) if (!wanted.has(place)) { row.element.remove(); rows.delete(place); }
    let before = null;
    for (const file of files) {
      if (!rows.has(file.place)) rows.set(file.place, rowOf(file));
      const row = rows.get(file.place);
      row.file = file;
      row.update(file);
      const expected = before ? before.nextSibling : body.firstChild;
      if (row.element !== expected) body.insertBefore(row.element, expected);
      before = row.element;
    }
    frame.hidden = !files.length;
    empty.hidden = files.length > 0;
    empty.textContent = search.value ? "No file here has this in its name." : "There is no file here.";
    drawSelection();
  }

  // ---- selection

  const places = () => [...body.children].map((element) => element.dataset.key);

  function choose(place, isChosen, isRange) {
    const shown = places();
    const range = isRange && last !== null && shown.includes(last) ? shown.slice(Math.min(shown.indexOf(last), shown.indexOf(place)), Math.max(shown.indexOf(last), shown.indexOf(place)) + 1) : [place];
    for (const one of range) {
      if (isChosen) selected.set(one, rows.get(one).file);
      else selected.delete(one);
    }
    last = place;
    drawSelection();
  }

  function chooseAll(isChosen) {
    for (const place of places()) {
      if (isChosen) selected.set(place, rows.get(place).file);
      else selected.delete(place);
    }
    drawSelection();
  }

  /** Arrows go from box to box; with Shift they select on the way. */
  function step(event, place) {
    if (event.key === "a" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); chooseAll(true); return; }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    const shown = places(), other = shown[shown.indexOf(place) + (event.key === "ArrowDown" ? 1 : -1)];
    if (!other) return;
    if (event.shiftKey) { selected.set(place, rows.get(place).file); selected.set(other, rows.get(other).file); last = other; drawSelection(); }
    rows.get(other).box.focus();
  }

  function drawSelection() {
    let onPage = 0;
    for (const [place, row] of rows) {
      const isChosen = selected.has(place);
      onPage += isChosen;
      row.box.checked = isChosen;
      row.element.setAttribute("aria-selected", String(isChosen));
    }
    everything.checked = onPage > 0 && onPage === rows.size;
    everything.indeterminate = onPage > 0 && onPage < rows.size;
    const canMove = targets(folder || "").length > 0;
    chosen.textContent = !canMove ? "" : selected.size ? `${plural(selected.size, "file")} selected` : "Nothing selected";
    moveTo.hidden = move.hidden = !canMove;
    moveTo.disabled = move.disabled = !selected.size;
    admit.hidden = folder !== "failed" && folder !== "skipped";
    admit.disabled = selected.size !== 1;
    admit.title = "Train a file that was refused because of its data report: select one";
  }

  // ---- acts

  async function moveFiles(names, target) {
    if (!target) { note("Say where to: choose from the list beside the button.", "bad"); return; }
    const what = actOf(folder, target);
    if (!what) { note(`Files in ${TITLES[folder]} cannot be moved to ${TITLES[target] || target}.`, "bad"); return; }
    const words = plural(names.length, "file");
    if (what.act === "remove") await act(names, what, `Take ${words} out of the queue?`, ["They are not trained, and go to Skipped, from where they can be put back.", ...sample(names)]);
    else if (what.act === "clear") await act(names, what, `Move ${words} to the trash?`, ["They can be put back from there.", ...sample(names)]);
    else await act(names, what);
  }

  const sample = (names) => [names.slice(0, 5).join(", ") + (names.length > 5 ? `, and ${count(names.length - 5)} more` : "")];

  async function act(names, what, question = null, details = []) {
    if (question && await ask(question, { details, action: what.act === "remove" ? "Take out" : "Move", dangerous: true }) === null) return;
    const answers = [];
    for (let start = 0; start < names.length; start += 1000) {
      const answer = await send("/api/queue/act", { ...what, files: names.slice(start, start + 1000) });
      if (!answer) break;
      answers.push(...answer);
    }
    if (!alive || !answers.length) return;
    for (const answer of answers) selected.delete(answer.file); // also those refused: they may be gone
    drawResults(answers);
    refresh();
  }

  function drawResults(answers) {
    const refused = answers.filter((answer) => !answer.is_done), done = answers.length - refused.length;
    if (done) note(done === 1 ? answers.find((answer) => answer.is_done).message : `${plural(done, "file")}: done.`);
    if (!refused.length) { fill(results); return; }
    fill(results, h("p", { class: "bad" }, `${plural(refused.length, "file was", "files were")} refused${done ? `, ${count(done)} done` : ""}:`),
      table([{ title: "File", of: (answer) => answer.file }, { title: "Why", of: (answer) => answer.message }], refused, { caption: "Files that were refused" }),
      h("button", { onclick: () => fill(results) }, "Close"));
  }

  async function admitFile(place) {
    const file = selected.get(place);
    let report = null, why = "";
    try { report = await read("/api/file/report", { file: place }); } catch (error) { why = error.message; }
    const shown = report ? findings(report) : h("p", { class: "quiet" }, why);
    const question = `Train ${file.name} whatever its data report says?`;
    const answer = ask(question, { action: "Admit and retry", dangerous: true, details: ["Its content counts as admitted from then on, whatever it is called. It waits again with the priority it had."] });
    const form = document.querySelector("dialog[open] form");
    if (form) form.querySelector(".buttons").before(h("h3", {}, "Its data report"), shown);
    if (await answer !== null) await act([place], { act: "admit" });
  }

  // ---- reading

  async function refresh() {
    clearTimeout(timer);
    timer = null;
    if (busy) { again = true; return; }
    busy = true;
    const began = performance.now(), asked = folder;
    try {
      counts = await read("/api/queue");
      if (!folder) { folder = ["processing", ...WAITING, "inbox", "failed"].find((name) => counts[name]) || "normal"; drawFolder(); }
      const wanted = folder, after = cursors.at(-1);
      const found = await read("/api/queue/files", { folder: wanted, after, limit: LIMIT, search: search.value });
      if (alive && wanted === folder && after === cursors.at(-1)) {
        next = found.next;
        if (!found.files.length && cursors.length > 1) { cursors.pop(); again = true; }
        drawTabs();
        drawRows(found.files);
        drawPager(found.files.length);
      } else again = true;
    } catch (error) {
      if (alive) { frame.hidden = true; empty.hidden = false; empty.textContent = error.message; }
    }
    busy = false;
    lastTook = performance.now() - began;
    if (alive && (again || asked !== folder && asked)) { again = false; refresh(); }
  }
  let lastTook = 0;

  function drawPager(shown) {
    const first = (cursors.length - 1) * LIMIT + 1;
    previous.hidden = cursors.length === 1;
    following.hidden = next === null;
    where.textContent = shown ? `${count(first)} to ${count(first + shown - 1)}${search.value ? "" : ` of ${count(Math.max(counts[folder] || 0, first + shown - 1))}`}` : "";
    download.href = `/api/queue/files?${new URLSearchParams({ folder, search: search.value, format: "csv" })}`;
  }

  /** Read anew in a while, at the latest after as long as it takes for this to cost next to nothing. */
  function soon(wait = Math.max(LEAST_WAIT_MS, REST * lastTook)) {
    if (timer === null || wait < LEAST_WAIT_MS) { clearTimeout(timer); timer = setTimeout(refresh, wait); }
  }

  if (folder && !TITLES[folder]) folder = null;
  if (folder) drawFolder();
  else drawTabs();
  drawSelection();
  await refresh();
  const stops = [on("queue", () => soon()), on("events", () => soon()), on("reload", () => refresh()),
    on("status", (status) => {
      if (status.daemon !== "running" || !status.queue) return;
      Object.assign(counts, status.queue);
      drawTabs();
    })];
  if (mayAct) stops.push(upload.draw(uploads), upload.acceptDrops(page, () => priority.value), upload.watch(() => soon()));
  return () => { alive = false; clearTimeout(timer); stops.forEach((stop) => stop()); };
}
