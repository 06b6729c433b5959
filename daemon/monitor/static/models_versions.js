// Versions: a table that stays quick with a thousand of them, one of them with all that is known of it, and acts.

import { showDialog } from "./dialogs.js";
import { ask, fill, h, note, table } from "./dom.js";
import { goBackTo } from "./models_back.js";
import { steps } from "./plans.js";
import { csvLink, facts, liveTable, soon } from "./rows.js";
import { on, read, send } from "./server.js";
import { ago, bytes, count, decimal, plural, time } from "./words.js";

const PAGE = 50;
const MAKERS = { hand: "by hand", file: "after a file", day: "for the day", gate: "after the gate passed", rollback: "before going back", forget: "for forgetting", consolidate: "for merging" };

export function openVersions(place, context) {
  let search = "", limit = PAGE, reading = 0;
  const searching = h("input", { type: "search", id: "version-search", placeholder: "id, name, tag, note", autocomplete: "off" });
  const counted = h("p", { class: "quiet", role: "status" });
  const damaged = h("div");
  const more = h("button", { type: "button", id: "more-versions", hidden: true, onclick: () => { limit += PAGE; load(); } }, "Show more");
  const csv = h("span");
  const list = liveTable(columns(context), { caption: "Versions, the newest first", key: (line) => line.id, id: "versions", classes: "stack",
    empty: "No version yet. Make one of the newest checkpoint, or set versions.auto to day, file or gate to have them made." });
  const average = h("section", { class: "card", hidden: true, "aria-labelledby": "average-title" });
  const trash = h("div"), checkpoints = h("div");

  const load = async () => {
    const mine = ++reading;
    try {
      const found = await read("/api/models/versions", { limit: Math.min(limit, 1000), search: search || null });
      let page = found;
      while (page.next && found.versions.length < limit) { // beyond what one answer may hold
        page = await read("/api/models/versions", { limit: Math.min(limit - found.versions.length, 1000), search: search || null, after: page.next });
        found.versions.push(...page.versions);
      }
      if (mine !== reading) return;
      list.update(found.versions);
      counted.textContent = `${count(found.versions.length)} of ${plural(found.total, "version")}${search ? " found" : ""}`;
      more.hidden = !page.next;
      fill(csv, csvLink(`/api/models/versions${search ? `?search=${encodeURIComponent(search)}` : ""}`));
      fill(damaged, Object.entries(found.damaged).map(([name, why]) => h("p", { class: "bad" }, `✕ ${name} is damaged: ${why} `,
        context.mayAct() ? h("button", { type: "button", onclick: () => remove(name) }, "Delete it") : null)));
    } catch (error) {
      if (mine === reading) counted.textContent = error.message;
    }
  };
  const loadRest = async () => {
    const [kept, trashed, weights] = await Promise.allSettled(["checkpoints", "trash", "average"].map((name) => read(`/api/models/${name}`)));
    if (kept.status === "fulfilled" && !checkpoints.contains(document.activeElement)) drawCheckpoints(checkpoints, kept.value, context, reload);
    if (trashed.status === "fulfilled" && !trash.contains(document.activeElement)) drawTrash(trash, trashed.value, context, reload);
    if (weights.status === "fulfilled") drawAverage(average, weights.value);
  };
  const reload = () => { load(); loadRest(); };
  searching.addEventListener("input", soon(() => { search = searching.value.trim(); limit = PAGE; load(); }));

  fill(place,
    h("section", { class: "card wide", "aria-labelledby": "versions-title" },
      h("div", { class: "head" }, h("h2", { id: "versions-title" }, "Versions"), context.mayAct() ? h("button", { type: "button", class: "main", id: "make-version", onclick: () => make("current") }, "Make a version of the newest checkpoint") : null),
      h("p", { class: "quiet" }, "A version is a checkpoint that stays. It takes no room of its own while its checkpoint is kept."),
      h("div", { class: "buttons" }, h("label", { htmlFor: "version-search" }, "Search"), searching, csv, counted),
      damaged, list.element, more),
    h("div", { class: "cards below" }, average,
      h("section", { class: "card wide" }, h("details", { id: "checkpoints" }, h("summary", {}, h("h2", {}, "Checkpoints")), checkpoints)),
      h("section", { class: "card wide" }, h("details", { id: "trash" }, h("summary", {}, h("h2", {}, "Deleted versions")), trash))));
  reload();
  const again = soon(reload, 500);
  const stops = [on("models", again), on("reload", again), on("tasks", again)];
  return { leave: () => stops.forEach((stop) => stop()), onShow: ({ version }) => { if (version) showVersion(version, context); } };
}

