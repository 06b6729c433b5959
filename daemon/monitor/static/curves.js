// The curves of training: read once, then continued with each step that comes in. Zooming reads them more closely.
//
//   const curves = liveCurves(place, { metrics: ["loss", "lr"], file: jobId });   // file: only its steps
//   curves.close();

import { fill, h, note } from "./dom.js";
import { MARKS, makeChart, makeView, viewTools } from "./chart.js";
import { on, read } from "./server.js";
import { count, decimal, duration, plural, time } from "./words.js";

const POINTS = 1000, MOST_POINTS = 2000;
const METRICS = {
  loss: { title: "Loss", unit: "per supervised token", of: (step) => step.loss },
  lr: { title: "Learning rate", of: (step) => step.learning_rate },
  grad_norm: { title: "Gradient norm", of: (step) => step.grad_norm },
  tokens_per_sec: { title: "Speed", unit: "tokens per second", of: (step) => (step.seconds ? step.tokens / step.seconds : null) },
};
const AXES = {
  step: { x: (value) => count(Math.round(value)), xTitle: "step", isWhole: true },
  tokens: { x: (value) => short(value), xTitle: "tokens trained" },
  time: { x: (value) => duration(value), xTitle: "time spent in steps" },
};
const WEIGHTS = { last: { name: "● validation loss (last weights)", glyph: "circle" }, average: { name: "◇ validation loss (averaged weights)", glyph: "diamond" } };
const MARKED_BY = new Set(["checkpoint", "version_made", "went_back", "not_applied", "started", "finished", "consolidated"]);

function short(value) {
  const units = ["", " k", " M", " B", " T"];
  let unit = 0;
  while (Math.abs(value) >= 1000 && unit < 4) { value /= 1000; unit += 1; }
  return `${decimal(value, 3)}${units[unit]}`;
}

