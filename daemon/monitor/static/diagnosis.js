// What ails the training so far: each finding with its evidence as numbers and a picture, its cost, and what would change it.

import { fill, h } from "./dom.js";
import { on, read } from "./server.js";
import { count, decimal, plural } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 320, HEIGHT = 80, AGAIN_AFTER_MS = 300_000;

/** Return {card, stop}. brief: only what was found, for a page that shows other things, too. */
export function diagnosisCard({ brief = false } = {}) {
  const place = h("div");
  const card = h("section", { class: "card", id: "diagnosis", "aria-labelledby": "diagnosis-title" }, h("h2", { id: "diagnosis-title" }, "Diagnosis"), place);
  let readAt = 0;

  async function draw() {
    readAt = Date.now();
    try {
      const found = await read("/api/diagnosis");
      const missing = found.examined.filter((one) => one.result === "not enough data");
      fill(place,
        found.findings.length ? found.findings.map(drawFinding)
          : h("p", {}, found.steps ? `Nothing unusual in ${plural(found.steps, "step")}.` : "No step has been taken yet."),
        brief ? h("p", {}, h("a", { href: "/health" }, "What was examined")) : h("details", {}, h("summary", {}, "What was examined"),
          h("ul", {}, found.examined.map((one) => h("li", {}, h("strong", {}, one.illness), `: ${one.result}. `, h("span", { class: "quiet" }, one.read || one.missing || ""))))),
        brief || !missing.length ? null : h("p", { class: "quiet" }, `Of ${missing.map((one) => one.illness).join(", ")} nothing can be said yet.`));
    } catch (error) { fill(place, h("p", { class: "bad" }, error.message)); }
  }

  draw();
  // Illnesses show over hundreds of steps: to look again every five minutes is enough
  const stops = [on("steps", () => { if (Date.now() - readAt > AGAIN_AFTER_MS) draw(); }), on("reload", draw)];
  return { card, stop: () => stops.forEach((stop) => stop()) };
}

function drawFinding(finding) {
  return h("article", { class: "finding" },
    h("h3", { class: "warn" }, finding.illness), h("p", {}, finding.seen), picture(finding.series),
    h("dl", { class: "facts" }, finding.evidence.map((one) => [h("dt", {}, one.what), h("dd", {}, `${decimal(one.value)} ${one.unit}`.trim())])),
    h("p", {}, h("strong", {}, "What it costs: "), finding.costs),
    h("p", {}, h("strong", {}, "What would change it:")),
    h("ul", {}, finding.changes.map((change) => h("li", {}, change.text,
      change.setting ? [" ", h("code", {}, change.setting), change.now === null ? null : [": now ", h("code", {}, JSON.stringify(change.now))],
        change.suggested === null ? null : [", try ", h("code", {}, JSON.stringify(change.suggested))]] : null,
      change.command ? [" ", h("code", {}, change.command)] : null))));
}

function picture(series) {
  if (series.points.length < 2) return null;
  const values = series.points.map((point) => point.value), steps = series.points.map((point) => point.step);
  const low = Math.min(...values), high = Math.max(...values), first = steps[0], last = steps.at(-1);
  const x = (step) => 2 + (WIDTH - 4) * (step - first) / (last - first || 1);
  const y = (value) => HEIGHT - 4 - (HEIGHT - 8) * (value - low) / (high - low || 1);
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "polyline");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${series.what}, from ${decimal(values[0])} at step ${count(first)} to ${decimal(values.at(-1))} at step ${count(last)} ${series.unit}`);
  line.setAttribute("points", series.points.map((point) => `${x(point.step).toFixed(1)},${y(point.value).toFixed(1)}`).join(" "));
  svg.append(line);
  return h("figure", {}, svg, h("figcaption", { class: "quiet" }, `${series.what}${series.unit ? ` (${series.unit})` : ""}, steps ${count(first)} to ${count(last)}: ${decimal(low)} to ${decimal(high)}`));
}
