// The page Answers: how suites of questions are answered over time, each question, and previews of fixed prompts.

import { fill, h, table } from "./dom.js";
import { csvLink, soon } from "./rows.js";
import { on, read } from "./server.js";
import { count, decimal, duration, plural } from "./words.js";

const PAGE = 50;
const PREVIEWS_AGAIN_MS = 15000;
const COLOURS = ["--curve", "--second", "--good", "--bad", "--warn", "--quiet"];
const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3], [12, 4], [4, 2]];

export async function open(page) {
  const suites = h("section", { class: "card wide", "aria-labelledby": "suites-title", id: "suites" });
  const questions = h("section", { class: "card wide", "aria-labelledby": "questions-title", id: "questions" });
  const previews = h("section", { class: "card wide", "aria-labelledby": "previews-title", id: "previews" });
  const asked = await read("/api/answers/asked").catch(() => ({ suites: {}, prompts: [], prompts_file: null }));
  fill(page, h("h1", {}, "Answers"), h("div", { class: "questions" }, suites, questions, previews));
  const parts = [openSuites(suites, asked), openQuestions(questions, asked), openPreviews(previews, asked)];
  const again = soon(() => parts.forEach((part) => part.load()), 800);
  let scores = null, previewsAt = Date.now();
  const stops = [
    on("events", (events) => { if (events.some((event) => ["finished", "went_back", "checkpoint"].includes(event.kind))) again(); }),
    on("status", (status) => {
      const now = JSON.stringify(status.suite_scores ?? null);
      if (scores !== null && now !== scores) again();
      scores = now;
    }),
    on("steps", () => { if (Date.now() - previewsAt > PREVIEWS_AGAIN_MS) { previewsAt = Date.now(); parts[2].load(); } }), // nothing else tells of them
    on("reload", again), ...parts.map((part) => part.leave || (() => {})),
  ];
  return () => stops.forEach((stop) => stop());
}

// ---- suites

function openSuites(place, asked) {
  const choice = h("select", { id: "chosen-suite" });
  const drawing = h("div", { class: "chart", role: "img", "aria-label": "Share of right answers over steps; the table below says the same" });
  const newest = h("div"), all = h("div"), content = h("div", {}, h("div", { class: "buttons" }, h("label", { htmlFor: "chosen-suite" }, "Show"), choice, csvLink("/api/answers/suites")), drawing, newest, h("details", {}, h("summary", {}, "All scores as a table"), all));
  const empty = h("div", { hidden: true }, h("p", {}, Object.keys(asked.suites).length
    ? `${plural(Object.keys(asked.suites).length, "suite")} set (${Object.keys(asked.suites).join(", ")}), and not measured yet. It is measured every ${count(asked.suite_interval_steps)} steps, and at the end of each file.`
    : "No suite of questions is set. Put rows like those you train on into a file, each ending with the right answer of the assistant (or with metadata.answer, and metadata.difficulty to group them), and name it in config.json:"),
  Object.keys(asked.suites).length ? null : h("pre", {}, '{"validation": {"suites": {"sums": "data/sums.jsonl"}, "interval_steps": 500}}'),
  Object.keys(asked.suites).length ? null : h("p", {}, "A row: ", h("code", {}, '{"messages": [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "5"}], "metadata": {"difficulty": "easy"}}')));
  fill(place, h("h2", { id: "suites-title" }, "Suites over time"), empty, content);
  let scores = [], chart = null;

  const draw = () => {
    const names = [...new Set(scores.map((score) => score.suite))].sort();
    const wanted = names.length === 1 ? names[0] : choice.value;
    const isAll = !names.includes(wanted);
    const shown = scores.filter((score) => isAll ? score.difficulty === null : score.suite === wanted);
    const nameOf = (score) => isAll ? score.suite : score.difficulty === null ? "all questions" : `difficulty ${score.difficulty}`;
    const series = [...new Set(shown.map(nameOf))];
    const at = [...new Set(shown.map((score) => score.global_step))].sort((a, b) => a - b);
    const places = new Map(at.map((step, index) => [step, index]));
    const values = series.map(() => at.map(() => null));
    for (const score of shown) values[series.indexOf(nameOf(score))][places.get(score.global_step)] = 100 * score.exact_match;
    chart?.destroy();
    chart = drawing.clientWidth ? lines(drawing, at, series, values) : null;
    fill(newest, latest(scores));
  };
  const load = async () => {
    try {
      scores = [];
      for (let after = 0, page = null; !page || page.length >= 1000;) { // pages end with a step; the last may be cut off
        page = await read("/api/answers/suites", { after, limit: 1000 });
        const last = page.length ? page[page.length - 1].global_step : after;
        const whole = page.length >= 1000 && page[0].global_step < last ? page.filter((score) => score.global_step < last) : page;
        scores.push(...whole);
        after = whole.length ? whole[whole.length - 1].global_step : last;
      }
    } catch (error) { fill(newest, h("p", { class: "bad" }, error.message)); return; }
    empty.hidden = scores.length > 0;
    content.hidden = !scores.length;
    if (!scores.length) return;
    const names = [...new Set(scores.map((score) => score.suite))].sort();
    const options = [["", "all suites"], ...names.map((name) => [name, `${name}, by difficulty`])];
    if (document.activeElement !== choice && options.length !== choice.options.length) { const before = choice.value; fill(choice, options.map(([value, words]) => h("option", { value }, words))); choice.value = options.some(([value]) => value === before) ? before : ""; }
    choice.parentElement.querySelector("label").hidden = choice.hidden = names.length < 2;
    draw();
    if (!all.contains(document.activeElement)) fill(all, table([
      { title: "Step", number: true, of: (score) => count(score.global_step) }, { title: "Suite", of: (score) => score.suite }, { title: "Difficulty", of: (score) => score.difficulty ?? "all" },
      { title: "Right", number: true, of: percent }, { title: "Questions", number: true, of: (score) => count(score.rows) }, { title: "Loss", number: true, of: (score) => decimal(score.loss) },
    ], [...scores].reverse().slice(0, 500), { caption: "Scores of suites, the newest first" }), scores.length > 500 ? h("p", { class: "quiet" }, `The newest 500 of ${count(scores.length)}; the CSV has all.`) : null);
  };
  choice.addEventListener("change", draw);
  const watcher = new ResizeObserver(soon(() => { if (scores.length && chart) chart.setSize({ width: drawing.clientWidth, height: chart.height }); else if (scores.length) draw(); }, 150));
  watcher.observe(drawing);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", draw);
  load();
  return { load, leave: () => { watcher.disconnect(); scheme.removeEventListener("change", draw); chart?.destroy(); } };
}