export function liveCurves(place, { metrics = Object.keys(METRICS), file = null } = {}) {
  let axis = "step", marks = null, closed = false, turn = 0, isDue = false;
  const whole = {}, close = {}; // curves by metric: all steps, and those in sight if it is zoomed
  const asked = new Map();
  const view = makeView({ onZoom: () => { clearTimeout(view.timer); view.timer = setTimeout(readClose, 250); schedule(); } });
  const choice = h("select", { id: "x-axis", onchange: () => { axis = choice.value; view.range = null; view.changed(); load(true); } },
    h("option", { value: "step" }, "steps"), h("option", { value: "tokens" }, "tokens"), h("option", { value: "time" }, "time"));
  const legend = h("ul", { class: "mark-legend quiet", "aria-label": "Marks" });
  const marked = h("details", { class: "quiet", hidden: true }, h("summary", {}, "List of the marks"), h("ol", { class: "mark-list" }));
  const charts = h("div", { class: "charts" });
  fill(place, viewTools(view, h("label", { htmlFor: "x-axis" }, "Over "), choice), charts, legend, marked);
  const parts = Object.fromEntries(metrics.map((name) => [name, makeChart(charts, {
    id: `chart-${name}`, view, title: METRICS[name].title, unit: METRICS[name].unit, ...AXES.step, describe,
    csv: () => `/api/curves/${name}?${new URLSearchParams({ x: axis, points: String(MOST_POINTS), format: "csv", ...(file ? { file } : {}), ...stepsInSight() })}`,
  })]));

  async function load(isOtherAxis = false) {
    const mine = ++turn;
    for (const name of Object.keys(close)) delete close[name];
    try {
      for (const batch of [[metrics[0]], ["validation", "marks"], metrics.slice(1)]) { // the first curve is to be seen first
        const found = await Promise.all(batch.map((name) => (name === "marks" ? read("/api/marks") : read(`/api/curves/${name}`, { x: axis, file, points: POINTS }))));
        if (closed || mine !== turn) return;
        batch.forEach((name, i) => { if (name === "marks") marks = found[i]; else whole[name] = found[i]; });
        if (isOtherAxis) batch.filter((name) => name in parts).forEach((name) => parts[name].draw(dataOf(name), AXES[axis]));
        schedule();
      }
      drawLegend();
      if (view.range) readClose();
    } catch (error) {
      if (!closed && mine === turn && error.status) note(error.message, "bad"); // without one, the monitor is away, and the page comes back
    }
  }

  function stepsInSight() {
    const curve = whole[metrics[0]];
    if (!view.range || !curve || !curve.x.length) return {};
    const at = (value) => { const i = curve.x.findIndex((x) => x >= value); return i < 0 ? curve.x.length - 1 : i; };
    if (axis === "step") return { first: Math.max(1, Math.floor(view.range[0])), last: Math.ceil(view.range[1]) };
    return { first: curve.first_step[Math.max(0, at(view.range[0]) - 1)], last: curve.last_step[at(view.range[1])] };
  }

  async function readClose() {
    const range = view.range, mine = turn;
    for (const name of Object.keys(close)) delete close[name];
    if (range && whole[metrics[0]] && whole[metrics[0]].steps_per_point > 1) {
      const steps = stepsInSight();
      const found = await Promise.all(metrics.map((name) => read(`/api/curves/${name}`, { x: axis, file, points: POINTS, ...steps }))).catch(() => null);
      if (!found || closed || mine !== turn || view.range !== range) return;
      metrics.forEach((name, i) => { close[name] = found[i]; });
    }
    schedule();
  }

  function dataOf(name) {
    const all = whole[name], curve = (view.range && close[name]) || all;
    const bad = curve.not_finite.flatMap((number, i) => (number ? [{ x: curve.x[i], kind: "not_finite", label: `${plural(number, "step")} without a finite number` }] : []));
    const last = all.mean.findLast((value) => value !== null);
    const data = { ...curve, whole: all.x.length ? [all.x[0], all.x.at(-1)] : null, marks: [...placed(), ...bad], where: (i) => where(curve, i), newest: last === undefined ? "" : decimal(last) };
    if (name === "loss" && whole.validation) {
      const found = whole.validation, kinds = Object.keys(WEIGHTS).filter((kind) => found.weights.includes(kind));
      const only = (kind, values) => values.filter((_, i) => found.weights[i] === kind);
      data.points = kinds.map((kind) => ({ ...WEIGHTS[kind], x: only(kind, found.x), y: only(kind, found.mean) }));
      data.legend = ["line: mean; shade: least to greatest", ...kinds.map((kind) => WEIGHTS[kind].name)].join(" · ");
    }
    return data;
  }

  function where(curve, i) {
    const [first, last] = [curve.first_step[i], curve.last_step[i]];
    return `${first === last ? `step ${count(last)}` : `steps ${count(first)} to ${count(last)}`}${axis === "step" ? "" : `, ${AXES[axis].x(curve.x[i])}${axis === "tokens" ? " tokens" : ""}`}`;
  }

  /** Return the marks, each with its place on the axis. */
  function placed() {
    const curve = whole[metrics[0]];
    if (!marks || !curve) return [];
    const at = (step) => {
      if (axis === "step" || !curve.x.length) return step;
      const i = curve.last_step.findIndex((last) => last >= step);
      return i < 0 ? curve.x.at(-1) : curve.x[i];
    };
    return listed().map((mark) => ({ ...mark, x: at(mark.step) }));
  }

  function listed() {
    if (!marks) return [];
    return [
      ...marks.files.map((one) => ({ step: one.step, kind: "file", label: one.file_step > 1 ? `${one.file} goes on` : `${one.file} begins` })),
      ...marks.checkpoints.map((one) => ({ step: one.step, kind: "checkpoint", label: `checkpoint of step ${count(one.step)}` })),
      ...marks.versions.map((one) => ({ step: one.step, kind: "version", label: `version ${[one.id, ...one.aliases].join(", ")}` })),
      ...marks.went_back.map((one) => ({ step: one.step, kind: "went_back", label: `the model went back from step ${count(one.left_step)} to ${count(one.step)} (${one.reason}), ${time(one.at)}` })),
      ...marks.not_applied.map((one) => ({ step: one.step, kind: "not_applied", label: `${one.file}: step ${count(one.file_step)} was not applied: ${one.reason}` })),
    ];
  }

  function drawLegend() {
    const all = listed();
    const kinds = Object.keys(MARKS).filter((kind) => all.some((mark) => mark.kind === kind));
    fill(legend, kinds.map((kind) => h("li", {}, `${MARKS[kind].glyph} ${MARKS[kind].one} (${count(all.filter((mark) => mark.kind === kind).length + (marks.left_out[kind === "file" ? "files" : `${kind}s`] || marks.left_out[kind] || 0))})`)));
    marked.hidden = !all.length;
    fill(marked.lastElementChild, all.sort((a, b) => b.step - a.step).slice(0, 200).map((mark) => h("li", {}, `step ${count(mark.step)}: ${MARKS[mark.kind].glyph} ${mark.label}`)));
  }

  async function describe(i, data) {
    const key = `${data.first_step[i]}-${data.last_step[i]}`;
    if (!asked.has(key)) {
      await new Promise((resolve) => setTimeout(resolve, 120));
      if (asked.size > 500) asked.clear();
      asked.set(key, await read("/api/trained", { first: data.first_step[i], last: data.last_step[i], limit: 3 }));
    }
    const { rows, left_out } = asked.get(key);
    const words = rows.map((one) => `${one.file}, ${range("step", one.first_file_step, one.last_file_step)}${one.first_row === null ? "" : `, ${range("row", one.first_row, one.last_row)} in its order`}`);
    return [...words, left_out ? `and ${count(left_out)} more` : ""].filter(Boolean).join("; ");
  }

  function schedule() {
    if (isDue || closed) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      if (!closed) for (const name of metrics) if (whole[name]) parts[name].draw(dataOf(name));
    });
  }

  function append(steps) {
    const newest = whole[metrics[0]];
    if (!newest) return;
    const fresh = steps.filter((step) => step.global_step > newest.newest_step && (!file || step.job_id === file));
    if (!fresh.length) return;
    if (!file && fresh[0].global_step > newest.newest_step + 1) { loadSoon(); return; } // some were missed
    for (const name of metrics) {
      if (!whole[name]) continue;
      for (const step of fresh) {
        add(whole[name], step, METRICS[name], axis);
        if (close[name] && close[name].last_step.at(-1) === step.global_step - 1) add(close[name], step, METRICS[name], axis);
      }
    }
    for (const name of metrics) if (whole[name] && whole[name].x.length > MOST_POINTS) widen(whole[name]);
    schedule();
  }

  let soon = null, later = null;
  function loadSoon() {
    later = later || setTimeout(() => { later = null; load(); }, 2000);
  }
  function markAgain() {
    soon = soon || setTimeout(() => {
      soon = null;
      read("/api/marks").then((found) => { if (!closed) { marks = found; drawLegend(); schedule(); } }, () => {});
    }, 1000);
  }
  const stops = [
    on("steps", append),
    on("events", (events) => {
      if (events.some((event) => event.kind === "went_back")) { asked.clear(); load(); return; }
      if (events.some((event) => MARKED_BY.has(event.kind))) markAgain();
    }),
    on("models", markAgain),
    on("reload", () => { asked.clear(); load(); }),
  ];
  let known = "";
  stops.push(on("status", (status) => {
    const now = `${status.validation_loss} ${status.validation_other_loss}`;
    if (known && known !== now) read("/api/curves/validation", { x: axis, file, points: POINTS }).then((found) => { if (!closed) { whole.validation = found; schedule(); } }, () => {});
    known = now;
  }));
  load();
  return {
    close() {
      closed = true;
      clearTimeout(soon);
      clearTimeout(later);
      clearTimeout(view.timer);
      stops.forEach((stop) => stop());
      Object.values(parts).forEach((part) => part.close());
    },
  };
}

