// Sends files to the inbox one after the other, in the background of whatever page is shown.
// What broke off goes on where it was: the server says how much it has.

import { fill, h, note } from "./dom.js";
import { read, send } from "./server.js";
import { bytes, duration } from "./words.js";

const FIRST_WAIT_MS = 1000, LONGEST_WAIT_MS = 30000;
const MOST_FAILURES = 20; // one after the other, without a byte in between

const items = []; // those that wait, run, or have ended while this tab is open
const watchers = new Set();
let isRunning = false;

/** Call `act` whenever something about the uploads has changed. Returns how to stop. */
export function watch(act) {
  watchers.add(act);
  return () => watchers.delete(act);
}

function tell() { for (const act of watchers) act(); }

/** Add files (from a chooser or a drop) to those that are to be sent. */
export function add(files, priority) {
  for (const file of files) {
    if (!items.some((item) => isOpen(item) && item.file.name === file.name && item.file.size === file.size && item.priority === priority)) {
      items.push({ file, priority, state: "waits", sent: 0, message: "", id: idOf(file, priority), startedAt: 0, startedFrom: 0, request: null });
    }
  }
  tell();
  run();
}

const isOpen = (item) => item.state === "waits" || item.state === "runs";
const keyOf = (file, priority) => `upload:${priority}:${file.size}:${file.lastModified}:${file.name}`;

/** By which the server knows it again, also after this page was loaded anew. */
function idOf(file, priority) {
  const key = keyOf(file, priority);
  const id = recall(key) || [...crypto.getRandomValues(new Uint8Array(12))].map((number) => number.toString(16).padStart(2, "0")).join("");
  try { localStorage.setItem(key, id); } catch { /* without it, it begins anew after the page was loaded anew */ }
  return id;
}

function recall(key) { try { return localStorage.getItem(key); } catch { return null; } }
function forget(item) { try { localStorage.removeItem(keyOf(item.file, item.priority)); } catch { /* nothing was kept */ } }

async function run() {
  if (isRunning) return;
  isRunning = true;
  addEventListener("beforeunload", warn);
  let item;
  while ((item = items.find((other) => other.state === "waits"))) {
    item.state = "runs";
    tell();
    try { await sendWhole(item); } catch (error) { if (isOpen(item)) Object.assign(item, { state: "failed", message: error.message }); }
    tell();
  }
  removeEventListener("beforeunload", warn);
  isRunning = false;
}

function warn(event) { event.preventDefault(); }

const parametersOf = (item) => ({ size: item.file.size, priority: item.priority, id: item.id });
const addressOf = (item) => `/api/uploads/${encodeURIComponent(item.file.name)}`;

async function sendWhole(item) {
  let failures = 0, wait = FIRST_WAIT_MS;
  while (item.state === "runs") {
    const before = item.sent;
    try {
      let found = await read(addressOf(item), parametersOf(item));
      item.sent = found.received;
      if (found.added_as === null) found = await sendRest(item);
      if (found.added_as !== null) {
        forget(item);
        Object.assign(item, { state: "done", sent: item.file.size, message: found.rows === null ? `is in the inbox as ${found.added_as}` : `was converted, and is in the inbox as ${found.added_as} with ${found.rows} rows` });
        return;
      }
    } catch (error) {
      if (item.state !== "runs") return;
      const isPassing = !error.status || [408, 409, 429, 502, 503, 504].includes(error.status);
      failures = item.sent > before ? 1 : failures + 1;
      if (item.sent > before) wait = FIRST_WAIT_MS;
      if (!isPassing || failures >= MOST_FAILURES) throw error;
      item.message = error.status ? error.message : `The connection broke; it goes on in ${duration(wait / 1000)}.`;
      tell();
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(2 * wait, LONGEST_WAIT_MS);
      item.message = "";
    }
  }
}