function columns(context) {
  return [
    { title: "Version", of: (line) => [h("button", { type: "button", class: "link", "data-act": "show", onclick: () => showVersion(line.id, context) }, line.id), " ", chips(line)] },
    { title: "Made", of: (line) => h("time", { dateTime: line.made_at, title: line.made_at }, time(line.made_at)) },
    { title: "Step", number: true, of: (line) => count(line.global_step) },
    { title: "New files", number: true, of: (line) => count(line.files) },
    { title: "Validation loss", number: true, of: (line) => lossOf(line.validation_loss, line.validation_weights) },
    { title: "Suites right", of: (line) => line.suites.length ? line.suites.map(suiteText).join(", ") : "–" },
    { title: "Size", number: true, of: (line) => bytes(line.bytes) },
    { title: "Note", of: (line) => line.notes.length ? h("bdi", {}, line.notes[line.notes.length - 1]) : "–" },
  ];
}

export function chips(line) {
  return [line.is_current ? h("span", { class: "chip now" }, "current") : null,
    line.aliases.map((name) => h("span", { class: "chip alias" }, h("span", { class: "hidden" }, "alias "), name)),
    line.tags.map((name) => h("span", { class: "chip" }, `#${name}`)),
    line.has_optimizer_state ? null : h("span", { class: "chip", title: "Training cannot continue exactly from it" }, "weights only")];
}

export function lossOf(loss, weights) {
  return loss === null ? "–" : `${decimal(loss)}${weights === "average" ? " averaged" : ""}`;
}

function suiteText(score) {
  return `${score.suite} ${(100 * score.exact_match).toFixed(0)} %`;
}

async function make(checkpoint) {
  const words = await ask(checkpoint === "current" ? "Make a version of the newest checkpoint?" : `Make a version of ${checkpoint}?`,
    { details: ["All its files are read and compared with their hashes; that may take a while."], action: "Make it", field: "A note (optional)" });
  if (words !== null && await send("/api/models/versions", { checkpoint, note: words || null })) note("It is being made.");
}

async function remove(name) {
  const answer = await ask(`Delete ${name}?`, { details: ["It goes to the trash, from where you can bring it back until its space is needed. Where backup.before says so, a backup is made first."], action: "Delete", dangerous: true });
  return answer !== null && await send(`/api/models/versions/${encodeURIComponent(name)}/delete`) !== null;
}

// ---- one version

export function showVersion(name, context) {
  showDialog(`Version ${name}`, async (body, close) => {
    const draw = async () => {
      try {
        const [details, files] = await Promise.all([read(`/api/models/versions/${encodeURIComponent(name)}`), read(`/api/models/versions/${encodeURIComponent(name)}/files`)]);
        fill(body, factsOf(details), context.mayAct() ? [marks(details, draw), acts(details, context, close)] : null, filesOf(name, files), settingsOf(details));
      } catch (error) { fill(body, h("p", { class: "bad" }, `✕ ${error.message}`)); }
    };
    fill(body, h("p", { class: "quiet" }, "Reading …"));
    await draw();
  }, { id: "version" });
}

