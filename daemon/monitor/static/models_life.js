// The life of the model, drawn: its steps from left to right, a line for each time it went back, versions as dots.

import { fill, h, table } from "./dom.js";
import { showVersion } from "./models_versions.js";
import { steps } from "./plans.js";
import { csvLink, soon } from "./rows.js";
import { on, read } from "./server.js";
import { count, plural, time } from "./words.js";

const WHY = { rollback: "went back", gate: "the gate refused a file", forget: "forgot a file" };
const SIGNS = { rollback: "↩", gate: "✕", forget: "∅" };
const MOST_LINES = 40;
const CROWDED = 12; // lines: then they are closer, and say less
const LINE = 36, CLOSE = 26, TOP = 28, LEFT = 16, RIGHT = 56, BOTTOM = 34, APART = 44;

export function openLife(place, context) {
  const drawing = h("div", { class: "life", id: "life-drawing" });
  const words = h("div");
  fill(place, h("section", { class: "card wide", "aria-labelledby": "life-title" }, h("h2", { id: "life-title" }, "Life of the model"),
    h("p", { class: "quiet" }, "Steps run from left to right. Each line below another begins where the model went back to. Full lines led to the present model, dashed ones were left. Dots are versions; ◎ is where the model is. ↩ it went back, ✕ the gate refused a file, ∅ it forgot one."),
    drawing, words));
  let life = null;
  const draw = () => { if (life && drawing.clientWidth) fill(drawing, picture(life, drawing.clientWidth, (id) => showVersion(id, context))); };
  const load = async () => {
    try { life = await read("/api/models/life"); } catch (error) { fill(words, h("p", { class: "bad" }, error.message)); return; }
    draw();
    if (!words.contains(document.activeElement)) fill(words, inWords(life));
  };
  const again = soon(load, 500);
  const watcher = new ResizeObserver(soon(draw, 100));
  watcher.observe(drawing);
  load();
  const stops = [on("models", again), on("reload", again), () => watcher.disconnect()];
  return { leave: () => stops.forEach((stop) => stop()), onShow: draw };
}

function s(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) element.setAttribute(key, value);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return which line each branch is on: the newest ones, and those that led to the present model. */
function linesOf(life) {
  const kept = life.branches.length <= MOST_LINES ? life.branches
    : [...life.branches.filter(led), ...life.branches.filter((branch) => !led(branch)).slice(-MOST_LINES)].slice(-MOST_LINES).sort((a, b) => a.number - b.number);
  return new Map(kept.map((branch, line) => [branch.number, line]));
}

function picture(life, width, show) {
  const lines = linesOf(life);
  const most = Math.max(1, life.step, ...life.branches.map((branch) => branch.last_step));
  const x = (step) => LEFT + (width - LEFT - RIGHT) * step / most;
  const isCrowded = lines.size > CROWDED, line = isCrowded ? CLOSE : LINE;
  const y = (branch) => TOP + line * (lines.get(branch) ?? 0);
  const height = TOP + line * Math.max(0, lines.size - 1) + BOTTOM;
  const shown = life.branches.filter((branch) => lines.has(branch.number));
  return s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": summary(life) },
    axis(most, x, height),
    shown.map((branch) => branchLine(branch, x, y, lines, isCrowded)),
    versionDots(life, x, y, lines, show),
    s("g", { class: "here" }, s("circle", { cx: x(life.step), cy: y(life.branch), r: 9 }), s("circle", { cx: x(life.step), cy: y(life.branch), r: 3 }),
      s("text", { x: x(life.step) + 13, y: y(life.branch) + 4 }, "now")));
}

function branchLine(branch, x, y, lines, isCrowded) {
  const from = x(branch.from_step), level = y(branch.number);
  const comes = branch.from_branch !== null && lines.has(branch.from_branch)
    ? s("path", { class: "turn", d: `M ${from} ${y(branch.from_branch)} C ${from} ${level}, ${from} ${level}, ${from + 8} ${level}` }) : null;
  const end = Math.max(x(branch.last_step), from + 8), turn = led(branch) ? Math.min(Math.max(x(branch.led_until), from), end) : from;
  return s("g", {}, s("title", {}, describe(branch)),
    s("g", { class: led(branch) ? "led" : "left" }, comes),
    turn > from ? s("g", { class: "led" }, s("line", { x1: from, y1: level, x2: turn, y2: level })) : null,
    turn < end ? s("g", { class: "left" }, s("line", { x1: turn, y1: level, x2: end, y2: level })) : null,
    branch.why ? s("text", isCrowded ? { class: "why", x: from - 4, y: level + 4, "text-anchor": "end" } : { class: "why", x: from + 6, y: level + 16 },
      isCrowded ? SIGNS[branch.why] : `${SIGNS[branch.why]} ${WHY[branch.why]}`) : null);
}