function percent(score) {
  return `${(100 * score.exact_match).toFixed(1)} %`;
}

function latest(scores) {
  const newest = new Map();
  for (const score of scores) newest.set(`${score.suite}\n${score.difficulty ?? ""}`, score);
  return table([
    { title: "Suite", of: (score) => score.suite }, { title: "Difficulty", of: (score) => score.difficulty ?? "all" },
    { title: "Right", number: true, of: percent }, { title: "Questions", number: true, of: (score) => count(score.rows) },
    { title: "Loss of the right answers", number: true, of: (score) => decimal(score.loss) }, { title: "At step", number: true, of: (score) => count(score.global_step) },
  ], [...newest.values()].sort((a, b) => a.suite.localeCompare(b.suite) || (a.difficulty ?? "").localeCompare(b.difficulty ?? "")), { caption: "Newest scores" });
}

/** Draw lines over steps; each differs by dashes as well as by colour. */
function lines(element, at, names, values) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  return new uPlot({
    width: element.clientWidth, height: 260,
    scales: { x: { time: false }, y: { range: [0, 100] } },
    axes: [{ ...axis, label: "step of the model", values: (_, ticks) => ticks.map(count) }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => `${tick} %`) }],
    series: [{ label: "step", value: (_, step) => count(step) }, ...names.map((label, n) => ({
      label, stroke: colour(COLOURS[n % COLOURS.length]), width: 2, dash: DASHES[n % DASHES.length], spanGaps: true, points: { show: at.length < 60 },
      value: (_, value) => value === null || value === undefined ? "–" : `${value.toFixed(1)} % right`,
    }))],
  }, [at, ...values], element);
}

// ---- questions

