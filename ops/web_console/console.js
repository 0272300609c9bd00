// The page: takes what the worker tells, and hands each part of it to what draws it.

import { breaking } from "./breaking.js";
import { Curves } from "./curves.js";
import { byId, h, text } from "./dom.js";
import { listen } from "./feed.js";
import { duration, plural, rate, short, whole } from "./format.js";
import { Letters } from "./letters.js";
import { alerts, figures, loyalty, owners, stock, usage } from "./panels.js";
import { SchemaList, fieldsOf } from "./schemas.js";
import { Picture, level } from "./topology.js";

const THEMES = { system: "as the system", light: "light", dark: "dark" };

let hello = null;
let chosen = null;
let snapshot = null;
let sources = {};
const curves = new Curves(byId("curves"), byId("readout"));
const picture = new Picture(byId("topology"), (id) => {
  chosen = id;
  facts();
});
const letters = new Letters();
const schemas = new SchemaList();

function greet(found) {
  hello = found;
  const operator = found.tenant === null;
  document.body.dataset.audience = operator ? "operator" : "tenant";
  for (const element of document.querySelectorAll(".operator")) element.hidden = !operator;
  byId("break").hidden = !found.demo;
  byId("uncounted").hidden = found.counted ?? true;
  text(byId("app"), operator ? found.app : `${found.app} · ${found.tenant}`);
  text(byId("version"), `Version ${found.version}`);
  if (!operator) return;
  sources = {};
  for (const route of found.topology.routes) (sources[route.agent] ??= new Set()).add(route.topic);
  curves.start(found.history);
  picture.show(found.topology);
  schemas.read().then(() => {
    delete byId("facts").dataset.of; // what is shown of a topic has the versions of its schemas
    facts();
  });
  if (found.demo) breaking(broken);
}

function broken(what, found) {
  if (found.subject) schemas.refuse(found.subject);
  if (what === "kill") state("lost");
}

function take(found) {
  snapshot = found;
  const { domains, pipeline } = found;
  usage(domains);
  stock(domains);
  loyalty(domains);
  alerts(domains);
  figures(byId("figure-list"), pipeline ? operatorsFigures(found) : tenantsFigures(domains));
  if (!pipeline) return;
  picture.update(pipeline);
  curves.add(found.point);
  owners(found, sources);
  letters.look(pipeline.dead);
  facts();
}

function operatorsFigures({ pipeline, workers, domains }) {
  const { p95 } = pipeline.latency;
  const ready = workers.filter((worker) => worker.ready).length;
  const dead = letters.total ?? pipeline.dead;
  const firing = domains.alerts.statuses.firing ?? 0;
  return [
    { name: "Events", value: rate(pipeline.rate), unit: "per second" },
    { name: "Latency, P95", value: duration(p95), unit: p95 === null ? "nothing in 5 s" : p95 <= 100 ? "under 100 ms" : "over 100 ms", level: p95 > 100 ? "warn" : "ok" },
    { name: "Lag", value: short(pipeline.lag), unit: "records", level: level({ lag: pipeline.lag, in: pipeline.rate }) },
    { name: "Repetitions", value: short(pipeline.outcomes.duplicate ?? 0), unit: "recognised" },
    { name: "Dead letters", value: short(dead), unit: "open", level: dead > 0 ? "bad" : "ok" },
    { name: "Alerts", value: whole(firing), unit: "firing", level: firing > 0 ? "warn" : "ok" },
    { name: "Workers", value: `${ready} of ${workers.length}`, unit: "ready", level: ready < workers.length ? "bad" : "ok" },
  ];
}

function tenantsFigures(domains) {
  const over = domains.quotas.filter((row) => row.percent >= 100).length;
  return [
    { name: "Quotas", value: whole(over), unit: "used up", level: over > 0 ? "bad" : "ok" },
    { name: "Stock", value: whole(domains.low), unit: `low of ${whole(domains.products)}`, level: domains.low > 0 ? "warn" : "ok" },
    { name: "Customers", value: short(domains.customers), unit: "with an account" },
    { name: "Points", value: short(domains.loyalty.balance), unit: "to be spent" },
    { name: "Alerts", value: whole(domains.alerts.statuses.firing ?? 0), unit: "firing" },
  ];
}

