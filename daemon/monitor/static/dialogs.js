// Dialogs that hold more than a question: something to look at, or a plan that is worked out before it is agreed to.

import { fill, h } from "./dom.js";

/** Show a dialog; `build` gets its body and a function that closes it. Returns that function. */
export function showDialog(title, build, { id = "dialog" } = {}) {
  const body = h("div", { class: "dialog-body" });
  const dialog = h("dialog", { class: "large", id, "aria-labelledby": `${id}-title` },
    h("div", { class: "dialog-head" }, h("h2", { id: `${id}-title` }, title),
      h("button", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "×")), body);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  const close = () => dialog.close();
  build(body, close);
  dialog.showModal();
  return close;
}

/**
 * Show a plan before it is carried out.
 * load: returns the plan; lines: plan => [elements]; carryOut: (plan, typed) => a promise, true closes the dialog.
 * confirm: plan => the name that has to be typed, or null; isPossible: plan => whether it may be carried out.
 */
export function showPlan(title, { load, lines, action, carryOut, confirm = () => null, isPossible = () => true, options = null }) {
  showDialog(title, (body, close) => {
    const place = h("div", { role: "status", "aria-live": "polite" });
    let asked = 0;
    const look = async () => {
      const mine = ++asked;
      fill(place, h("p", { class: "quiet" }, "Working out what this means. Nothing is changed yet …"));
      try {
        const plan = await load();
        if (mine === asked) draw(plan);
      } catch (error) {
        if (mine === asked) fill(place, h("p", { class: "bad" }, "✕ ", error.message));
      }
    };
    const draw = (plan) => {
      const name = confirm(plan);
      const typed = name ? h("input", { type: "text", id: "typed-name", autocomplete: "off", spellcheck: false, "aria-describedby": "typed-help" }) : null;
      const go = h("button", { type: "button", class: "danger", disabled: Boolean(name), id: "carry-out" }, action);
      if (typed) typed.addEventListener("input", () => { go.disabled = typed.value.trim() !== name; });
      go.addEventListener("click", async () => {
        go.disabled = true;
        if (await carryOut(plan, typed ? typed.value.trim() : null)) close();
        else go.disabled = false;
      });
      fill(place, lines(plan), !isPossible(plan) ? null : [
        name ? [h("label", { htmlFor: "typed-name" }, "To confirm, type the name of the file:"), h("p", { id: "typed-help" }, h("code", {}, name)), typed] : null,
        h("div", { class: "buttons" }, go, h("button", { type: "button", onclick: close }, "Cancel"))]);
    };
    fill(body, options ? options(look) : null, place);
    look();
  }, { id: "plan" });
}