function openQuestions(place, asked) {
  const suite = h("select", { id: "question-suite" }, h("option", { value: "" }, "all suites"), Object.keys(asked.suites).map((name) => h("option", { value: name }, name)));
  const which = h("select", { id: "which-questions" }, [["all", "all questions"], ["wrong", "answered wrong now"], ["lost", "right before, wrong now"], ["gained", "wrong before, right now"]].map(([value, words]) => h("option", { value }, words)));
  const list = h("div", { class: "questions" }), said = h("p", { class: "quiet", role: "status" });
  const more = h("button", { type: "button", hidden: true, id: "more-questions", onclick: () => load(true) }, "Show more");
  const csv = h("span");
  fill(place, h("h2", { id: "questions-title" }, "Each question"),
    h("p", { class: "quiet" }, "What was expected, and what the model answered at each evaluation. Neighbouring evaluations with the same answer are one step of the strip."),
    h("div", { class: "buttons" }, h("label", { htmlFor: "question-suite" }, "Suite"), suite, h("label", { htmlFor: "which-questions" }, "Show"), which, csv), said, list, more);
  let found = [], isEnd = false;
  const drawn = new Map(); // id -> {element, shown}

  const draw = () => {
    const shown = found.filter((question) => isMeant(question, which.value));
    said.textContent = found.length ? `${plural(shown.length, "question")}${which.value === "all" ? "" : ` of ${count(found.length)} read`}${isEnd ? "" : "; there are more"}` : Object.keys(asked.suites).length ? "No answer is recorded yet. Each evaluation of a suite records them." : "No suite is set: see above.";
    const elements = shown.map((question) => {
      const known = drawn.get(question.id), state = JSON.stringify(question);
      if (known && (known.state === state || known.element.contains(document.activeElement))) return known.element;
      const element = questionShown(question, known?.element.open);
      drawn.set(question.id, { element, state });
      return element;
    });
    if (elements.length !== list.childElementCount || elements.some((element, n) => list.children[n] !== element)) {
      for (const [n, element] of elements.entries()) if (list.children[n] !== element) list.insertBefore(element, list.children[n] || null);
      while (list.childElementCount > elements.length) list.lastElementChild.remove();
    }
    more.hidden = isEnd;
  };
  const load = async (isMore = false) => {
    const wanted = isMore ? PAGE : Math.min(1000, Math.max(PAGE, found.length));
    const page = await read("/api/answers/questions", { suite: suite.value || null, after: isMore && found.length ? found[found.length - 1].id : 0, limit: wanted }).catch((error) => { said.textContent = error.message; return null; });
    if (!page) return;
    found = isMore ? [...found, ...page] : page;
    isEnd = page.length < wanted;
    fill(csv, found.length ? csvLink(`/api/answers/questions${suite.value ? `?suite=${encodeURIComponent(suite.value)}` : ""}`) : null);
    draw();
  };
  suite.addEventListener("change", () => { found = []; load(); });
  which.addEventListener("change", draw);
  load();
  return { load: () => load() };
}

function isMeant({ answers }, which) {
  const now = answers[answers.length - 1], before = answers.slice(0, -1);
  if (which === "wrong") return !now.is_right;
  if (which === "lost") return !now.is_right && before.some((answer) => answer.is_right);
  if (which === "gained") return now.is_right && before.some((answer) => !answer.is_right);
  return true;
}

function verdict(isRight) {
  return h("strong", { class: isRight ? "good" : "bad" }, isRight ? "✓ right" : "✕ wrong");
}

function questionShown(question, isOpen = false) {
  const { answers } = question, now = answers[answers.length - 1];
  const shown = h("div", { role: "status" });
  let chosen = answers.length - 1;
  const strip = h("ol", { class: "strip", "aria-label": "Answers over time" }, answers.map((answer, n) => h("li", {}, h("button", {
    type: "button", class: answer.is_right ? "right" : "wrong", "aria-pressed": String(n === chosen), tabIndex: n === chosen ? 0 : -1,
    "aria-label": `${answer.is_right ? "right" : "wrong"}, ${span(answer)}`, onclick: () => choose(n), onkeydown: (event) => move(event, n),
  }, `${answer.is_right ? "✓" : "✕"} ${count(answer.first_step)}`))));
  const choose = (n) => {
    chosen = n;
    [...strip.querySelectorAll("button")].forEach((button, place) => { button.setAttribute("aria-pressed", String(place === n)); button.tabIndex = place === n ? 0 : -1; });
    const answer = answers[n];
    fill(shown, h("p", { class: "quiet" }, verdict(answer.is_right), ` at ${span(answer)} (${plural(answer.times, "evaluation")})`), h("pre", { tabIndex: 0 }, h("bdi", {}, answer.text || "(empty)")));
  };
  const move = (event, n) => {
    const next = { ArrowLeft: n - 1, ArrowRight: n + 1, Home: 0, End: answers.length - 1 }[event.key];
    if (next === undefined || next < 0 || next >= answers.length) return;
    event.preventDefault();
    choose(next);
    strip.querySelectorAll("button")[next].focus();
  };
  choose(chosen);
  return h("details", { class: "question", open: isOpen, "data-question": question.id },
    h("summary", {}, verdict(now.is_right), " ", h("bdi", {}, short(question.prompt)), h("span", { class: "quiet" }, ` ${question.suite}${question.difficulty ? `, difficulty ${question.difficulty}` : ""}`)),
    h("h3", {}, "Question"), h("pre", { tabIndex: 0 }, h("bdi", {}, question.prompt)),
    h("h3", {}, "Expected"), h("pre", { tabIndex: 0 }, h("bdi", {}, question.expected)),
    h("h3", {}, "Answered"), strip, shown);
}

function span(answer) {
  return answer.first_step === answer.last_step ? `step ${count(answer.first_step)}` : `steps ${count(answer.first_step)} to ${count(answer.last_step)}`;
}

