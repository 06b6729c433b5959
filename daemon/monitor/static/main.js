// The frame of every page: which page is shown, the daemon's state, and a banner when it is dead.

import { fill, h } from "./dom.js";
import { follow, on, read } from "./server.js";
import { duration } from "./words.js";

const PAGES = [
  ["/", "Now", "./now.js"],
  ["/queue", "Queue", "./queue.js"],
  ["/files", "Files", "./files.js"],
  ["/models", "Models", "./models.js"],
  ["/answers", "Answers", "./answers.js"],
  ["/health", "Health", "./health.js"],
  ["/settings", "Settings", "./settings.js"],
];
const LIFE = {
  running: null,
  stopped: "The daemon is not running: it was stopped. What you see is as it was. Start it with: training_daemon start",
  dead: "The daemon is dead: its process is gone, without having been stopped. Start it with: training_daemon start",
  silent: "The daemon is silent: its process is there, but has not written its status for too long. See Health.",
  "never started": "No daemon has run here yet. Start it with: training_daemon start",
  unreadable: "The daemon's status cannot be read. See Health.",
  "no directory": "The working directory is gone.",
};

export const current = { status: null, receivedAt: 0, connected: true, scope: "read" };
let leave = () => {};

async function show() {
  const [path, title, module] = PAGES.find(([address]) => address === location.pathname) || PAGES[0];
  fill(document.getElementById("pages"), h("ul", {}, PAGES.map(([address, name]) =>
    h("li", {}, h("a", { href: address, "aria-current": address === path ? "page" : null }, name)))));
  document.title = `${title} – Training monitor`;
  const page = document.getElementById("page");
  leave();
  fill(page, h("h1", {}, title), h("p", { class: "quiet" }, "Loading …"));
  const { open } = await import(module);
  leave = (await open(page, current)) || (() => {});
}

function drawState() {
  const { status, connected } = current;
  const banner = document.getElementById("banner");
  const life = status ? status.daemon : null;
  const problem = !connected
    ? "The monitor cannot be reached. This page comes back by itself as soon as it can."
    : status && life in LIFE ? LIFE[life] : null;
  banner.hidden = !problem;
  banner.textContent = problem || "";
  const state = document.getElementById("state");
  if (!status) return;
  const words = life === "running" ? status.status : life;
  const age = status.heartbeat_age_s === null ? null : status.heartbeat_age_s + (Date.now() - current.receivedAt) / 1000;
  fill(state, h("span", { class: `lamp ${life === "running" ? status.status : "dead"}`, "aria-hidden": "true" }), ` ${words}`,
    life === "running" || age === null ? null : h("span", { class: "quiet" }, ` last heartbeat ${duration(age)} ago`));
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || link.target || link.hasAttribute("download") || link.pathname.startsWith("/api")) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  show().then(() => document.getElementById("page").focus());
});
addEventListener("popstate", show);
on("status", (status) => { Object.assign(current, { status, receivedAt: Date.now() }); drawState(); });
on("connection", (connected) => { current.connected = connected; drawState(); });
setInterval(drawState, 5000);

follow();
read("/api/status").then((status) => { Object.assign(current, { status, receivedAt: Date.now() }); drawState(); }, () => {});
read("/api/me").then((me) => { current.scope = me.scope; }, () => {}).finally(show);
