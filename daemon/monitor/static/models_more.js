// The gate's verdicts with their evidence, backups, and what takes space on the disk.

import { showPlan } from "./dialogs.js";
import { ask, fill, h, note, table } from "./dom.js";
import { steps } from "./plans.js";
import { csvLink, liveTable, soon } from "./rows.js";
import { on, read, send } from "./server.js";
import { bytes, count, decimal, duration, plural, time } from "./words.js";

const OUTCOMES = { passed: "✓ passed", refused: "✕ refused", admitted: "! admitted all the same", unjudged: "– not judged" };
const PAGE = 100;

// ---- gate

export function openGate(place) {
  const list = liveTable([
    { title: "When", of: (verdict) => h("time", { dateTime: verdict.at }, time(verdict.at)) },
    { title: "Files", of: (verdict) => verdict.files.map((file, number) => [number ? ", " : "", h("bdi", {}, file.name)]) },
    { title: "Verdict", of: (verdict) => h("strong", { class: { refused: "bad", passed: "good" }[verdict.outcome] || "warn" }, OUTCOMES[verdict.outcome]) },
    { title: "Steps", of: (verdict) => steps(verdict.from_step + 1, verdict.global_step) },
    { title: "Loss before → after", of: (verdict) => lines(verdict.losses, lossText) },
    { title: "Questions right before → after", of: (verdict) => lines(verdict.suites, suiteText) },
    { title: "In words", of: (verdict) => h("bdi", {}, verdict.reason) },
  ], { caption: "Verdicts of the gate, the newest first", key: (verdict) => `${verdict.branch}-${verdict.from_step}-${verdict.global_step}`, id: "gate-verdicts", classes: "stack",
    empty: "The gate has judged nothing yet. It compares the model after each file with what it was before, and takes back what makes it worse." });
  const said = h("p", { class: "quiet", role: "status" });
  const example = h("pre", { hidden: true }, '{"validation": {"file": "data/validation.jsonl"},\n "gate": {"enabled": true}}');
  let limit = PAGE;
  const more = h("button", { type: "button", hidden: true, onclick: () => { limit = Math.min(1000, limit + PAGE); load(); } }, "Show more");
  const load = async () => {
    try {
      const found = await read("/api/models/gate", { limit });
      list.update(found);
      example.hidden = found.length > 0;
      more.hidden = found.length < limit || limit >= 1000;
      said.textContent = found.length >= 1000 ? "The newest 1,000; the CSV has the same." : "";
    } catch (error) { said.textContent = error.message; }
  };
  fill(place, h("section", { class: "card wide", "aria-labelledby": "gate-title" }, h("h2", { id: "gate-title" }, "Verdicts of the gate"),
    h("p", { class: "quiet" }, "The same validation rows are measured before and after. t says how sure a rise of the loss is: a file is refused if the loss rises by gate.max_loss_increase and t is gate.min_t or more. ", csvLink("/api/models/gate?limit=1000")), said, list.element, example, more));
  load();
  const again = soon(load, 500);
  const stops = [on("events", (events) => { if (!events.length || events.some((event) => event.kind.startsWith("gate"))) again(); }), on("reload", again)];
  return { leave: () => stops.forEach((stop) => stop()) };
}

function lines(items, text) {
  return items.length ? h("ul", { class: "plain" }, items.map((item) => h("li", {}, text(item)))) : "–";
}

function lossText(item) {
  const rise = item.loss_before ? 100 * (item.loss_after / item.loss_before - 1) : 0;
  const difference = item.loss_after - item.loss_before;
  const half = item.t ? 1.96 * Math.abs(difference / item.t) : null;
  return `${decimal(item.loss_before)} → ${decimal(item.loss_after)} (${rise >= 0 ? "+" : "−"}${Math.abs(rise).toFixed(1)} %, t ${decimal(item.t, 3)}${half === null ? "" : `; difference ${signed(difference - half)} to ${signed(difference + half)} with 95 % confidence`}), ${plural(item.rows, "row")}${weights(item)}${item.against === "best" ? `, against the best of late (step ${count(item.global_step)})` : ""}`;
}

function suiteText(item) {
  return `${item.suite}: ${item.right_before} → ${item.right_after} of ${item.rows} (${item.lost} lost, ${item.gained} gained, p ${decimal(item.p, 3)})${weights(item)}`;
}

function weights(item) {
  return item.weights ? `, ${item.weights === "average" ? "averaged" : "last"} weights` : "";
}

function signed(value) {
  return `${value >= 0 ? "+" : "−"}${decimal(Math.abs(value), 3)}`;
}

// ---- backups