/** The facts about the topic or agent that is chosen: made when it is chosen, its rates set with every snapshot. */
function facts() {
  const panel = byId("facts");
  const node = hello?.topology?.nodes.find((each) => each.id === chosen);
  panel.hidden = !node;
  if (!node) return delete panel.dataset.of;
  if (panel.dataset.of !== node.id) {
    panel.dataset.of = node.id;
    panel.replaceChildren(...factsOf(node));
  }
  if (snapshot?.pipeline) text(panel.querySelector(".now"), nowOf(node, snapshot.pipeline));
}

function factsOf(node) {
  const routes = hello.topology.routes.filter((route) => (node.kind === "topic" ? route.topic === node.name : route.agent === node.name));
  const rows = routes.map((route) => h("tr", {}, h("th", { scope: "row" }, route.event), h("td", { class: "soft" }, node.kind === "topic" ? route.agent : route.topic), h("td", { class: "soft" }, route.emits.join(", ") || "nothing")));
  return [
    h("div", { class: "head" }, h("h3", {}, `${node.name}`), h("p", { class: "now", "aria-live": "off" })),
    h("dl", { class: "list" }, Object.entries(node.facts).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    routes.length ? h("table", { class: "routes" }, h("caption", {}, "Routes"), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Event"), h("th", { scope: "col" }, node.kind === "topic" ? "Agent" : "Topic"), h("th", { scope: "col" }, "What may come of it"))), h("tbody", {}, rows)) : null,
    h("h4", {}, node.kind === "topic" ? "Records" : "State"),
    h("div", { class: "records" }, node.records.map((record) => {
      const subject = schemas.of(record, node.name);
      return h("details", {}, h("summary", {}, record, subject?.versions.length ? h("span", { class: "soft" }, ` v${subject.versions.at(-1)}`) : null), subject ? fieldsOf(subject) : h("p", { class: "soft" }, "The schema is not known here."));
    })),
  ].filter(Boolean);
}

function nowOf(node, pipeline) {
  if (node.kind === "agent") return `${plural(pipeline.keys[node.name] ?? 0, "record")} stored, ${plural(pipeline.parked[node.name] ?? 0, "key")} parked`;
  const found = pipeline.topics[node.name] ?? { in: 0, out: 0, lag: 0, dead: 0 };
  return `${rate(found.in)}/s read, ${rate(found.out)}/s written by agents, lag ${whole(found.lag)}, ${plural(found.dead, "dead letter")}`;
}

let countdown = null;

function state(now, seconds) {
  clearInterval(countdown);
  byId("state").dataset.state = now;
  const told = { live: "Live", connecting: "Connecting", lost: "Worker lost, looking for it" };
  text(byId("state-text"), told[now]);
  if (now === "lost" && seconds > 1) {
    let left = Math.round(seconds);
    countdown = setInterval(() => text(byId("state-text"), `Worker lost, looking again in ${Math.max(1, left--)} s`), 1000);
  }
  document.body.dataset.state = now;
}

function askForToken(why) {
  const dialog = byId("ask");
  byId("ask-token").value = "";
  if (why) text(byId("ask-why"), why);
  state("connecting");
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(byId("ask-token").value), { once: true });
  });
}

function themes() {
  const button = byId("theme");
  const names = Object.keys(THEMES);
  let now = document.documentElement.dataset.theme ?? "system";
  const show = () => {
    if (now === "system") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("sluice-theme");
    } else {
      document.documentElement.dataset.theme = now;
      localStorage.setItem("sluice-theme", now);
    }
    button.setAttribute("aria-label", `Colours: ${THEMES[now]}`);
    button.title = `Colours: ${THEMES[now]}`;
  };
  button.addEventListener("click", () => {
    now = names[(names.indexOf(now) + 1) % names.length];
    show();
  });
  show();
}

themes();
document.addEventListener("visibilitychange", () => document.body.toggleAttribute("data-asleep", document.hidden));
listen({ hello: greet, snapshot: take, state, token: askForToken, guarded: "guarded" in document.body.dataset });
