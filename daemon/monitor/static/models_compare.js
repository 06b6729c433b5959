// Comparing two versions: what their records say, at once; and what both do with the same rows, which takes a while.

import { fill, h, note, table } from "./dom.js";
import { steps } from "./plans.js";
import { read, send } from "./server.js";
import { count, decimal, plural, time } from "./words.js";
import { lossOf } from "./models_versions.js";

export function openCompare(place, context) {
  const known = h("datalist", { id: "compared-versions" });
  const field = (id, label, value, more = {}) => { const input = h("input", { type: "text", id, value, list: "compared-versions", autocomplete: "off", required: true, ...more }); return [h("div", {}, h("label", { htmlFor: id }, label), input), input]; };
  const [beforeField, before] = field("before", "Before", "");
  const [afterField, after] = field("after", "After", "current");
  const [rowsField, rows] = field("rows", "At most so many rows (optional)", "", { type: "number", min: 1, required: false, list: null });
  const differences = h("div", { id: "differences", role: "status" }), measured = h("div", { id: "comparisons" });
  let chosen = null;

  const look = async () => {
    if (!before.value.trim() || !after.value.trim()) return;
    try { fill(differences, inRecords(await read("/api/models/differences", { before: before.value.trim(), after: after.value.trim() }))); }
    catch (error) { fill(differences, h("p", { class: "bad" }, `✕ ${error.message}`)); }
  };
  const start = async () => {
    const task = await send("/api/models/comparisons", { before: before.value.trim(), after: after.value.trim(), rows: rows.value ? Number(rows.value) : null });
    if (task) { chosen = task.id; note("The comparison runs. You can leave this page; the result stays here."); }
  };
  const results = new Map(); // by task
  const drawTasks = async () => {
    const all = context.tasks.all().filter((task) => task.kind === "compare");
    if (measured.contains(document.activeElement) && document.activeElement.tagName !== "BUTTON") return;
    const shown = all.find((task) => task.id === chosen) || all[0];
    if (shown && shown.state === "done" && !results.has(shown.id)) {
      try { results.set(shown.id, (await read(`/api/tasks/${shown.id}`)).result); } catch { return; }
    }
    fill(measured, all.length > 1 ? h("div", { class: "buttons", role: "group", "aria-label": "Comparisons" }, all.map((task) =>
      h("button", { type: "button", "aria-pressed": String(task === shown), onclick: () => { chosen = task.id; drawTasks(); } }, `${task.about.before} → ${task.about.after}, ${time(task.started_at)}`))) : null,
    shown ? taskShown(shown, results.get(shown.id), context) : null);
  };
  before.addEventListener("change", look);
  after.addEventListener("change", look);
  fill(place, known, h("section", { class: "card wide", "aria-labelledby": "compare-title" }, h("h2", { id: "compare-title" }, "Compare two versions"),
    h("p", { class: "quiet" }, "Both are loaded one after the other and measured on the same validation rows, and answer the same prompts. A process of its own does that, with low priority; training continues."),
    h("form", { class: "row", onsubmit: (event) => { event.preventDefault(); look(); start(); } }, beforeField, afterField, rowsField,
      context.mayAct() ? h("button", { class: "main", id: "compare" }, "Measure both") : null, h("button", { type: "button", onclick: look }, "Only settings and files")),
    differences, measured));
  drawTasks();
  return {
    onTasks: drawTasks,
    onShow: async (wanted) => {
      if (wanted.before) { before.value = wanted.before; after.value = wanted.after || "current"; look(); }
      try {
        const { versions } = await read("/api/models/versions", { limit: 200 });
        fill(known, ["current", "latest", ...versions.flatMap((line) => [...line.aliases, line.id])].map((value) => h("option", { value })));
        if (!before.value && versions.length > 1) before.value = versions[1].id;
        if (after.value === "current" && !versions.some((line) => line.is_current) && versions.length) after.value = versions[0].id;
      } catch { /* then names can be typed all the same */ }
    },
  };
}

function taskShown(task, found, context) {
  const title = h("h3", {}, `${task.about.before} → ${task.about.after}`, " ", h("a", { href: `/api/tasks/${task.id}`, target: "_blank", rel: "noopener" }, "as JSON"));
  if (task.state === "running") return [title, h("p", { role: "status" }, "… ", task.progress || "It begins."), h("progress", { "aria-label": "The comparison runs" }),
    context.mayAct() ? h("button", { type: "button", id: "cancel-comparison", onclick: () => send(`/api/tasks/${task.id}/cancel`) }, "Cancel it") : null];
  if (task.state === "cancelled") return [title, h("p", {}, "– It was cancelled.")];
  if (task.state === "failed") return [title, h("p", { class: "bad" }, `✕ ${task.problem}`)];
  return [title, result(found)];
}