export function openBackups(place, context) {
  const body = h("div", { role: "status" });
  let isReading = false;
  const load = async () => {
    if (isReading) return;
    isReading = true;
    fill(body, h("p", { class: "quiet" }, "Looking at the backups …"));
    try {
      const found = await read("/api/models/backups");
      if (found) drawBackups(body, found, context);
      else fill(body, noBackups());
    } catch (error) { fill(body, h("p", { class: "bad" }, `✕ ${error.message}`)); }
    isReading = false;
  };
  fill(place, h("section", { class: "card wide", "aria-labelledby": "backups-title" }, h("h2", { id: "backups-title" }, "Backups"),
    h("p", { class: "quiet" }, "A backup is all that it takes to continue training somewhere else, bit for bit. Training continues while one is made."), body));
  load();
  const ended = new Set(context.tasks.all().map((task) => task.id + task.state));
  return { onTasks: () => {
    const fresh = context.tasks.all().filter((task) => task.kind === "back_up" && task.state !== "running" && !ended.has(task.id + task.state));
    fresh.forEach((task) => ended.add(task.id + task.state));
    if (fresh.length) load();
  } };
}

function noBackups() {
  return [h("p", {}, "No backups are made, because nobody has said where to. Put this into config.json, with a folder on another disk or an address such as sftp://user@host/folder:"),
    h("pre", {}, '{"backup": {"to": "/mnt/backup", "interval_s": 86400}}'),
    h("p", {}, "The daemon then makes one a day, and this page lists them. By hand, without the setting: ", h("code", {}, "training_models backup create --to /mnt/backup"))];
}

function drawBackups(body, found, context) {
  const act = (path, asked, action, content) => async () => { if (await ask(asked, { action, details: ["A process of its own does it, with low priority. How far it is stands at the top of the page."] }) !== null && await send(path, content)) note("It has begun."); };
  fill(body,
    h("p", {}, `In ${found.to}: ${plural(found.backups.length, "backup")}, ${bytes(found.stored_bytes)} in all; what several have in common lies there once. `, csvLink("/api/models/backups")),
    found.shares_device ? h("p", { class: "warn" }, "! They are on the same device as the working directory: one broken disk takes both.") : null,
    Object.entries(found.damaged).map(([name, why]) => h("p", { class: "bad" }, `✕ ${name} cannot be trusted: ${why}`)),
    context.mayAct() ? h("div", { class: "buttons" },
      h("button", { type: "button", class: "main", id: "back-up", onclick: act("/api/models/backups", "Make a backup now?", "Make it", {}) }, "Make a backup now"),
      h("button", { type: "button", id: "verify-backups", disabled: !found.backups.length, onclick: act("/api/models/backups/verify", "Verify all backups? Everything there is read and hashed again.", "Verify", {}) }, "Verify all")) : null,
    table([
      { title: "Backup", of: (line) => line.id },
      { title: "Made", of: (line) => h("time", { dateTime: line.at }, time(line.at)) },
      { title: "Why", of: (line) => line.why },
      { title: "Of", of: (line) => h("bdi", {}, line.origin) },
      { title: "Step", number: true, of: (line) => count(line.global_step) },
      { title: "Versions in it", of: (line) => line.versions.join(", ") || "as records" },
      { title: "Size", number: true, of: (line) => bytes(line.total_bytes) },
      { title: "", of: (line) => context.mayAct() ? h("button", { type: "button", "aria-label": `Verify ${line.id}`, onclick: act("/api/models/backups/verify", `Verify ${line.id}? All that it needs is read and hashed again.`, "Verify", { backup: line.id }) }, "Verify") : "" },
    ], [...found.backups].reverse().slice(0, 500), { caption: "Backups, the newest first", empty: "There is none yet." }),
    h("p", { class: "quiet" }, "To restore one into a new folder: ", h("code", {}, "training_models backup restore")));
}

// ---- disk

export function openDisk(place, context) {
  const body = h("div", { role: "status" });
  let isReading = false;
  const load = async () => {
    if (isReading) return;
    isReading = true;
    if (!body.childElementCount) fill(body, h("p", { class: "quiet" }, "Measuring what takes space …"));
    try { drawDisk(body, await read("/api/models/disk"), context, load); }
    catch (error) { fill(body, h("p", { class: "bad" }, `✕ ${error.message}`)); }
    isReading = false;
  };
  fill(place, h("section", { class: "card wide", "aria-labelledby": "disk-title" }, h("h2", { id: "disk-title" }, "Disk"), body));
  load();
  const seen = new Set(context.tasks.all().map((task) => task.id + task.state));
  return { onTasks: () => {
    const fresh = context.tasks.all().filter((task) => task.kind === "free_space" && task.state !== "running" && !seen.has(task.id + task.state));
    fresh.forEach((task) => seen.add(task.id + task.state));
    if (fresh.length) load();
  } };
}

