// A chart: a curve with its spread, points, marks; zoom, smoothing, logarithmic axis, picture and table.
//
//   const chart = makeChart(place, { title: "Loss", y: decimal, x: count, xTitle: "step" });
//   chart.draw({ x: [1, 2], mean: [3, 2] });
//   chart.close();
//
// data: { x, mean, low, high: numbers or null (low and high may be missing), describe: i => words,
//         points: [{ name, glyph: "circle" | "diamond", x, y }], marks: [{ x, kind, label }], newest: words }
// Charts that share a view have the same zoom and smoothing.

import { h } from "./dom.js";
import { count, decimal } from "./words.js";

const HEIGHT = 260;
const KEYS = "Arrow keys move through the points, plus and minus zoom, 0 shows the whole.";
const MOST_LINES = 60; // of files, in sight; more would be a grey wall
export const MARKS = {
  file: { glyph: "┆", one: "next file", colour: "--quiet" },
  checkpoint: { glyph: "▲", one: "checkpoint", colour: "--quiet" },
  version: { glyph: "◆", one: "version", colour: "--main" },
  went_back: { glyph: "↩", one: "went back", colour: "--bad" },
  not_applied: { glyph: "×", one: "step without effect", colour: "--bad" },
  not_finite: { glyph: "×", one: "no finite number", colour: "--bad" },
};

/** What several charts have in common: zoom and smoothing. */
export function makeView({ onZoom = () => {} } = {}) {
  const charts = new Set();
  const view = {
    range: null, smoothing: 0, charts,
    redraw() { for (const chart of charts) chart.redraw(); },
    /** Show a range of the x axis; null for the whole. */
    zoom(range) { view.range = range; view.redraw(); onZoom(range); view.changed(); },
    by(factor, at = 0.5) {
      const whole = bounds(charts);
      if (!whole) return;
      const [least, most] = view.range || whole;
      const width = (most - least) * factor, middle = least + (most - least) * at;
      const from = Math.max(whole[0], middle - width * at), to = Math.min(whole[1], middle + width * (1 - at));
      if (width >= whole[1] - whole[0]) view.zoom(null);
      else if (to > from) view.zoom([from, to]);
    },
    changed() {},
  };
  return view;
}

function bounds(charts) {
  const all = [...charts].map((chart) => chart.whole()).filter(Boolean);
  return all.length ? [Math.min(...all.map((one) => one[0])), Math.max(...all.map((one) => one[1]))] : null;
}

/** Return the buttons of a view. more: elements that come first. */
export function viewTools(view, ...more) {
  const shown = h("output", {}, "off");
  const whole = h("button", { onclick: () => view.zoom(null), disabled: true, "data-act": "whole" }, "Whole");
  view.changed = () => { whole.disabled = !view.range; };
  return h("div", { class: "chart-tools", role: "group", "aria-label": "Charts" }, more,
    h("label", {}, "Smoothing ", h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0, "data-act": "smoothing",
      oninput: (event) => { view.smoothing = Number(event.target.value); shown.textContent = view.smoothing ? view.smoothing.toFixed(2) : "off"; view.redraw(); } }), " ", shown),
    h("span", { class: "together" },
      h("button", { onclick: () => view.by(2), "aria-label": "Zoom out", "data-act": "out" }, "−"),
      h("button", { onclick: () => view.by(0.5), "aria-label": "Zoom in", "data-act": "in" }, "+"), whole));
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Exponential moving average, corrected for its start; what is no number stays a gap. */
export function smoothed(values, weight) {
  let sum = 0, scale = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * weight + value * (1 - weight);
    scale = scale * weight + (1 - weight);
    return sum / scale;
  });
}