function result({ before, after, measured, settings, files_added: added, files_missing: missing }) {
  const same = measured.answers.filter((answer) => answer.before === answer.after).length;
  return [
    measured.loss ? lossLines(measured.loss, before.version, after.version) : h("p", {}, "No validation file, so no loss was measured."),
    recorded(before, after),
    inRecords({ before: before.version, after: after.version, settings, files_added: added, files_missing: missing }),
    measured.answers.length ? [h("h4", {}, `Answers side by side (${same} of ${measured.answers.length} the same)`),
      table([
        { title: "Prompt", of: (answer) => h("bdi", { class: "text" }, answer.prompt) },
        { title: before.version, of: (answer) => h("bdi", { class: "text" }, answer.before || "(empty)") },
        { title: after.version, of: (answer) => answer.before === answer.after ? [h("span", { class: "quiet" }, "= the same")] : h("bdi", { class: "text" }, answer.after || "(empty)") },
      ], measured.answers, { caption: "Answers of both versions" })] : null,
    h("p", { class: "quiet" }, `Computed on ${measured.device}, in fp32.`),
  ];
}

function lossLines(loss, before, after) {
  const percent = loss.before ? 100 * loss.difference / loss.before : 0;
  const isSure = loss.low !== null && (loss.low > 0 || loss.high < 0);
  const better = loss.difference < 0 ? after : before;
  return [
    h("h4", {}, `Validation loss on the same ${plural(loss.rows, "row")}`),
    h("p", {}, `${before}: ${decimal(loss.before)}, ${after}: ${decimal(loss.after)}. Difference ${sign(loss.difference)} (${percent >= 0 ? "+" : "−"}${Math.abs(percent).toFixed(1)} %).`),
    loss.low === null ? h("p", { class: "quiet" }, "One row is too few to say how sure that is.")
      : h("p", {}, `95 % confidence: ${sign(loss.low)} to ${sign(loss.high)}${loss.t === null ? "" : `, t = ${decimal(loss.t, 3)}`}. `,
        h("strong", { class: isSure ? "good" : "warn" }, isSure ? `✓ ${better} is better on rows like these.` : "≈ The interval has 0 in it: the difference may be chance.")),
    loss.left_out ? h("p", { class: "quiet" }, `${plural(loss.left_out, "row")} left out, without anything to predict.`) : null,
  ];
}

function recorded(before, after) {
  const suites = [...new Set([...before.suites, ...after.suites].map((score) => score.suite))].sort();
  const of = (numbers, suite) => { const score = numbers.suites.find((found) => found.suite === suite); return score ? `${(100 * score.exact_match).toFixed(1)} % of ${score.rows} (step ${count(score.global_step)})` : "–"; };
  return [h("h4", {}, "Recorded when they were made"), table([
    { title: "", of: ([name]) => name }, { title: before.version, of: ([, left]) => left }, { title: after.version, of: ([, , right]) => right },
  ], [["validation loss", lossOf(before.validation_loss, before.validation_weights), lossOf(after.validation_loss, after.validation_weights)],
    ...suites.map((suite) => [`suite ${suite}`, of(before, suite), of(after, suite)])], { caption: "Recorded numbers" })];
}

function inRecords({ before, after, settings, files_added: added, files_missing: missing }) {
  const files = (title, found) => found.length ? [h("p", {}, title), h("ul", {}, found.slice(0, 50).map((file) => h("li", {}, h("bdi", {}, file.name), ` (${steps(file.first_step, file.last_step)})`)), found.length > 50 ? h("li", {}, `and ${count(found.length - 50)} more`) : null)] : null;
  return [
    h("h4", {}, "Settings and files"),
    settings.length ? table([
      { title: "Setting", of: (item) => h("code", {}, item.setting) },
      { title: before, of: (item) => JSON.stringify(item.before) }, { title: after, of: (item) => JSON.stringify(item.after) },
    ], settings, { caption: "Settings that differ" }) : h("p", {}, "No setting differs."),
    files(`${after} was trained on, and ${before} was not, or at other steps:`, added), files(`${before} was trained on, and ${after} was not, or at other steps:`, missing),
    !added.length && !missing.length ? h("p", {}, "Both were trained on the same files.") : null,
  ];
}

function sign(value) {
  return `${value >= 0 ? "+" : "−"}${decimal(Math.abs(value))}`;
}
