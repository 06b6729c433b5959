// A data report as a person reads it: what keeps a file from training, what is odd, what is in order.

import { fill, h } from "./dom.js";
import { count, decimal, plural } from "./words.js";

const LEVELS = { block: ["✗", "bad", "keeps it from training"], warning: ["!", "warn", "should be looked at"], note: ["·", "quiet", "note"] };
const LINES = 20;

const percent = (share) => `${decimal(100 * share, 3)} %`;

/** Return what was found, the worst first. */
export function findings(report) {
  const order = Object.keys(LEVELS);
  const found = [...report.findings].sort((one, other) => order.indexOf(one.level) - order.indexOf(other.level));
  if (!found.length) return h("p", { class: "good" }, "Nothing odd was found.");
  return h("ul", { class: "findings" }, found.map((finding) => h("li", {},
    h("span", { class: LEVELS[finding.level][1], "aria-hidden": "true" }, LEVELS[finding.level][0], " "), h("strong", { class: LEVELS[finding.level][1] }, LEVELS[finding.level][2]), ": ", finding.message,
    finding.rows ? h("span", { class: "quiet" }, ` (${plural(finding.rows, "row")}${finding.limit === null ? "" : `; allowed: ${percent(finding.limit)}`})`) : null,
    finding.lines.length ? h("span", { class: "quiet" }, ` Lines ${finding.lines.slice(0, LINES).map(count).join(", ")}${finding.lines.length > LINES ? ", …" : ""}.`) : null)));
}

/** Fill a place with a whole report. */
export function drawReport(place, report) {
  const tokens = report.tokens;
  const facts = [
    ["rows that can be trained", count(report.rows)],
    ["rejected rows", count(report.rejected_rows)],
    ["inspected rows", `${count(report.sampled_rows)} (${report.validation})`],
    ["exact copies of other rows", count(report.duplicate_rows)],
    ["tokens that are learnt", percent(report.supervised_share)],
    ["rows with nothing to learn", count(report.rows_without_target)],
    ["longer than data.max_length", `${percent(report.over_max_length)} of the rows (${plural(report.max_length, "token")})`],
    ["admitted", report.is_admitted ? "yes: it is trained whatever was found" : null],
  ];
  fill(place, findings(report), h("dl", { class: "facts" }, facts.filter(([, value]) => value !== null).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    tokens ? [h("h3", {}, "Lengths in tokens"), spread(tokens, report.max_length)] : null,
    Object.entries(report.classes).map(([what, labels]) => [h("h3", {}, `Labels: ${what}`), bars(Object.entries(labels).map(([name, rows]) => [name, rows]))]));
}

/** Draw a spread of lengths as one bar, with its numbers as text beside it. */
function spread(tokens, limit) {
  const most = 1.01 * Math.max(tokens.max, limit), at = (value) => `${100 * value / most}%`;
  const box = h("div", { class: "spread", "aria-hidden": "true" });
  const part = (name, from, to) => { const found = h("span", { class: name }); found.style.left = at(from); found.style.width = at(to - from); box.append(found); };
  part("range", tokens.min, tokens.max);
  part("usual", tokens.min, tokens.p95);
  part("middle", tokens.median, tokens.median);
  part("limit", limit, limit);
  return [box, h("p", {}, `Shortest ${count(tokens.min)}, half of the rows up to ${count(tokens.median)} (line in the bar), 95 % up to ${count(tokens.p95)} (dark part), 99 % up to ${count(tokens.p99)}, longest ${count(tokens.max)}; data.max_length is ${count(limit)} (dashed line).`)];
}

/** Draw numbers as bars, each with its name and its number as text. */
export function bars(rows) {
  const most = Math.max(1, ...rows.map(([, number]) => number));
  return h("ul", { class: "bars" }, rows.map(([name, number]) => {
    const bar = h("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${100 * number / most}%`;
    return h("li", {}, h("span", { class: "bar-name" }, name), h("span", { class: "bar-frame" }, bar), h("span", { class: "number" }, count(number)));
  }));
}
