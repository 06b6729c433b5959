// Makes elements. Text is always text: nothing that comes from a file, a row or a model is ever read as HTML.

/** Return an element: h("p", {class: "quiet", onclick: act}, "some text", child). */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && key !== "list" && key !== "form") element[key === "class" ? "className" : key] = value;
    else element.setAttribute(key === "class" ? "class" : key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a table. columns: [{title, of: row => cell, number: bool}] */
export function table(columns, rows, { caption, empty = "nothing here", key } = {}) {
  if (!rows.length) return h("p", { class: "quiet" }, empty);
  return h("div", { class: "table-frame", tabIndex: 0, role: "region", "aria-label": caption },
    h("table", {}, caption ? h("caption", { class: "hidden" }, caption) : null,
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: column.number ? "number" : "" }, column.title)))),
      h("tbody", {}, rows.map((row) => h("tr", key ? { "data-key": key(row) } : {},
        columns.map((column) => h("td", { class: column.number ? "number" : "", "data-title": column.title }, column.of(row))))))));
}

/** Show a short note that goes away by itself. kind: "good" or "bad". */
export function note(text, kind = "good") {
  const shown = h("p", { class: `note ${kind}` }, text, h("button", { "aria-label": "Close", onclick: () => shown.remove() }, "×"));
  document.getElementById("notes").append(shown);
  setTimeout(() => shown.remove(), kind === "good" ? 6000 : 20000);
}

/** Ask in a dialog; resolves to the value of what was typed, "" without a field, or null if it was cancelled. */
export function ask(question, { details = [], action = "OK", field = null, dangerous = false } = {}) {
  return new Promise((resolve) => {
    const input = field ? h("input", { type: "text", maxLength: 500, id: "asked", autocomplete: "off" }) : null;
    const dialog = h("dialog", { "aria-labelledby": "question" },
      h("form", { method: "dialog" }, h("h2", { id: "question" }, question), details.map((line) => h("p", {}, line)),
        field ? [h("label", { htmlFor: "asked" }, field), input] : null,
        h("div", { class: "buttons" }, h("button", { value: "yes", class: dangerous ? "danger" : "main" }, action), h("button", { value: "no", formNoValidate: true }, "Cancel"))));
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes" ? (input ? input.value : "") : null);
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
