// The subjects of the registry with their versions, by topic, and the fields of each record.

import { ask } from "./feed.js";
import { byId, h, text } from "./dom.js";
import { plural } from "./format.js";

export class SchemaList {
  constructor() {
    this.subjects = [];
    this.refused = new Map();
    byId("schema-find").addEventListener("input", () => this.draw());
  }

  async read() {
    try {
      const found = await ask("/console/schemas");
      this.subjects = found.items;
      this.wrong = found.registry;
    } catch (error) {
      this.wrong = error.message;
    }
    this.draw();
  }

  /** Notes that the registry refused a version. */
  refuse(subject) {
    this.refused.set(subject, (this.refused.get(subject) ?? 0) + 1);
    this.draw();
  }

  /** The subject of a record on a topic, or of a record anywhere. */
  of(record, topic) {
    const named = (subject) => subject.record.endsWith(`.${record}`);
    return this.subjects.find((subject) => named(subject) && subject.topic === topic) ?? this.subjects.find(named);
  }

  draw() {
    const wanted = byId("schema-find").value.trim().toLowerCase();
    const shown = this.subjects.filter((subject) => subject.subject.toLowerCase().includes(wanted));
    const versions = this.subjects.reduce((sum, subject) => sum + subject.versions.length, 0);
    text(byId("schemas-aside"), this.wrong || `${plural(this.subjects.length, "subject")}, ${plural(versions, "version")} registered`);
    const topics = new Map();
    for (const subject of shown) topics.set(subject.topic, [...(topics.get(subject.topic) ?? []), subject]);
    const parent = byId("schema-list");
    const open = new Set([...parent.querySelectorAll("details[open]")].map((each) => each.dataset.topic));
    const groups = [...topics].map(([topic, subjects]) => this.group(topic, subjects, open.has(topic) || (wanted !== "" && topics.size < 8)));
    parent.replaceChildren(...(groups.length ? groups : [h("p", { class: "empty" }, this.subjects.length ? "No subject has this in its name." : "The registry has no subjects. Run `sluice setup`.")]));
  }

  group(topic, subjects, open) {
    const most = Math.max(0, ...subjects.map((subject) => subject.versions.length));
    const refused = subjects.reduce((sum, subject) => sum + (this.refused.get(subject.subject) ?? 0), 0);
    return h("details", { open, "data-topic": topic },
      h("summary", {}, h("b", {}, topic), h("span", { class: "soft" }, ` ${plural(subjects.length, "record")}, up to ${plural(most, "version")}`), refused ? h("span", { class: "chip", "data-level": "bad" }, `${refused} refused`) : null),
      h("table", {}, h("caption", { class: "unseen" }, `Subjects of ${topic}`), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Record"), h("th", { scope: "col" }, "Versions"), h("th", { scope: "col", class: "wide" }, "Compatibility"), h("th", { scope: "col", class: "wide" }, "Fields"))),
        h("tbody", {}, subjects.map((subject) => this.row(subject)))));
  }

  row(subject) {
    const refused = this.refused.get(subject.subject) ?? 0;
    const chips = subject.versions.map((number) => h("span", { class: "chip" }, `v${number}`));
    for (let tried = 0; tried < refused; tried += 1) chips.push(h("span", { class: "chip", "data-level": "bad", title: "The registry refused it" }, "refused"));
    return h("tr", {}, h("th", { scope: "row" }, subject.record.split(".").pop(), h("small", {}, subject.doc)), h("td", { class: "chips" }, chips.length ? chips : h("span", { class: "soft" }, "not registered")), h("td", { class: "soft wide" }, subject.level.toLowerCase().replaceAll("_", " ")), h("td", { class: "soft wide" }, subject.fields.map((field) => field.name).join(", ")));
  }
}

/** A list of a record's fields with their types. */
export function fieldsOf(subject) {
  return h("ul", { class: "fields" }, subject.fields.map((field) => h("li", { title: field.doc }, h("b", {}, field.name), " ", h("span", { class: "soft" }, field.type))));
}
