// What going back and forgetting mean, in words.

import { h } from "./dom.js";
import { count, duration, plural } from "./words.js";

const FATES = {
  undone: "is undone",
  requeued: "is undone and trained again",
  trained: "is in the model again",
  continues: "is in the model again, and its training continues",
};
const LISTED = 20;

export function steps(first, last) {
  return first === last ? `step ${count(first)}` : `steps ${count(first)} to ${count(last)}`;
}

/** Return elements that say what a rollback does. */
export function rollbackLines(plan) {
  const forward = plan.target_step > plan.current_step;
  return [
    h("p", {}, h("strong", {}, `The model goes ${forward ? "forward" : "back"} from step ${count(plan.current_step)} to step ${count(plan.target_step)}`), ` (models/${plan.target}).`),
    plan.asked_step === null ? null : h("p", { class: "warn" }, `Step ${count(plan.asked_step)} itself is not kept. The model can only go to a checkpoint or a version, and this is the newest one before it.`),
    plan.files.length ? h("p", {}, `${plural(plan.files.length, "file")} concerned:`) : h("p", {}, "No file is concerned."),
    listed(plan.files, (file) => [h("strong", {}, h("bdi", {}, file.name)), ` (${steps(file.first_step, file.last_step)}) ${FATES[file.fate]}${file.keeps_steps ? ", but not its earlier steps" : ""}`]),
    plan.files.some((file) => file.fate === "undone") ? h("p", {}, "What is undone goes to queue/skipped/, from where it can be trained again. Nothing is erased: you can come back as long as the present checkpoints are kept.") : null,
  ];
}

/** Return elements that say what forgetting a file does. */
export function forgetLines(plan) {
  const head = h("p", {}, h("strong", {}, "To be forgotten: "), names(plan.names), ` (${plan.sha256.slice(0, 12)}), ${plural(plan.job_ids.length, "job")}.`);
  if (plan.missing.length) return [head, h("p", { class: "bad" }, "✕ This cannot be done:"), h("ul", {}, plan.missing.map((why) => h("li", {}, why)))];
  const erased = [
    "the file itself wherever it lies in this folder, its flagged rows, and cached tokens",
    plan.checkpoints.length ? `${plural(plan.checkpoints.length, "checkpoint")} that saw it` : null,
    plan.versions.length ? [plural(plan.versions.length, "version"), " that saw it: ", names(plan.versions)] : null,
    plan.bases.length ? ["merged base models: ", names(plan.bases)] : null,
    plan.removed_backups.length ? `${plural(plan.removed_backups.length, "backup")} in ${plan.backup_to} that saw it` : null,
    plan.cleaned_backups.length ? `the file, out of ${plural(plan.cleaned_backups.length, "backup")} in ${plan.backup_to}` : null,
  ].filter(Boolean);
  return [
    head,
    h("h3", {}, "What is trained again"), trainingLines(plan).map((line) => h("p", {}, line)),
    plan.new_plans.length ? h("p", {}, "Had replayed rows of it, and replay others now: ", names(plan.new_plans)) : null,
    plan.unjudged.length ? h("p", { class: "warn" }, "Get no verdict of the gate any more, for which they wait: ", names(plan.unjudged)) : null,
    h("h3", {}, "What is erased, for good"), h("ul", {}, erased.map((line) => h("li", {}, line))),
    plan.aliases.length ? h("p", { class: "warn" }, "Mean nothing afterwards: ", names(plan.aliases)) : null,
    h("h3", {}, "What cannot be reached"), h("ul", {},
      h("li", {}, `${plan.backup_to ? "" : "backups, "}exports, deployments and other machines`),
      plan.backups_problem ? h("li", { class: "warn" }, `the backups, now, and they keep it if that lasts: ${plan.backups_problem}`) : null,
      plan.others.map((path) => h("li", {}, `${path}, rejected rows of another content of that name: remove it by hand`))),
    plan.inexact.map((why) => h("p", { class: "warn" }, `Not exact to the last bit: ${why}`)),
  ];
}

function trainingLines(plan) {
  if (plan.first_step === null) {
    if (plan.is_forgotten) return ["It was forgotten already. If anything is left of it, that is erased."];
    return plan.is_in_training ? [] : ["The model was not trained on it, so nothing is trained again."];
  }
  const where = plan.base ? `models/${plan.base} (step ${count(plan.base_step)})` : "the base model";
  const lines = [`It first had a part in step ${count(plan.first_step)} of ${count(plan.current_step)}.`];
  if (plan.files) lines.push(`From ${where} on, ${plural(plan.files, "file")} ${plan.files === 1 ? "is" : "are"} trained again without it: about ${plural(plan.steps, "step")}${plan.seconds === null ? "" : `, about ${duration(plan.seconds)}`}.`);
  else lines.push(`The model goes back to ${where}; nothing else was trained since.`);
  if (plan.is_in_training) lines.push("A worker trains on it now, and saves first: more is trained again and erased than this says.");
  else if (plan.unsaved_steps) lines.push(`A worker is training, and saves first: that is ${plural(plan.unsaved_steps, "step")} more by now, to be trained again.`);
  return lines;
}

function names(all) {
  const shown = all.slice(0, LISTED).flatMap((name, place) => [place ? ", " : "", h("bdi", {}, name)]);
  return all.length > LISTED ? [...shown, ` and ${count(all.length - LISTED)} more`] : shown;
}

function listed(items, line) {
  return items.length ? h("ul", {}, items.slice(0, LISTED).map((item) => h("li", {}, line(item))),
    items.length > LISTED ? h("li", {}, `and ${count(items.length - LISTED)} more`) : null) : null;
}
