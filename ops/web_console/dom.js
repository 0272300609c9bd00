// Making and changing elements. All text goes in as text: nothing that came from the worker is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Returns an HTML element with attributes (functions are listeners) and children (texts or elements). */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Returns an SVG element. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

/** Sets a text only where it differs, so that screen readers and selections are left alone. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Makes the children of `parent` fit `rows`: each row has one element, found again by its key and updated. */
export function keyed(parent, rows, keyOf, make, update) {
  const known = parent.keyedChildren ?? new Map();
  const next = new Map();
  rows.forEach((row, index) => {
    const key = keyOf(row);
    const element = known.get(key) ?? make(row);
    next.set(key, element);
    update(element, row);
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
  for (const [key, element] of known) if (next.get(key) !== element) element.remove();
  parent.keyedChildren = next;
}

/** Shows a table, or what to do where it would be empty. Returns the table's body. */
export function tableIn(parent, caption, columns, empty, isEmpty) {
  if (!parent.bodyOfTable) {
    const head = h("tr", {}, columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)));
    parent.bodyOfTable = h("tbody");
    parent.tableShown = h("table", {}, h("caption", { class: "unseen" }, caption), h("thead", {}, head), parent.bodyOfTable);
    parent.noteShown = h("p", { class: "empty" }, empty);
    parent.replaceChildren(parent.tableShown, parent.noteShown);
  }
  parent.tableShown.hidden = isEmpty;
  parent.noteShown.hidden = !isEmpty;
  return parent.bodyOfTable;
}