function versionDots(life, x, y, lines, show) {
  const labelled = new Map(); // line -> where its last label is
  return life.versions.filter((line) => lines.has(line.branch)).map((line) => {
    const cx = x(line.global_step), cy = y(line.branch);
    const isNamed = line.aliases.length > 0;
    const hasRoom = cx - (labelled.get(line.branch) ?? -1e9) >= APART || isNamed;
    if (hasRoom) labelled.set(line.branch, cx);
    const names = [line.id, ...line.aliases].join(", ");
    return s("g", { class: isNamed ? "version named" : "version", onclick: null }, dot(cx, cy, () => show(line.id), `${names}, step ${count(line.global_step)}`),
      hasRoom ? s("text", { x: cx, y: cy - 10, "text-anchor": cx < 40 ? "start" : "middle" }, isNamed ? `${line.aliases[0]} (${line.id})` : line.id) : null);
  });
}

function dot(cx, cy, act, words) {
  const circle = s("circle", { cx, cy, r: 5 }, s("title", {}, words));
  circle.addEventListener("click", act);
  return circle;
}

function axis(most, x, height) {
  const ticks = 5, all = [...new Set(Array.from({ length: ticks + 1 }, (_, n) => Math.round(most * n / ticks)))];
  return s("g", { class: "axis" }, all.map((step) => [
    s("line", { x1: x(step), y1: 12, x2: x(step), y2: height - 18 }),
    s("text", { x: x(step), y: height - 4, "text-anchor": step === 0 ? "start" : "middle" }, step === most ? `step ${count(step)}` : count(step))]));
}

function summary(life) {
  return `The model is at step ${count(life.step)}. It went back ${plural(life.branches.length - 1, "time")}. ${plural(life.versions.length, "version")} shown. The table below says the same.`;
}

function led(branch) {
  return branch.led_until !== null;
}

function describe(branch) {
  const span = steps(branch.from_step + 1, Math.max(branch.last_step, branch.from_step + 1));
  return branch.why ? `${WHY[branch.why]} to step ${count(branch.from_step)}: ${branch.reason} (${span})` : `from the base model, ${span}`;
}

function inWords(life) {
  const versionsOn = (number) => life.versions.filter((line) => line.branch === number).map((line) => line.id);
  return [
    life.left_out ? h("p", { class: "quiet" }, `${plural(life.left_out, "older version")} not drawn.`) : null,
    life.branches.length > MOST_LINES ? h("p", { class: "quiet" }, `Drawn are ${MOST_LINES} of ${count(life.branches.length)} lines; the table has all.`) : null,
    h("details", { open: life.branches.length > 1 && life.branches.length < 8 }, h("summary", {}, "The same as a table"), h("p", {}, csvLink("/api/models/life")),
      table([
        { title: "Line", number: true, of: (branch) => count(branch.number) },
        { title: "Begins", of: (branch) => branch.why ? `after step ${count(branch.from_step)} of line ${branch.from_branch}` : "with the base model" },
        { title: "Up to step", number: true, of: (branch) => count(branch.last_step) },
        { title: "When", of: (branch) => time(branch.began_at) },
        { title: "Why", of: (branch) => branch.why ? [`${WHY[branch.why]}: `, h("bdi", {}, branch.reason)] : "–" },
        { title: "In the present model", of: (branch) => !led(branch) ? "no, it was left" : branch.number === life.branch ? "✓ the model is here" : `✓ up to step ${count(branch.led_until)}` },
        { title: "Versions", of: (branch) => { const found = versionsOn(branch.number); return found.length > 12 ? `${found.slice(0, 6).join(", ")} … ${found.slice(-3).join(", ")}` : found.join(", ") || "–"; } },
      ], life.branches.slice(-500), { caption: "How the model got where it is", empty: "Nothing is trained yet." })),
  ];
}