function short(text) {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > 110 ? `${[...line].slice(0, 110).join("")}…` : line;
}

// ---- previews

function openPreviews(place, asked) {
  const choice = h("select", { id: "preview-prompt" });
  const slider = h("input", { type: "range", id: "preview-step", min: 0, step: 1, value: 0 });
  const shown = h("div", { role: "status", "aria-live": "polite" });
  const content = h("div", { hidden: true });
  const isSet = asked.prompts.length > 0 || asked.prompts_file;
  const empty = h("div", {}, h("p", {}, isSet
    ? `${asked.prompts.length ? `${plural(asked.prompts.length, "prompt")} set` : `Prompts of ${asked.prompts_file} are set`}, and not answered yet. It is done every ${count(asked.preview_interval_steps)} steps.`
    : "No prompts are set. Give some in config.json, and the model answers them every so many steps:"),
  isSet ? null : h("pre", {}, '{"previews": {"prompts": ["Who wrote Faust?", "What is 17 + 4?"], "interval_steps": 500}}'),
  isSet ? null : h("p", {}, "More of them, with expected answers, can come from a file of rows like those you train on: ", h("code", {}, '"previews": {"file": "data/prompts.jsonl"}')));
  const step = (by) => () => { slider.value = Number(slider.value) + by; draw(); };
  fill(content, h("div", { class: "buttons" }, h("label", { htmlFor: "preview-prompt" }, "Prompt"), choice, csvLink("/api/answers/previews")),
    h("div", { class: "slider" }, h("button", { type: "button", "aria-label": "The answer before", onclick: step(-1) }, "◀"), h("label", { htmlFor: "preview-step" }, "Over time"), slider, h("button", { type: "button", "aria-label": "The next answer", onclick: step(1) }, "▶")), shown);
  fill(place, h("h2", { id: "previews-title" }, "Previews over time"), empty, content);
  let found = [];

  const draw = () => {
    const prompt = found[Number(choice.value)] || found[0];
    if (!prompt) return;
    const { answers } = prompt;
    const n = Math.min(Number(slider.value), answers.length - 1), answer = answers[n], before = answers[n - 1];
    slider.setAttribute("aria-valuetext", `step ${count(answer.global_step)}, ${n + 1} of ${answers.length}`);
    const metrics = Object.entries(answer.metrics).map(([name, value]) => name === "exact_match" ? verdict(value >= 1) : `${name} ${decimal(value)}`);
    fill(shown, h("p", {}, h("strong", {}, `Step ${count(answer.global_step)}`), ` (${n + 1} of ${answers.length}) `, metrics.map((metric, place) => [place ? ", " : "", metric]),
      before ? h("span", { class: "quiet" }, before.text === answer.text ? ` = the same as at step ${count(before.global_step)}` : ` ≠ other than at step ${count(before.global_step)}`) : null),
    h("h3", {}, "Prompt"), h("pre", { tabIndex: 0 }, h("bdi", {}, prompt.prompt)),
    h("h3", {}, "Answer"), h("pre", { tabIndex: 0 }, h("bdi", {}, answer.text || "(empty)")),
    h("p", { class: "quiet" }, `${{ end: "It ended by itself", tokens: "It was cut off at the most tokens", time: "It was cut off by the time" }[answer.ended_by] || answer.ended_by}, after ${answer.seconds < 1 ? "less than 1 s" : duration(answer.seconds)}.`));
  };
  const load = async () => {
    const prompts = await read("/api/answers/previews").catch((error) => { fill(shown, h("p", { class: "bad" }, error.message)); return null; });
    if (!prompts) return;
    const chosen = found[Number(choice.value)]?.prompt;
    const wasAtEnd = !found.length || Number(slider.value) >= Number(slider.max);
    const at = found.find((prompt) => prompt.prompt === chosen)?.answers[Number(slider.value)]?.global_step;
    found = prompts;
    empty.hidden = found.length > 0;
    content.hidden = !found.length;
    if (!found.length) return;
    if (document.activeElement !== choice) fill(choice, found.map((prompt, n) => h("option", { value: n, selected: prompt.prompt === chosen }, short(prompt.prompt))));
    choosePrompt(wasAtEnd ? null : at);
  };
  const choosePrompt = (at = null) => {
    const { answers } = found[Number(choice.value)] || found[0];
    slider.max = answers.length - 1;
    const place = at === null || at === undefined ? answers.length - 1 : answers.findIndex((answer) => answer.global_step === at);
    slider.value = place < 0 ? answers.length - 1 : place;
    draw();
  };
  slider.addEventListener("input", draw);
  choice.addEventListener("change", () => choosePrompt());
  load();
  return { load };
}