function range(noun, first, last) {
  return first === last ? `${noun} ${count(first)}` : `${noun}s ${count(first)} to ${count(last)}`;
}

/** Have each point stand for twice as many steps, as the server would. */
function widen(curve) {
  const width = curve.steps_per_point * 2, old = { ...curve }, sum = (a, b) => a + b;
  for (const name of ["x", "first_step", "last_step", "steps", "low", "mean", "high", "not_finite", "tokens", "seconds"]) curve[name] = [];
  for (let from = 0, to; from < old.x.length; from = to) {
    for (to = from + 1; to < old.x.length && Math.floor((old.first_step[to] - 1) / width) === Math.floor((old.first_step[from] - 1) / width);) to += 1;
    const part = (name) => old[name].slice(from, to), known = (name) => part(name).filter((value) => value !== null);
    const finite = part("steps").map((steps, i) => steps - old.not_finite[from + i]), all = finite.reduce(sum);
    curve.x.push(old.x[to - 1]);
    curve.first_step.push(old.first_step[from]);
    curve.last_step.push(old.last_step[to - 1]);
    curve.steps.push(part("steps").reduce(sum));
    curve.not_finite.push(part("not_finite").reduce(sum));
    curve.low.push(all ? Math.min(...known("low")) : null);
    curve.high.push(all ? Math.max(...known("high")) : null);
    if (curve.metric === "tokens_per_sec") {
      curve.tokens.push(part("tokens").reduce(sum));
      curve.seconds.push(part("seconds").reduce(sum));
      curve.mean.push(curve.seconds.at(-1) ? curve.tokens.at(-1) / curve.seconds.at(-1) : null);
    } else curve.mean.push(all ? part("mean").map((mean, i) => (mean || 0) * finite[i]).reduce(sum) / all : null);
  }
  curve.steps_per_point = width;
}

