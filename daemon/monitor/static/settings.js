// The page Settings: every setting in force, where it comes from, and how it is changed.

import { fill, h } from "./dom.js";
import { on, read } from "./server.js";
import { plural } from "./words.js";

export async function open(page) {
  const place = h("div");
  const search = h("input", { type: "search", id: "setting-search", placeholder: "such as learning_rate", oninput: () => draw() });
  const changed = h("input", { type: "checkbox", id: "setting-changed", onchange: () => draw() });
  const remarks = h("div");
  let settings = [];
  fill(page, h("h1", {}, "Settings"),
    h("p", { class: "quiet" }, "Settings are changed in config.json; a change takes effect without a restart, mostly with the next file. Here you see what is in force."),
    remarks,
    h("div", { class: "buttons" }, h("label", { htmlFor: "setting-search" }, "Search"), search, changed, h("label", { htmlFor: "setting-changed" }, "only those that are not the default")), place);

  async function readAll() {
    try {
      settings = await read("/api/settings");
      draw();
      const found = await read("/api/settings/remarks");
      fill(remarks, found.map((text) => h("p", { class: "warn" }, text)));
    } catch (error) { fill(place, h("p", { class: "bad", role: "alert" }, error.message)); }
  }

  function draw() {
    const words = search.value.trim().toLowerCase();
    const shown = settings.filter((one) => (!changed.checked || one.origin !== "default") && (!words || `${one.name} ${one.meaning}`.toLowerCase().includes(words)));
    const sections = Map.groupBy ? Map.groupBy(shown, (one) => one.name.split(".")[0]) : grouped(shown);
    fill(place, h("p", { class: "quiet", role: "status" }, plural(shown.length, "setting")),
      [...sections].map(([section, found]) => h("section", { class: "card", "aria-labelledby": `section-${section}` }, h("h2", { id: `section-${section}` }, section),
        found.map((one) => h("details", { class: "setting" },
          h("summary", {}, h("code", {}, one.name.split(".")[1]), " = ", h("code", { class: one.origin === "default" ? "quiet" : "" }, JSON.stringify(one.value)), " ",
            one.origin === "default" ? h("span", { class: "quiet" }, "default") : h("span", { class: "tag" }, one.origin),
            one.is_locked ? h("span", { class: "tag" }, "locked") : null),
          h("p", {}, inline(one.meaning)),
          one.origin === "default" ? null : h("p", { class: "quiet" }, "Default: ", h("code", {}, JSON.stringify(one.default))),
          h("p", {}, one.how_to_change))))));
  }

  await readAll();
  const stops = [on("settings", readAll), on("reload", readAll)];
  return () => stops.forEach((stop) => stop());
}

function grouped(settings) {
  const found = new Map();
  for (const one of settings) found.set(one.name.split(".")[0], [...(found.get(one.name.split(".")[0]) || []), one]);
  return found;
}

/** `code` of Markdown as elements; everything else is text. */
function inline(text) {
  return text.split(/(`[^`]*`)/).map((part) => part.startsWith("`") && part.length > 1 ? h("code", {}, part.slice(1, -1)) : part);
}
