// Talks to the monitor: documents, requests, and the stream of changes.

import { note } from "./dom.js";

export class Refused extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

async function answerOf(response) {
  const type = response.headers.get("content-type") || "";
  const document = type.includes("json") ? await response.json() : await response.text();
  if (!response.ok) throw new Refused(document.error || `${response.status} ${response.statusText}`, response.status);
  return document;
}

/** Read a document. parameters: those that are null or undefined are left out. */
export async function read(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined));
  return answerOf(await fetch(query.size ? `${path}?${query}` : path, { headers: { Accept: "application/json" } }));
}

/** Send a request that changes something; what is refused is shown, and null returned. */
export async function send(path, body = {}) {
  try {
    return await answerOf(await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));
  } catch (error) {
    note(error.message || "The monitor cannot be reached.", "bad");
    return null;
  }
}

const listeners = new Map(); // kind -> set of functions
let source = null;
let opened = 0;

/** Call `act` with each change of a kind (status, steps, events, queue, models, tasks, settings, log, reload, connection). Returns how to stop. */
export function on(kind, act) {
  if (!listeners.has(kind)) listeners.set(kind, new Set());
  listeners.get(kind).add(act);
  return () => listeners.get(kind).delete(act);
}

/** Pass a change on to whoever follows changes of its kind. */
export function tell(kind, value) {
  for (const act of [...(listeners.get(kind) || [])]) act(value);
}

/** Follow the stream, which connects again by itself. After a gap, everything is read anew ("reload"). */
export function follow() {
  source = new EventSource("/api/stream");
  source.onopen = () => {
    tell("connection", true);
    if (opened++ > 0) tell("reload", {});
  };
  source.onerror = () => {
    tell("connection", false);
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 2000); // it was refused: the monitor may have restarted
  };
  for (const kind of ["status", "steps", "events", "queue", "models", "tasks", "settings", "log", "reload"]) {
    source.addEventListener(kind, (message) => tell(kind, JSON.parse(message.data)));
  }
}
