// The loss of one file over its steps, with what lies between the points.

import { fill, h } from "./dom.js";
import { count, decimal } from "./words.js";

const HEIGHT = 260;
const plots = new WeakMap(); // place -> {plot, stop}

/** Draw a curve as /api/curves/loss gives it; null takes it away. */
export function lossCurve(place, curve) {
  const number = curve ? curve.x.length : 0;
  let known = plots.get(place);
  if (!number) {
    if (known) known.stop();
    plots.delete(place);
    if (curve) fill(place, h("p", { class: "quiet" }, "There is no loss to show."));
    return;
  }
  const data = [curve.x, curve.mean, curve.low, curve.high];
  const words = `Loss ${decimal(curve.mean[0])} at step ${count(curve.first_step[0])}, ${decimal(curve.mean.at(-1))} at step ${count(curve.last_step.at(-1))}.`;
  if (known) {
    known.plot.setData(data);
    known.words.textContent = words;
    return;
  }
  const chart = h("div", { class: "chart", role: "img", "aria-label": "Loss over the steps; the text below says where it began and where it is" });
  const text = h("p", { class: "quiet" }, words);
  fill(place, chart, text);
  const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
  const plot = new uPlot({
    width: Math.max(200, chart.clientWidth), height: HEIGHT, scales: { x: { time: false } },
    axes: [{ ...axis, label: "step of the model" }, { ...axis, label: "loss" }],
    series: [{ label: "step" }, { label: "loss", stroke: colour("--curve"), width: 2 }, { label: "least", stroke: "transparent" }, { label: "most", stroke: "transparent" }],
    bands: [{ series: [3, 2], fill: colour("--band") }],
  }, data, chart);
  const resize = new ResizeObserver(() => { if (chart.clientWidth) plot.setSize({ width: chart.clientWidth, height: HEIGHT }); });
  resize.observe(chart);
  plots.set(place, { plot, words: text, stop: () => { resize.disconnect(); plot.destroy(); } });
}