/** Add a step to the last point of a curve, or begin another one. */
function add(curve, step, metric, axis) {
  const number = step.global_step, width = curve.steps_per_point, bucket = (one) => Math.floor((one - 1) / width);
  const found = metric.of(step), value = found !== null && Number.isFinite(found) ? found : null;
  const advance = axis === "step" ? 1 : axis === "tokens" ? step.tokens : step.seconds;
  const before = curve.x.length - 1;
  const place = axis === "step" ? number : (before >= 0 ? curve.x[before] : 0) + advance;
  if (before < 0 || bucket(curve.first_step[before]) !== bucket(number)) {
    for (const [name, first] of Object.entries({ x: place, first_step: number, last_step: number, steps: 1, low: value, mean: value, high: value, not_finite: value === null ? 1 : 0 })) curve[name].push(first);
    if (curve.metric === "tokens_per_sec") { curve.tokens.push(step.tokens); curve.seconds.push(step.seconds); }
  } else {
    const finite = curve.steps[before] - curve.not_finite[before];
    curve.x[before] = place;
    curve.last_step[before] = number;
    curve.steps[before] += 1;
    if (curve.metric === "tokens_per_sec") { curve.tokens[before] += step.tokens; curve.seconds[before] += step.seconds; }
    if (value === null) curve.not_finite[before] += 1;
    else {
      curve.low[before] = finite ? Math.min(curve.low[before], value) : value;
      curve.high[before] = finite ? Math.max(curve.high[before], value) : value;
      curve.mean[before] = curve.metric === "tokens_per_sec" ? curve.tokens[before] / curve.seconds[before] : finite ? (curve.mean[before] * finite + value) / (finite + 1) : value;
    }
  }
  curve.newest_step = number;
}
