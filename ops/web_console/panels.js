// What the tables hold: quotas, stock, points and alerts; and who owns which partition.

import { byId, h, keyed, tableIn, text } from "./dom.js";
import { clock, plural, short, whole } from "./format.js";

export function figures(list, rows) {
  keyed(list, rows, (row) => row.name, (row) => h("div", {}, h("dt", {}, row.name), h("dd", {}, h("b"), " ", h("span"))), (element, row) => {
    const [number, unit] = element.querySelector("dd").children;
    text(number, row.value);
    text(unit, row.unit);
    element.dataset.level = row.level ?? "ok";
  });
}

/** A bar with marks; all numbers are shares of it. */
function bar(element, { filled, inner = 0, marks = [], level }) {
  if (!element.firstChild) element.append(h("i", { class: "filled" }), h("i", { class: "inner" }));
  element.children[0].style.width = percent(filled);
  element.children[1].style.width = percent(inner);
  element.dataset.level = level;
  while (element.children.length < 2 + marks.length) element.append(h("i", { class: "mark" }));
  while (element.children.length > 2 + marks.length) element.lastChild.remove();
  marks.forEach((mark, index) => {
    element.children[2 + index].style.left = percent(mark);
  });
}

const percent = (share) => `${(100 * Math.max(0, Math.min(share, 1))).toFixed(2)}%`;

export function usage(domains) {
  const rows = domains.quotas;
  const body = tableIn(byId("usage"), "Quotas, the fullest first", [["Tenant"], ["Meter", "wide"], ["Used in the period"], ["", "number"]], "No quota is set. Set one with POST /usage/{tenant}/quotas; `make demo` sets fifty.", rows.length === 0);
  keyed(body, rows, (row) => [row.tenant, row.quota_id, row.subject].join("\n"), () => h("tr", {}, h("th", { scope: "row" }), h("td", { class: "soft wide" }), h("td", { class: "bars" }, h("div", { class: "bar" }), h("small")), h("td", { class: "number" })), (element, row) => {
    const [tenant, meter, bars, share] = element.children;
    text(tenant, row.subject ? `${row.tenant} · ${row.subject}` : row.tenant);
    text(meter, row.meter);
    const level = row.percent >= 100 ? "bad" : row.percent >= 80 ? "warn" : "ok";
    bar(bars.firstChild, { filled: row.percent / 125, marks: [0.64, 0.8], level });
    text(bars.lastChild, `${short(Number(row.value))} of ${row.limit === null ? "no limit" : short(Number(row.limit))} ${row.unit ?? ""} a ${row.period.toLowerCase()}`);
    text(share, row.limit === null ? "–" : `${whole(row.percent)} %`);
    share.dataset.level = level;
  });
  text(byId("usage-aside"), domains.tenants ? `${plural(domains.tenants, "tenant")}; marks at 80 % and 100 %` : "");
}

export function stock(domains) {
  const rows = domains.stock;
  const body = tableIn(byId("stock-list"), "Stock, what is short first", [["Product"], ["Warehouse", "wide"], ["Available of what is on hand"], ["", "number"]], "There is no stock. Let some in: POST /stock/entries with product_id, warehouse_id and quantity.", rows.length === 0);
  keyed(body, rows, (row) => [row.tenant, row.product, row.warehouse].join("\n"), () => h("tr", {}, h("th", { scope: "row" }), h("td", { class: "soft wide" }), h("td", { class: "bars" }, h("div", { class: "bar" }), h("small")), h("td", { class: "number" })), (element, row) => {
    const [product, warehouse, bars, number] = element.children;
    text(product, row.product);
    text(warehouse, row.warehouse);
    const [onHand, available, point] = [Number(row.on_hand), Number(row.available), row.reorder_point === null ? null : Number(row.reorder_point)];
    const full = Math.max(onHand, 2.5 * (point ?? 0), 1);
    bar(bars.firstChild, { filled: onHand / full, inner: available / full, marks: point === null ? [] : [point / full], level: row.low ? "bad" : "ok" });
    text(bars.lastChild, point === null ? "no reorder point" : `reorder at ${short(point)}${row.low ? " · low" : ""}`);
    text(number, `${short(available)} / ${short(onHand)} ${row.uom ?? ""}`.trim());
  });
  text(byId("stock-aside"), domains.products ? `${plural(domains.products, "product")} in warehouses, ${whole(domains.low)} low` : "");
}