function drawDisk(body, disk, context, load) {
  const { usage } = disk;
  const taken = usage.total_bytes - usage.free_bytes;
  const most = Math.max(1, ...usage.places.map((item) => item.bytes));
  fill(body,
    h("p", {}, `${bytes(disk.used_bytes)} used here; ${bytes(usage.free_bytes)} of ${bytes(usage.total_bytes)} free on the disk.`),
    h("meter", { min: 0, max: usage.total_bytes, value: taken, high: 0.9 * usage.total_bytes, "aria-label": `${Math.round(100 * taken / usage.total_bytes)} % of the disk taken` }),
    h("p", {}, disk.growth_bytes_per_hour === null ? "How fast it grows is known after half an hour of a running daemon." : `${bytes(Math.abs(disk.growth_bytes_per_hour))} ${disk.growth_bytes_per_hour < 0 ? "become free" : "are added"} per hour${disk.full_in_s === null ? "." : `: full in ${duration(disk.full_in_s)} at this pace.`}`,
      disk.wanted_bytes ? ` Below ${bytes(disk.wanted_bytes)} free, the daemon frees some by itself.` : " The daemon frees none by itself."),
    context.mayAct() ? h("div", { class: "buttons" },
      h("button", { type: "button", id: "free-usual", onclick: () => freeSpace(false) }, "Free what may go, until enough is free …"),
      h("button", { type: "button", id: "free-everything", onclick: () => freeSpace(true) }, "Free everything that may go …"),
      h("button", { type: "button", onclick: load }, "Measure again")) : null,
    h("h3", {}, "What could be freed"),
    table([{ title: "Kind", of: (item) => KINDS[item.kind] || item.kind }, { title: "Pieces", number: true, of: (item) => count(item.count) }, { title: "Space", number: true, of: (item) => bytes(item.bytes) }],
      disk.freeable, { caption: "What could be freed", empty: "Nothing: all of it is needed." }),
    h("h3", {}, "What takes space"), csvLink("/api/models/disk"),
    table([
      { title: "What", of: (item) => item.name }, { title: "Where", of: (item) => h("code", {}, item.folder) },
      { title: "Files", number: true, of: (item) => count(item.files) }, { title: "Space", number: true, of: (item) => bytes(item.bytes) },
      { title: "", of: (item) => h("meter", { min: 0, max: most, value: item.bytes, "aria-hidden": "true" }) },
    ], [...usage.places].sort((a, b) => b.bytes - a.bytes), { caption: "What takes space, the largest first" }));
}

const KINDS = {
  leftover: "left by what was killed", version_trash: "deleted versions", queue_trash: "the queue's trash", token_cache: "token caches, which fill again by themselves",
  base_model: "merged base models that nothing needs", optimizer_state: "optimizer states of versions: training cannot continue from these any more", checkpoint: "old checkpoints, for good",
};

function freeSpace(everything) {
  showPlan("Free disk space", {
    load: () => read("/api/models/disk-plan", { everything }),
    isPossible: (plan) => plan.acts.length > 0,
    lines: (plan) => [
      h("p", {}, h("strong", {}, plan.acts.length ? `${plural(plan.acts.length, "thing")} removed, ${bytes(plan.frees_bytes)} free then.` : "Nothing is removed."),
        plan.wanted_bytes === null ? "" : ` Wanted free: ${bytes(plan.wanted_bytes)}; free now: ${bytes(plan.free_bytes)}${plan.is_enough ? ", so that is enough." : "; that is not enough."}`),
      plan.is_for_worker ? h("p", { class: "warn" }, "While a worker runs, only it may remove checkpoints: lower checkpoints.keep_last to have it remove some.") : null,
      table([{ title: "Removed, in this order", of: (act) => h("code", {}, act.path) }, { title: "Kind", of: (act) => KINDS[act.kind] || act.kind }, { title: "Frees", number: true, of: (act) => bytes(act.frees_bytes) }],
        plan.acts, { caption: "What is removed", empty: "nothing" }),
      h("details", {}, h("summary", {}, `${plural(plan.left.length, "thing")} left, and why`), h("ul", {}, plan.left.slice(0, 200).map((left) => h("li", {}, h("code", {}, left.path), ` ${left.why}`)))),
    ],
    action: "Remove them",
    carryOut: async (plan) => await send("/api/models/disk", { everything, paths: plan.acts.map((act) => act.path) }) !== null,
  });
}
