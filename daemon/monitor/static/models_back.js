// Going back to an earlier state, and forgetting a file: the plan first, then the act.

import { showPlan } from "./dialogs.js";
import { fill, h, note } from "./dom.js";
import { forgetLines, rollbackLines } from "./plans.js";
import { read, send } from "./server.js";

/** Show what it means to go somewhere ({version}, {file} or {steps}), and go if that is wanted. */
export function goBackTo(target, title) {
  const wanted = { requeue: false, without: "" };
  showPlan(title, {
    load: () => read("/api/models/rollback-plan", { to: Object.keys(target)[0], target: Object.values(target)[0], requeue: wanted.requeue, without: wanted.requeue && wanted.without ? wanted.without : null }),
    lines: rollbackLines,
    action: "Go back",
    options: (look) => {
      const again = h("input", { type: "checkbox", id: "requeue", onchange: () => { wanted.requeue = again.checked; without.disabled = !again.checked; look(); } });
      const without = h("input", { type: "text", id: "without", disabled: true, autocomplete: "off", onchange: () => { wanted.without = without.value.trim(); look(); } });
      return h("fieldset", {}, h("legend", {}, "What becomes of the files that are undone"),
        h("p", {}, again, " ", h("label", { htmlFor: "requeue" }, "Train them again afterwards")),
        h("label", { htmlFor: "without" }, "… all but this file (optional)"), without);
    },
    carryOut: async (plan) => {
      const answer = await send("/api/models/rollback", { ...target, requeue: wanted.requeue, without: wanted.requeue && wanted.without ? [wanted.without] : [], target: plan.target });
      if (answer) note("It was asked for; how far it is stands at the top of the page.");
      return answer !== null;
    },
  });
}

/** Show what it means to forget a file, and have it forgotten after its name was typed. */
export function forgetFile(file, keepVersions) {
  showPlan("Forget a file", {
    load: () => read("/api/models/forget-plan", { file, keep_versions: keepVersions }),
    lines: forgetLines,
    action: "Forget it for good",
    isPossible: (plan) => !plan.missing.length,
    confirm: (plan) => plan.names[0],
    carryOut: async (plan, typed) => {
      const answer = await send("/api/models/forget", { file: plan.sha256, keep_versions: keepVersions, typed });
      if (answer) note("It was asked for; how far it is stands at the top of the page.");
      return answer !== null;
    },
  });
}

export function openBack(place, context) {
  if (!context.mayAct()) {
    fill(place, h("section", { class: "card" }, h("h2", {}, "Go back, forget"), h("p", {}, "This link may only look. Whoever opens the one for control can go back here.")));
    return {};
  }
  const form = (id, title, words, label, input, action, act, more = null) => h("section", { class: "card", "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, title), h("p", { class: "quiet" }, words),
    h("form", { onsubmit: (event) => { event.preventDefault(); if (input.value.trim()) act(input.value.trim()); } },
      h("label", { htmlFor: input.id }, label), input, more, h("div", { class: "buttons" }, h("button", { id }, action))));
  const text = (id, attributes = {}) => h("input", { type: "text", id, autocomplete: "off", required: true, ...attributes });
  const versions = h("datalist", { id: "known-versions" });
  const files = h("datalist", { id: "known-files" });
  const keep = h("input", { type: "checkbox", id: "keep-versions" });
  fill(place, versions, files, h("div", { class: "cards" },
    form("back-to-version", "To a version", "The weights of that version are published as a new checkpoint, also if it is newer than the present state. Nothing is rewritten.", "Version, or a name that means one",
      text("to-version", { list: "known-versions" }), "Show what it means …", (version) => goBackTo({ version }, `Go to ${version}`)),
    form("back-before-file", "To before a file", "To the newest state that is kept from before the first step of a file.", "File, or the id of its job",
      text("before-file", { list: "known-files" }), "Show what it means …", (file) => goBackTo({ file }, `Go back to before ${file}`)),
    form("back-by-steps", "By steps", "By at least so many steps, as far as checkpoints and versions are kept.", "Steps",
      text("by-steps", { type: "number", min: 1, step: 1 }), "Show what it means …", (number) => goBackTo({ steps: Number(number) }, `Go back by ${number} steps`)),
    form("forget-file", "Forget a file", "The model is trained again without it, as if it had never been there, and the file is erased, for good. Going back is cheaper, and can be undone.", "File, the id of its job, or the start of its SHA-256",
      text("forgotten-file", { list: "known-files" }), "Show what it means …", (file) => forgetFile(file, keep.checked),
      h("p", {}, keep, " ", h("label", { htmlFor: "keep-versions" }, "Keep the versions that saw it")))));
  const onShow = async ({ file } = {}) => {
    if (file) document.getElementById("forgotten-file").value = document.getElementById("before-file").value = file;
    try {
      const { versions: found } = await read("/api/models/versions", { limit: 200 });
      fill(versions, found.flatMap((line) => [...line.aliases, line.id]).map((value) => h("option", { value })));
      fill(files, found.length ? (await read(`/api/models/versions/${found[0].id}/files`)).slice(-200).reverse().map((item) => h("option", { value: item.name })) : null);
    } catch { /* then nothing is offered, and names can be typed all the same */ }
  };
  return { onShow };
}