export function makeChart(place, { title, id = null, view = null, x = count, y = decimal, xTitle = "step", isWhole = false, unit = "", csv = null, describe = null, height = HEIGHT }) {
  const own = view || makeView();
  const latest = h("span", { class: "chart-newest" });
  const log = h("button", { "aria-pressed": "false", "data-act": "log", title: "Logarithmic axis", onclick: () => { isLog = !isLog; log.setAttribute("aria-pressed", String(isLog)); build(); } }, "log");
  const table = h("a", { class: "button", download: "", "data-act": "csv", href: "#", onclick: save }, "CSV");
  const area = h("div", { class: "chart", tabIndex: 0, role: "group", "aria-roledescription": "chart" });
  const readout = h("p", { class: "readout quiet", "aria-live": "polite" });
  const heading = h("h2", {}, title, unit ? h("span", { class: "quiet" }, ` (${unit})`) : null);
  const tools = h("div", { class: "together" }, log, h("button", { "data-act": "png", onclick: picture, title: "Save as a picture" }, "PNG"), table);
  const card = h("section", { class: "card chart-card", id, "aria-label": title }, h("div", { class: "chart-head" }, heading, latest, tools), view ? null : viewTools(own), area, readout);
  place.append(card);
  let data = { x: [], mean: [] }, isLog = false, plot = null, asked = 0, axis = { x, xTitle, isWhole };

  const positive = (values) => (isLog ? values.map((value) => (value !== null && value > 0 ? value : null)) : values);
  function columns() {
    const empty = data.x.map(() => null);
    const lines = [data.low || empty, data.high || empty, data.mean, own.smoothing ? smoothed(data.mean, own.smoothing) : empty];
    return [data.x, ...lines.map(positive)];
  }
  function sight() {
    const all = [data.x[0], data.x.at(-1), ...(data.points || []).flatMap((group) => [group.x[0], group.x.at(-1)])].filter((value) => value !== undefined);
    if (own.range) return own.range;
    const least = Math.min(...all), most = Math.max(...all);
    return least === most ? [least - 1, most + 1] : [least, most];
  }
  function heights() {
    const [from, to] = sight();
    let least = Infinity, most = -Infinity;
    const take = (place, value) => {
      if (value === null || value === undefined || place < from || place > to || (isLog && value <= 0)) return;
      least = Math.min(least, value); most = Math.max(most, value);
    };
    data.x.forEach((place, i) => { take(place, (data.low || data.mean)[i]); take(place, (data.high || data.mean)[i]); });
    for (const group of data.points || []) group.x.forEach((place, i) => take(place, group.y[i]));
    if (least > most) return isLog ? [0.1, 1] : [0, 1];
    if (isLog) return [least / 1.1, most * 1.1];
    const margin = (most - least) * 0.05 || Math.abs(most) * 0.05 || 1;
    return [least - margin, most + margin];
  }

  function build() {
    const shown = plot ? plot.cursor.idx : null;
    if (plot) plot.destroy();
    area.replaceChildren();
    const text = colour("--quiet"), line = colour("--line"), curve = colour("--curve"), font = "12px system-ui, sans-serif";
    const side = (more) => ({ stroke: text, font, labelFont: font, grid: { stroke: line, width: 1 }, ticks: { stroke: line }, ...more });
    plot = new uPlot({
      width: Math.max(200, area.clientWidth), height, padding: [8, 30, 0, 0], legend: { show: false },
      cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 }, bind: { dblclick: () => () => { own.zoom(null); return null; } } },
      scales: { x: { time: false, range: () => sight() }, y: { distr: isLog ? 3 : 1, range: () => heights() } },
      axes: [side({ values: (u, splits) => splits.map((value) => (axis.isWhole && !Number.isInteger(value) ? "" : axis.x(value))), space: 80, label: axis.xTitle, labelSize: 18, size: 32 }),
        side({ values: (u, splits) => splits.map((value) => y(value)), size: 62, ...(isLog ? { splits: logarithmic, filter: (u, splits) => splits } : {}) })],
      series: [{}, ...[0, 1].map(() => ({ width: 0, points: { show: false } })),
        { stroke: own.smoothing ? colour("--faint") : curve, width: own.smoothing ? 1 : 1.5 }, { stroke: curve, width: 2, points: { show: false } }],
      bands: [{ series: [2, 1], fill: colour("--band") }],
      hooks: { draw: [drawMarks, drawPoints], setCursor: [tell], setSelect: [select] },
    }, columns(), area);
    if (shown !== null && shown < data.x.length) move(shown);
  }
  function redraw() {
    if (!plot) return;
    const [from, to] = data.x.length ? sight().map(axis.x) : ["", ""];
    area.setAttribute("aria-label", data.x.length ? `${title} over ${axis.xTitle} from ${from} to ${to}. ${KEYS}` : `${title}: no steps yet`);
    const isSmooth = Boolean(own.smoothing);
    plot.series[3].stroke = () => colour(isSmooth ? "--faint" : "--curve");
    plot.setData(columns());
  }
  function inSight(list) {
    const [from, to] = sight();
    return list.filter((mark) => mark.x >= from && mark.x <= to);
  }
  function drawMarks(u) {
    const marks = inSight(data.marks || []), { ctx } = u, { top, height: tall } = u.bbox, dots = devicePixelRatio;
    const files = marks.filter((mark) => mark.kind === "file").length;
    ctx.save();
    ctx.font = `${11 * dots}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    for (const mark of marks) {
      const { glyph, colour: name } = MARKS[mark.kind], left = Math.round(u.valToPos(mark.x, "x", true));
      if (mark.kind === "file" && files > MOST_LINES) continue;
      ctx.fillStyle = ctx.strokeStyle = colour(name);
      ctx.lineWidth = dots;
      if (mark.kind === "file" || mark.kind === "went_back") {
        ctx.setLineDash(mark.kind === "file" ? [2 * dots, 4 * dots] : []);
        ctx.beginPath(); ctx.moveTo(left, top); ctx.lineTo(left, top + tall); ctx.stroke();
      }
      if (mark.kind === "file") continue;
      const isLow = mark.kind !== "version" && mark.kind !== "went_back";
      ctx.fillText(glyph, left, isLow ? top + tall - 2 * dots : top + 11 * dots);
    }
    ctx.restore();
  }
  function drawPoints(u) {
    const { ctx } = u, size = 4 * devicePixelRatio;
    ctx.save();
    ctx.fillStyle = ctx.strokeStyle = colour("--second");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    for (const group of data.points || []) {
      const [from, to] = sight();
      group.x.forEach((place, i) => {
        const value = group.y[i];
        if (value === null || place < from || place > to || (isLog && value <= 0)) return;
        const left = u.valToPos(place, "x", true), top = u.valToPos(value, "y", true);
        ctx.beginPath();
        if (group.glyph === "diamond") { ctx.moveTo(left, top - size); ctx.lineTo(left + size, top); ctx.lineTo(left, top + size); ctx.lineTo(left - size, top); ctx.closePath(); ctx.stroke(); }
        else { ctx.arc(left, top, size * 0.8, 0, 7); ctx.fill(); }
      });
    }
    ctx.restore();
  }
  function select(u) {
    const { left, width } = u.select;
    if (width < 5) return;
    const range = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    own.zoom(range);
  }
  function tell(u) {
    const i = u.cursor.idx, turn = ++asked;
    if (i === null || i === undefined || !data.x.length) { readout.textContent = data.legend || " "; return; }
    const near = (item) => Math.abs(u.valToPos(item.x, "x") - u.valToPos(data.x[i], "x")) < 5;
    const points = (data.points || []).flatMap((group) => group.x.map((place, n) => ({ x: place, words: `${group.name} ${y(group.y[n])}` })));
    const marks = inSight([...(data.marks || []).map((mark) => ({ x: mark.x, words: `${MARKS[mark.kind].glyph} ${mark.label}` })), ...points]).filter(near).slice(0, 4);
    const spread = data.low && data.low[i] !== null && data.low[i] !== data.high[i] ? ` (${y(data.low[i])} to ${y(data.high[i])})` : "";
    const where = data.where ? data.where(i) : `${axis.xTitle} ${axis.x(data.x[i])}`;
    const words = [`${where}: ${data.mean[i] === null ? "no finite number" : y(data.mean[i])}${spread}`, ...marks.map((mark) => mark.words)].join(" · ");
    readout.textContent = words;
    if (describe) describe(i, data).then((more) => { if (turn === asked && more) readout.textContent = `${words} · ${more}`; }, () => {});
  }
  function move(i) {
    if (!plot || !data.x.length) return;
    const at = Math.max(0, Math.min(data.x.length - 1, i));
    const value = data.mean[at];
    plot.setCursor({ left: plot.valToPos(data.x[at], "x"), top: value === null ? 10 : Math.max(0, plot.valToPos(value, "y")) });
  }
  area.addEventListener("keydown", (event) => {
    const at = plot && plot.cursor.idx !== null && plot.cursor.idx !== undefined ? plot.cursor.idx : data.x.length;
    const far = event.shiftKey ? 10 : 1;
    const acts = { ArrowLeft: () => move(at - far), ArrowRight: () => move(at + far), Home: () => move(0), End: () => move(data.x.length - 1), "+": () => own.by(0.5), "=": () => own.by(0.5), "-": () => own.by(2), 0: () => own.zoom(null), Escape: () => own.zoom(null) };
    if (!(event.key in acts) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
  });
  area.addEventListener("wheel", (event) => { // a page that is scrolled through must not be caught by a chart
    if (!plot || !(event.ctrlKey || document.activeElement === area)) return;
    event.preventDefault();
    const box = plot.over.getBoundingClientRect();
    own.by(event.deltaY > 0 ? 1.25 : 0.8, Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
  }, { passive: false });

  function rows() {
    const names = ["x", ...["low", "mean", "high"].filter((name) => data[name])];
    return [names.join(","), ...data.x.map((_, i) => names.map((name) => data[name][i] ?? "").join(","))].join("\n");
  }
  function save(event) {
    table.download = `${title}.csv`;
    if (csv) table.href = csv();
    else { event.stopPropagation(); give(new Blob([rows()], { type: "text/csv" }), table); }
  }
  function picture() {
    const from = plot.ctx.canvas, dots = devicePixelRatio, space = 30 * dots;
    const canvas = Object.assign(document.createElement("canvas"), { width: from.width, height: from.height + space });
    const ctx = canvas.getContext("2d");
    ctx.fillStyle = colour("--card");
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.fillStyle = colour("--text");
    ctx.font = `${15 * dots}px system-ui, sans-serif`;
    ctx.fillText(unit ? `${title} (${unit})` : title, 10 * dots, 20 * dots);
    ctx.drawImage(from, 0, space);
    canvas.toBlob((blob) => { const link = h("a", { download: `${title}.png` }); give(blob, link); link.click(); });
  }
  const resize = new ResizeObserver(() => { if (plot && area.clientWidth) plot.setSize({ width: area.clientWidth, height }); });
  resize.observe(area);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", build);
  const chart = {
    card, redraw,
    whole: () => (data.whole || (data.x.length ? [data.x[0], data.x.at(-1)] : null)),
    /** Show data. axisNow: { x, xTitle } if the x axis is another one than before. */
    draw(next, axisNow = null) {
      data = next;
      if (axisNow) axis = axisNow;
      latest.textContent = next.newest || "";
      if (!plot || axisNow) build();
      redraw();
      if (plot.cursor.idx === null || plot.cursor.idx === undefined) readout.textContent = data.legend || " ";
    },
    close() { own.charts.delete(chart); resize.disconnect(); scheme.removeEventListener("change", build); if (plot) plot.destroy(); card.remove(); },
  };
  own.charts.add(chart);
  return chart;
}

function give(blob, link) {
  link.href = URL.createObjectURL(blob);
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Where the lines of a logarithmic axis are: 1, 2 and 5 of each power of ten, or evenly where few of them are. */
function logarithmic(u, number, least, most) {
  const found = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power += 1) {
    for (const digit of [1, 2, 5]) if (digit * 10 ** power >= least && digit * 10 ** power <= most) found.push(digit * 10 ** power);
  }
  if (found.length > 12) return found.filter((value) => Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6));
  if (found.length >= 3) return found;
  return [0, 1, 2, 3, 4].map((i) => least + ((most - least) * i) / 4);
}