function factsOf({ record, aliases, tags, notes, place, has_optimizer_state: hasState, has_weights: hasWeights }) {
  return [
    facts([
      ["made", `${time(record.made_at)}, ${MAKERS[record.made_by] || record.made_by} (${ago(record.made_at)})`],
      ["step", `${count(record.global_step)} (${count(record.tokens_seen)} tokens)`],
      ["came after", record.parent || "the base model"],
      ["validation loss", lossOf(record.validation_loss, record.validation_weights)],
      ...record.suites.map((score) => [`suite ${score.suite}`, `${(100 * score.exact_match).toFixed(1)} % of ${plural(score.rows, "question")} right${score.global_step === record.global_step ? "" : `, measured at step ${count(score.global_step)}`}`]),
      ["base model", `${record.base_model} (${record.method})${record.own_base ? `, merged in models/${record.own_base}` : ""}`],
      ["aliases", aliases.join(", ") || "none"], ["tags", tags.join(", ") || "none"],
      ["kept", hasState ? "with the optimizer state: training can continue from here" : hasWeights ? "weights only: it can be loaded; training cannot continue exactly" : "the record only: its weights are not here"],
      ["size", bytes(Object.values(record.files).reduce((sum, file) => sum + file.bytes, 0))],
      ["place", h("code", {}, place)],
    ]),
    notes.length ? [h("h3", {}, "Notes"), h("ul", {}, notes.map((text) => h("li", {}, h("bdi", {}, text))))] : null,
  ];
}

function marks({ record, aliases, tags }, draw) {
  const field = (id, label, action, act) => {
    const input = h("input", { type: "text", id, autocomplete: "off", maxLength: 2000 });
    return h("form", { class: "buttons", onsubmit: async (event) => { event.preventDefault(); if (input.value.trim() && await act(input.value.trim())) { input.value = ""; draw(); } } },
      h("label", { htmlFor: id }, label), input, h("button", {}, action));
  };
  const at = `/api/models/versions/${record.id}`;
  const isPinned = tags.includes("pinned");
  return h("details", {}, h("summary", {}, "Say something about it"),
    field("new-note", "Note", "Add", (text) => send(`${at}/note`, { text })),
    field("new-tag", "Tag", "Add", (tag) => send(`${at}/tag`, { tag })),
    field("new-alias", "Name (alias)", "Let it mean this version", (alias) => send("/api/models/aliases", { alias, version: record.id })),
    h("div", { class: "buttons" },
      tags.map((tag) => h("button", { type: "button", onclick: async () => { if (await send(`${at}/tag`, { tag, is_set: false })) draw(); } }, `Remove the tag ${tag}`)),
      aliases.map((alias) => h("button", { type: "button", onclick: async () => { if (await ask(`Let ${alias} mean nothing?`, { action: "Remove the name" }) !== null && await send("/api/models/aliases", { alias })) draw(); } }, `Remove the name ${alias}`)),
      isPinned ? null : h("button", { type: "button", id: "pin-version", title: "Gives it the tag pinned", onclick: async () => { if (await send(`${at}/tag`, { tag: "pinned" })) draw(); } }, "Pin: keep its optimizer state")));
}

function acts({ record, has_optimizer_state: hasState }, context, close) {
  return h("div", { class: "buttons" },
    h("button", { type: "button", id: "go-to-version", disabled: !hasState, onclick: () => { close(); goBackTo({ version: record.id }, `Go to ${record.id}`); } }, "Go back to it …"),
    h("button", { type: "button", onclick: () => { close(); context.show("compare", { before: record.id, after: "current" }); } }, "Compare with the current one"),
    h("button", { type: "button", onclick: async () => { if (await remove(record.id)) close(); } }, "Delete …"));
}