/** Send what the server does not have yet. Not by fetch, which does not say how far it is. */
function sendRest(item) {
  return new Promise((resolve, reject) => {
    const from = item.sent, request = new XMLHttpRequest();
    Object.assign(item, { request, startedAt: Date.now(), startedFrom: from });
    request.open("PUT", `${addressOf(item)}?${new URLSearchParams({ ...parametersOf(item), offset: from })}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => { item.sent = from + event.loaded; tell(); };
    request.onload = () => {
      if (request.status === 200) resolve(request.response);
      else reject(Object.assign(new Error((request.response && request.response.error) || `The server answered ${request.status}.`), { status: request.status }));
    };
    request.onerror = request.onabort = () => reject(new Error("The connection broke."));
    request.send(item.file.slice(from));
  });
}

async function cancel(item) {
  if (item.state === "failed") items.splice(items.indexOf(item), 1);
  item.state = "cancelled";
  if (item.request) item.request.abort();
  forget(item);
  tell();
  if (item.sent) await send(`${addressOf(item)}/cancel`, parametersOf(item)); // a name that is refused has no address
}

function again(item) {
  Object.assign(item, { state: "waits", message: "" });
  tell();
  run();
}

/** Draw the uploads, and keep them up to date: rows stay, so that no button is lost under the pointer. */
export function draw(place) {
  const rows = new Map();
  const clear = h("button", { id: "uploads-clear", onclick: () => { for (const item of items.filter((other) => !isOpen(other))) items.splice(items.indexOf(item), 1); tell(); } }, "Clear what has ended");
  const list = h("ul", { class: "uploads", id: "uploads" });
  const update = () => {
    for (const [item, row] of rows) if (!items.includes(item)) { row.element.remove(); rows.delete(item); }
    for (const item of items) {
      if (!rows.has(item)) { const row = rowOf(item); rows.set(item, row); list.append(row.element); }
      rows.get(item).update();
    }
    place.hidden = !items.length;
    clear.hidden = !items.some((item) => !isOpen(item));
  };
  fill(place, h("h3", {}, "Uploads"), list, clear);
  update();
  return watch(update);
}

const STATES = { waits: "waits for those before it", runs: "", done: "", failed: "failed", cancelled: "cancelled" };

function rowOf(item) {
  const bar = h("progress", { max: Math.max(1, item.file.size), "aria-label": `How much of ${item.file.name} is sent` });
  const words = h("span", {}), message = h("span", {});
  const stop = h("button", { onclick: () => cancel(item), "aria-label": `Cancel ${item.file.name}` }, "Cancel");
  const retry = h("button", { onclick: () => again(item), "aria-label": `Try ${item.file.name} again` }, "Try again");
  const element = h("li", { "data-upload": item.file.name }, h("strong", {}, item.file.name), " ", words, bar, " ", message, h("span", { class: "buttons" }, stop, retry));
  const update = () => {
    const seconds = (Date.now() - item.startedAt) / 1000;
    const speed = item.state === "runs" && seconds > 1 ? (item.sent - item.startedFrom) / seconds : 0;
    const left = speed > 0 ? `, ${bytes(speed)}/s, ${duration((item.file.size - item.sent) / speed)} left` : "";
    const whole = item.state === "runs" && item.sent >= item.file.size && item.file.size > 0;
    words.textContent = item.state === "done" ? `${bytes(item.file.size)}, ${item.priority} priority:`
      : `${bytes(item.sent)} of ${bytes(item.file.size)}${left}, ${item.priority} priority${whole ? "; the server takes it in …" : ""}`;
    bar.value = item.sent;
    bar.hidden = item.state === "done" || item.state === "cancelled";
    message.textContent = [STATES[item.state], item.message].filter(Boolean).join(": ");
    message.className = item.state === "failed" ? "bad" : item.state === "done" ? "good" : "quiet";
    stop.textContent = item.state === "failed" ? "Remove" : "Cancel";
    stop.hidden = !isOpen(item) && item.state !== "failed";
    retry.hidden = item.state !== "failed";
  };
  return { element, update };
}

/** Take files that are dropped anywhere on a page. Returns how to stop. */
export function acceptDrops(page, priority) {
  const hasFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  const over = (event) => { if (hasFiles(event)) { event.preventDefault(); event.dataTransfer.dropEffect = "copy"; page.classList.add("drop"); } };
  const leave = (event) => { if (!event.relatedTarget) page.classList.remove("drop"); };
  const drop = (event) => {
    page.classList.remove("drop");
    if (!hasFiles(event)) return;
    event.preventDefault();
    const files = [...event.dataTransfer.items || []].filter((item) => item.kind === "file" && !(item.webkitGetAsEntry && item.webkitGetAsEntry() && item.webkitGetAsEntry().isDirectory)).map((item) => item.getAsFile());
    if (files.length) add(files, priority());
    else note("Drop files, not folders.", "bad");
  };
  document.addEventListener("dragover", over);
  document.addEventListener("dragleave", leave);
  document.addEventListener("drop", drop);
  return () => {
    document.removeEventListener("dragover", over);
    document.removeEventListener("dragleave", leave);
    document.removeEventListener("drop", drop);
    page.classList.remove("drop");
  };
}
