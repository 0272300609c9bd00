// The dead letters: the latest of them, and of one its fields and its bytes.

import { ask } from "./feed.js";
import { byId, h, keyed, tableIn, text } from "./dom.js";
import { clock, plural, whole } from "./format.js";

const SHOWN = 12;
const AGAIN = 20_000;

export class Letters {
  constructor() {
    this.dead = -1;
    this.readAt = 0;
    this.reading = false;
    this.chosen = null;
    this.total = null;
  }

  /** Reads them again when more have died, and now and then. `dead` is the number of deaths that the workers count. */
  look(dead) {
    const due = dead !== this.dead || Date.now() - this.readAt > AGAIN;
    if (!due || this.reading || document.hidden) return;
    this.dead = dead;
    this.read();
  }

  async read() {
    this.reading = true;
    this.readAt = Date.now();
    try {
      const first = await ask(`/dlq?per_page=${SHOWN}`);
      const last = Math.ceil(first.total / SHOWN);
      // Lists are oldest first, and the latest are wanted: those of the last two pages.
      const pages = last <= 1 ? [first] : await Promise.all([last - 1, last].map((page) => ask(`/dlq?per_page=${SHOWN}&page=${page}`)));
      this.total = first.total;
      this.show(pages.flatMap((page) => page.items).slice(-SHOWN).reverse(), first.total);
    } catch (error) {
      text(byId("letters-aside"), error.message);
      this.dead = -1;
    } finally {
      this.reading = false;
    }
  }

  show(rows, total) {
    text(byId("letters-aside"), total > rows.length ? `${whole(total)} open, the latest ${rows.length}` : `${whole(total)} open`);
    const body = tableIn(byId("letter-list"), "Dead letters, the latest first", [["Died"], ["Topic", "wide"], ["Reason"], ["Key"], ["Size", "number wide"], ["", "number"]], "None. What cannot be processed comes here with its original bytes; `sluice dlq replay` sends it again.", rows.length === 0);
    keyed(body, rows, (row) => row.letter, (row) => this.row(row), (element, row) => {
      element.dataset.chosen = String(row.letter === this.chosen);
    });
  }

  row(row) {
    const button = h("button", { type: "button", class: "small", "aria-label": `Show the letter ${row.letter}`, onclick: () => this.open(row, button) }, "Show");
    return h("tr", {}, h("td", { class: "soft" }, h("time", { datetime: row.at }, clock(row.at))), h("td", { class: "soft wide" }, row.topic), h("td", {}, h("span", { class: "chip", "data-level": "bad" }, row.reason)), h("td", { class: "key" }, row.key || "(none)"), h("td", { class: "number soft wide" }, `${whole(row.bytes)} B`), h("td", { class: "number" }, button));
  }

  async open(row, button) {
    this.chosen = row.letter;
    for (const element of byId("letter-list").querySelectorAll("tr")) element.dataset.chosen = String(element.contains(button));
    const panel = byId("letter");
    panel.hidden = false;
    try {
      const found = await ask(`/dlq/${row.letter.split("/").map(encodeURIComponent).join("/")}`);
      if (this.chosen === row.letter) panel.replaceChildren(...this.details(found));
    } catch (error) {
      panel.replaceChildren(h("p", { class: "empty" }, error.message));
    }
  }

  details(found) {
    const facts = [["Where", found.origin], ["Letter", found.letter], ["Cause", found.message], ["Exception", found.exception], ["Tried", plural(found.attempts, "time")], ["Event", [found.event_type, found.event_id].filter(Boolean).join(" ") || "unknown"]];
    return [
      h("div", { class: "head" }, h("h3", {}, found.reason), h("button", { type: "button", class: "small", onclick: () => this.close() }, "Close")),
      h("dl", { class: "list" }, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      h("h4", {}, found.event ? `Decoded as ${found.record}` : "Not decoded"),
      found.event ? h("pre", { tabindex: "0", class: "decoded" }, JSON.stringify(found.event, null, 2)) : h("p", { class: "soft" }, found.undecodable),
      h("h4", {}, `Its ${whole(found.bytes)} bytes`),
      h("pre", { tabindex: "0", class: "bytes" }, dump(found.hex)),
    ];
  }

  close() {
    this.chosen = null;
    byId("letter").hidden = true;
    const opened = byId("letter-list").querySelector('tr[data-chosen="true"]');
    opened?.querySelector("button").focus();
    if (opened) opened.dataset.chosen = "false";
  }
}

/** Bytes as people read them: offset, hexadecimal, and the letters among them. */
export function dump(hex) {
  const bytes = (hex.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = bytes.slice(at, at + 16);
    const pairs = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(47);
    const letters = part.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${pairs}  ${letters}`);
  }
  return lines.join("\n");
}