export function loyalty(domains) {
  const parent = byId("loyalty-list");
  if (!parent.firstChild) parent.append(h("div"), h("div"));
  const [ladder, best] = parent.children;
  const tiers = Object.entries(domains.loyalty.tiers).map(([name, count]) => ({ name, count })).reverse();
  const most = Math.max(1, ...tiers.map((tier) => tier.count));
  const body = tableIn(ladder, "Customers by tier", [["Tier"], ["Customers"], ["", "number"]], "No customer has points. Give some: POST /customers/{customer_id}/loyalty/points.", domains.customers === 0);
  keyed(body, tiers, (tier) => tier.name, (tier) => h("tr", {}, h("th", { scope: "row" }, tier.name.toLowerCase()), h("td", { class: "bars" }, h("div", { class: "bar" })), h("td", { class: "number" })), (element, tier) => {
    bar(element.children[1].firstChild, { filled: tier.count / most, level: "ok" });
    text(element.children[2], whole(tier.count));
  });
  const rows = domains.loyalty.best.slice(0, 4);
  const bestBody = tableIn(best, "Customers with most points", [["Most points"], ["Tier"], ["", "number"]], "", rows.length === 0);
  keyed(bestBody, rows, (row) => [row.tenant, row.customer].join("\n"), () => h("tr", {}, h("th", { scope: "row" }), h("td", { class: "soft" }), h("td", { class: "number" })), (element, row) => {
    text(element.children[0], row.customer);
    text(element.children[1], row.tier.toLowerCase());
    text(element.children[2], short(row.balance));
  });
  text(byId("loyalty-aside"), domains.customers ? `${short(domains.loyalty.balance)} points held by ${plural(domains.customers, "customer")}` : "");
}

export function alerts(domains) {
  const parent = byId("alert-list");
  const { statuses, latest } = domains.alerts;
  if (!parent.firstChild) parent.append(h("ul", { class: "alerts" }), h("p", { class: "empty" }, "Nothing has fired. Alerts come of quotas, of low stock, and of events on the topic alerts."));
  const [list, empty] = parent.children;
  list.hidden = latest.length === 0;
  empty.hidden = latest.length > 0;
  keyed(list, latest, (row) => [row.tenant, row.alert_type, row.subject].join("\n"), () => h("li", {}, h("span", { class: "chip" }), h("p"), h("time")), (element, row) => {
    const [chip, told, time] = element.children;
    text(chip, row.status);
    element.dataset.status = row.status;
    element.dataset.severity = row.severity;
    text(told, row.description || `${row.alert_type} ${row.subject} (${row.tenant})`);
    time.setAttribute("datetime", row.last_seen);
    text(time, clock(row.last_seen));
  });
  text(byId("alerts-aside"), `${whole(statuses.firing ?? 0)} firing, ${whole(statuses.resolved ?? 0)} resolved`);
}

const MOST_COLUMNS = 64;

export function owners(snapshot, sources) {
  const tables = Object.entries(snapshot.tables);
  const count = Math.min(MOST_COLUMNS, tables[0]?.[1].length ?? 0);
  const numbers = [...Array(count).keys()];
  const parent = byId("grid");
  if (parent.columnsShown !== count) {
    parent.columnsShown = count;
    const head = h("tr", {}, h("th", { scope: "col" }, h("span", { class: "unseen" }, "Table")), numbers.map((number) => h("th", { scope: "col" }, String(number))));
    parent.gridBody = h("tbody");
    parent.replaceChildren(h("table", { class: "grid" }, h("caption", { class: "unseen" }, "Owner of each partition"), h("thead", {}, head), parent.gridBody));
  }
  keyed(parent.gridBody, tables, ([name]) => name, ([name]) => h("tr", {}, h("th", { scope: "row" }, name), numbers.map(() => h("td", {}, h("span", { class: "cell" }, h("span", { class: "unseen" }), h("i"))))), (element, [name, partitions]) => {
    numbers.forEach((number) => {
      const { owner, ready } = partitions[number];
      const lag = [...(sources[name] ?? [])].reduce((sum, topic) => sum + (snapshot.lags[topic]?.[number] ?? 0), 0);
      const cell = element.children[number + 1].firstChild;
      cell.dataset.owner = owner === null ? "nobody" : String(owner % 6);
      cell.dataset.ready = String(ready);
      cell.dataset.lag = lag > 1000 ? "bad" : lag > 100 ? "warn" : lag > 0 ? "some" : "none";
      const who = owner === null ? "nobody's" : snapshot.workers[owner].name || snapshot.workers[owner].url;
      const told = `${who}${ready ? "" : ", not ready"}, lag ${whole(lag)}`;
      text(cell.firstChild, told);
      if (cell.title !== told) cell.title = told;
    });
  });
  keyed(byId("workers"), snapshot.workers, (worker) => worker.url, () => h("li", {}, h("i", { class: "sample" }), h("b"), " ", h("span", { class: "soft" })), (element, worker) => {
    const state = !worker.answers ? "does not answer" : worker.ready ? "ready" : "recovers";
    element.children[0].dataset.owner = String(snapshot.workers.indexOf(worker) % 6);
    element.dataset.state = state;
    text(element.children[1], worker.name || worker.url);
    text(element.children[2], `${state} · ${new URL(worker.url).host}`);
  });
}
