// The page Models: versions, the model's life, going back and forgetting, comparing, the gate, backups and disk.

import { fill, h } from "./dom.js";
import { openBack } from "./models_back.js";
import { openCompare } from "./models_compare.js";
import { openLife } from "./models_life.js";
import { openBackups, openDisk, openGate } from "./models_more.js";
import { openVersions } from "./models_versions.js";
import { followTasks } from "./tasks.js";

const PARTS = [
  ["versions", "Versions", openVersions],
  ["life", "Life of the model", openLife],
  ["back", "Go back, forget", openBack],
  ["compare", "Compare", openCompare],
  ["gate", "Gate", openGate],
  ["backups", "Backups", openBackups],
  ["disk", "Disk", openDisk],
];

export async function open(page, current) {
  const panels = new Map();
  const leaving = [];
  const context = {
    current,
    mayAct: () => current.scope !== "read",
    tasks: null,
    /** Show a part, with what it is to begin with: context.show("compare", {before: "v001"}). */
    show(name, wanted = {}) { select(name, wanted); },
  };
  context.tasks = followTasks(current, () => { for (const panel of panels.values()) panel.onTasks?.(); });
  leaving.push(context.tasks.leave);

  const tabs = PARTS.map(([name, title]) => h("button", {
    type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `part-${name}`, "data-part": name,
    onclick: () => select(name), onkeydown: (event) => moveTab(event, name),
  }, title));
  const places = new Map(PARTS.map(([name]) => [name, h("div", { role: "tabpanel", id: `part-${name}`, "aria-labelledby": `tab-${name}`, hidden: true })]));

  function select(name, wanted = {}) {
    const [chosen, , build] = PARTS.find(([part]) => part === name) || PARTS[0];
    for (const tab of tabs) {
      const isChosen = tab.dataset.part === chosen;
      tab.setAttribute("aria-selected", isChosen);
      tab.tabIndex = isChosen ? 0 : -1;
    }
    for (const [part, place] of places) place.hidden = part !== chosen;
    if (!panels.has(chosen)) {
      const panel = build(places.get(chosen), context) || {};
      panels.set(chosen, panel);
      if (panel.leave) leaving.push(panel.leave);
    }
    panels.get(chosen).onShow?.(wanted);
    const address = chosen === PARTS[0][0] ? "/models" : `/models?part=${chosen}`;
    if (location.pathname + location.search !== address) history.replaceState(null, "", address);
  }

  function moveTab(event, name) {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -PARTS.length, End: PARTS.length }[event.key];
    if (!step) return;
    event.preventDefault();
    const place = PARTS.findIndex(([part]) => part === name) + step;
    const next = PARTS[Math.abs(step) === 1 ? (place + PARTS.length) % PARTS.length : Math.min(Math.max(place, 0), PARTS.length - 1)][0];
    select(next);
    document.getElementById(`tab-${next}`).focus();
  }

  fill(page, h("h1", {}, "Models"), context.tasks.element, h("div", { class: "tabs", role: "tablist", "aria-label": "Parts of this page" }, tabs), [...places.values()]);
  select(new URLSearchParams(location.search).get("part"));
  return () => leaving.forEach((leave) => leave());
}
