// Keeps the rows of a table up to date without taking focus, scroll or selection away.

import { h } from "./dom.js";

/** Return a table whose rows follow their items: {element, update(items)}. columns as in `table`, and `key` of an item. */
export function liveTable(columns, { caption, key, empty = "nothing here", id = null, classes = "" }) {
  const rows = new Map(); // key -> {row, shown}
  const body = h("tbody");
  const none = h("p", { class: "quiet" }, empty);
  const frame = h("div", { class: "table-frame", tabIndex: 0, role: "region", "aria-label": caption },
    h("table", { class: classes, id }, h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: column.number ? "number" : "" }, column.title)))), body));
  const make = (item) => h("tr", { "data-key": key(item) }, columns.map((column) =>
    h("td", { class: column.number ? "number" : "", "data-title": column.title }, h("div", {}, column.of(item)))));

  const update = (items) => {
    const wanted = new Set(items.map((item) => String(key(item))));
    for (const [name, { row }] of rows) if (!wanted.has(name)) { row.remove(); rows.delete(name); }
    let before = null;
    for (const item of items) {
      const name = String(key(item)), shown = JSON.stringify(item);
      let known = rows.get(name);
      if (!known || known.shown !== shown) {
        const row = make(item);
        if (known) replaceKeepingFocus(known.row, row);
        known = { row, shown };
        rows.set(name, known);
      }
      const place = before ? before.nextSibling : body.firstChild;
      if (known.row !== place) body.insertBefore(known.row, place);
      before = known.row;
    }
    none.hidden = items.length > 0;
    frame.hidden = !items.length;
  };
  frame.hidden = none.hidden = true; // until something is known
  return { element: h("div", {}, frame, none), update };
}

/** Put one element in another's place; the same part of it keeps the focus. */
function replaceKeepingFocus(before, after) {
  const focused = before.contains(document.activeElement) ? document.activeElement.dataset.act : null;
  before.replaceWith(after);
  if (focused) after.querySelector(`[data-act="${CSS.escape(focused)}"]`)?.focus();
}

/** Call `act` soon, once, however often it is asked for. */
export function soon(act, milliseconds = 300) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(act, milliseconds); };
}

/** A link to the same as CSV. */
export function csvLink(path, words = "as CSV") {
  return h("a", { href: `${path}${path.includes("?") ? "&" : "?"}format=csv`, download: "" }, words);
}

/** A term and what it is, for lists of facts; nothing where there is no value. */
export function facts(entries) {
  return h("dl", { class: "facts" }, entries.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

