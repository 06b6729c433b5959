// The page Health: what was checked, what crashed, and the log as it is written.

import { diagnosisCard } from "./diagnosis.js";
import { fill, h, note, table } from "./dom.js";
import { on, read } from "./server.js";
import { ago, count, plural, time } from "./words.js";

const SIGNS = { ok: ["✓", "good"], warning: ["!", "warn"], problem: ["✗", "bad"] };
const MOST = 1000;

export async function open(page) {
  const checks = h("div"), crashes = h("div");
  const log = h("div", { class: "log", role: "log", tabIndex: 0, "aria-label": "Entries of the log" });
  const search = h("input", { type: "search", id: "log-search", placeholder: "words in the log", oninput: () => drawLog() });
  const level = h("select", { id: "log-level", onchange: () => drawLog() },
    h("option", { value: "" }, "everything"), h("option", { value: "warning" }, "warnings and errors"), h("option", { value: "error" }, "errors"));
  const live = h("input", { type: "checkbox", id: "log-live", checked: true });
  const diagnosis = diagnosisCard();
  diagnosis.card.classList.add("wide");
  let entries = [];

  fill(page, h("h1", {}, "Health"), h("div", { class: "cards" },
    h("section", { class: "card wide", "aria-labelledby": "checks" }, h("h2", { id: "checks" }, "Checks"),
      h("div", { class: "buttons" }, h("button", { onclick: () => drawChecks() }, "Check again")), checks),
    diagnosis.card,
    h("section", { class: "card wide", "aria-labelledby": "crashes" }, h("h2", { id: "crashes" }, "Crashes"), crashes),
    h("section", { class: "card wide", "aria-labelledby": "log" }, h("h2", { id: "log" }, "Log"),
      h("div", { class: "buttons" }, h("label", { htmlFor: "log-search" }, "Search"), search,
        h("label", { htmlFor: "log-level" }, "Show"), level,
        live, h("label", { htmlFor: "log-live" }, "follow"),
        h("button", { onclick: copy }, "Copy what is shown")), log)));

  async function drawChecks() {
    fill(checks, h("p", { class: "quiet" }, "Checking …"));
    try {
      const found = await read("/api/health");
      const bad = found.filter((result) => result.level !== "ok");
      fill(checks, h("p", {}, bad.length ? `${plural(bad.length, "thing needs", "things need")} attention.` : "All is well."),
        table([
          { title: "", of: (result) => h("span", { class: SIGNS[result.level][1] }, SIGNS[result.level][0], h("span", { class: "hidden" }, result.level)) },
          { title: "What", of: (result) => result.name },
          { title: "How it is", of: (result) => result.message },
          { title: "What to do", of: (result) => result.advice },
        ], [...bad, ...found.filter((result) => result.level === "ok")], { caption: "Checks of this working directory" }));
    } catch (error) { fill(checks, h("p", { class: "bad" }, error.message)); }
  }

  async function drawCrashes() {
    try {
      fill(crashes, table([
        { title: "Kind", of: (group) => group.kind },
        { title: "How often", number: true, of: (group) => count(group.count) },
        { title: "Last", of: (group) => h("span", { title: group.newest_at }, `${time(group.newest_at)} (${ago(group.newest_at)})`) },
        { title: "File", of: (group) => group.file || "–" },
        { title: "Step", number: true, of: (group) => count(group.global_step) },
        { title: "What it said", of: (group) => group.message },
        { title: "What to do", of: (group) => group.advice },
      ], await read("/api/crashes"), { caption: "Crashes of workers by kind", empty: "No worker has crashed." }));
    } catch (error) { fill(crashes, h("p", { class: "bad" }, error.message)); }
  }

  const isShown = (entry) => {
    const words = search.value.trim().toLowerCase();
    const wanted = { "": true, warning: ["warning", "error", "critical"].includes(entry.level), error: ["error", "critical"].includes(entry.level) }[level.value];
    return wanted && (!words || [entry.message, entry.job_id || "", ...entry.traceback].join("\n").toLowerCase().includes(words));
  };

  async function readLog() {
    if (entries.length && !live.checked) return;
    try { entries = await read("/api/logs", { count: MOST }); } catch (error) { fill(log, h("p", { class: "bad" }, error.message)); return; }
    drawLog();
  }

  function drawLog() {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const shown = entries.filter(isShown);
    fill(log, shown.length ? shown.map((entry) => h("p", { class: `entry ${entry.level || ""}` },
      h("time", { title: entry.at || "" }, entry.at ? time(entry.at) : ""), " ", h("strong", {}, entry.level || ""), " ", entry.message,
      entry.traceback.length ? h("pre", {}, entry.traceback.join("\n")) : null)) : h("p", { class: "quiet" }, entries.length ? "Nothing in the log fits." : "No daemon has written a log here yet."));
    if (atEnd || live.checked) log.scrollTop = log.scrollHeight;
  }

  async function copy() {
    const text = entries.filter(isShown).map((entry) => [`${entry.at || ""} ${entry.level || ""} ${entry.message}`, ...entry.traceback].join("\n")).join("\n");
    try { await navigator.clipboard.writeText(text); note("Copied."); }
    catch { // only pages of this machine, or encrypted ones, may use the clipboard
      const area = h("textarea", { value: text });
      document.body.append(area);
      area.select();
      note(document.execCommand("copy") ? "Copied." : "The browser does not allow it.", "good");
      area.remove();
    }
  }

  await Promise.all([drawChecks(), drawCrashes(), readLog()]);
  let waiting = null;
  const soon = () => { waiting ??= setTimeout(() => { waiting = null; readLog(); }, 300); };
  const stops = [on("log", soon), on("reload", () => { drawChecks(); drawCrashes(); readLog(); }),
    on("events", (events) => { if (events.some((event) => /crash|blocked|worker/.test(event.kind))) drawCrashes(); })];
  return () => { clearTimeout(waiting); stops.forEach((stop) => stop()); diagnosis.stop(); };
}