function filesOf(name, files) {
  return [h("h3", {}, `Trained on ${plural(files.length, "file")}`), files.length ? csvLink(`/api/models/versions/${encodeURIComponent(name)}/files`) : null,
    table([
      { title: "File", of: (file) => h("bdi", {}, file.name) },
      { title: "Steps", of: (file) => steps(file.first_step, file.last_step) },
      { title: "Rows", number: true, of: (file) => count(file.rows) },
      { title: "Outcome", of: (file) => file.outcome },
      { title: "SHA-256", of: (file) => h("code", {}, file.sha256.slice(0, 12)) },
    ], files.slice(-500), { caption: `Files that made ${name}`, empty: "on no file" }),
    files.length > 500 ? h("p", { class: "quiet" }, `The newest 500 of ${count(files.length)}; the CSV has all.`) : null];
}

function settingsOf({ record }) {
  return h("details", {}, h("summary", {}, "Settings and libraries"), h("pre", { tabIndex: 0 }, JSON.stringify({ settings: record.settings, libraries: record.libraries }, null, 2)));
}

// ---- beside them

function drawCheckpoints(place, found, context, reload) {
  fill(place, h("p", { class: "quiet" }, "The newest states. Old ones are removed by the rules of checkpoints.keep_last and its neighbours, unless they are pinned. ", csvLink("/api/models/checkpoints")),
    table([
      { title: "Checkpoint", of: (item) => [item.name, " ", item.is_current ? h("span", { class: "chip now" }, "current") : null, item.is_pinned ? h("span", { class: "chip" }, "pinned") : null] },
      { title: "State", of: (item) => item.state === "ok" ? "✓ whole" : h("span", { class: "bad" }, `✕ ${item.state}: ${item.reason}`) },
      { title: "Step", number: true, of: (item) => count(item.global_step) },
      { title: "Saved", of: (item) => time(item.written_at) },
      { title: "Size", number: true, of: (item) => bytes(item.bytes) },
      { title: "", of: (item) => context.mayAct() ? h("div", { class: "buttons" },
        h("button", { type: "button", "aria-label": `${item.is_pinned ? "Unpin" : "Pin"} ${item.name}`, onclick: async () => { if (await send(`/api/models/checkpoints/${encodeURIComponent(item.name)}/pin`, { is_pinned: !item.is_pinned })) { document.activeElement?.blur(); reload(); } } }, item.is_pinned ? "Unpin" : "Pin: keep it for ever"),
        item.state === "ok" ? h("button", { type: "button", "aria-label": `Make a version of ${item.name}`, onclick: () => make(item.name) }, "Make a version") : null) : "" },
    ], found, { caption: "Checkpoints, the newest first", empty: "No checkpoint yet: the first is saved when something is trained." }));
}

function drawTrash(place, found, context, reload) {
  fill(place, table([
    { title: "Version", of: (line) => line.id },
    { title: "Step", number: true, of: (line) => count(line.global_step) },
    { title: "Made", of: (line) => time(line.made_at) },
    { title: "Deleted", of: (line) => time(line.deleted_at) },
    { title: "", of: (line) => context.mayAct() ? h("button", { type: "button", onclick: async () => { if (await send(`/api/models/trash/${line.id}/restore`)) { note(`${line.id} is back`); document.activeElement?.blur(); reload(); } } }, `Bring ${line.id} back`) : "" },
  ], found, { caption: "Versions in the trash", empty: "The trash is empty." }));
}

function drawAverage(place, average) {
  place.hidden = average.setting === "none" && !average.is_kept;
  fill(place, h("h2", { id: "average-title" }, "Averaged weights"), facts([
    ["kept as", average.is_kept ? h("code", {}, average.place) : "not yet: it begins with the next file"],
    ["kind", average.setting === "ema" ? `exponential: weights of ${count(average.steps)} steps ago count half` : average.setting === "window" ? `mean over the newest ${count(average.steps)} steps or more` : "none any more"],
    ["judged by", average.preferred === "average" ? "the averaged weights" : "the last weights"],
    ["validation loss", average.loss_of_average === null && average.loss_of_last === null ? null : `${decimal(average.loss_of_average)} averaged, ${decimal(average.loss_of_last)} last, at step ${count(average.validated_step)}`],
  ]));
}
