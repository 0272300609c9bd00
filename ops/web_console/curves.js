// Latency and throughput of the last five minutes over one time axis.

import { s, text } from "./dom.js";
import { clock, duration, rate, short } from "./format.js";

const SPAN = 300_000;
const GAP = 3500;
const FLOOR = 1;
const CEILING = 10_000;
const LIMIT = 100;
const SERIES = [["p50", "P50"], ["p95", "P95"], ["p99", "P99"]];
const MARGIN = { left: 58, right: 92, top: 10 };
const LATENCY = 168;
const BETWEEN = 26;
const THROUGHPUT = 92;
const FOOT = 24;

export class Curves {
  constructor(parent, readout) {
    this.parent = parent;
    this.readout = readout;
    this.points = [];
    this.pointed = null;
    new ResizeObserver(() => this.draw()).observe(parent);
  }

  /** Takes in what a worker remembers. What this page has seen itself stays: the worker may be a new one. */
  start(points) {
    const known = new Map([...points, ...this.points].filter((point) => "rate" in point).map((point) => [point.at, point]));
    this.points = [...known.values()].sort((a, b) => a.at - b.at);
    this.draw();
  }

  add(point) {
    this.points.push(point);
    while (this.points.length && this.points[0].at < point.at - SPAN - 2000) this.points.shift();
    this.draw();
  }

  get height() {
    return MARGIN.top + LATENCY + BETWEEN + THROUGHPUT + FOOT;
  }

  draw() {
    const width = Math.floor(this.parent.clientWidth);
    if (width === 0) return;
    this.width = width;
    const now = this.points.length ? this.points[this.points.length - 1].at : Date.now();
    this.x = (at) => MARGIN.left + ((at - now + SPAN) / SPAN) * (width - MARGIN.left - MARGIN.right);
    this.latency = (ms) => MARGIN.top + LATENCY * (1 - Math.log10(clamp(ms) / FLOOR) / Math.log10(CEILING / FLOOR));
    const most = ceiling(Math.max(10, ...this.points.map((point) => point.rate)));
    const bottom = MARGIN.top + LATENCY + BETWEEN + THROUGHPUT;
    this.throughput = (events) => bottom - (events / most) * THROUGHPUT;
    if (!this.svg) this.make();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", this.height);
    this.svg.replaceChildren(...this.axes(most, bottom), ...this.lines(bottom), ...this.labels(), this.cross);
    this.describe();
    this.point();
  }

  make() {
    this.svg = s("svg", { role: "img", tabindex: "0", class: "chart" });
    this.cross = s("line", { class: "cross", y1: MARGIN.top, y2: this.height - FOOT, visibility: "hidden" });
    this.svg.addEventListener("pointermove", (event) => this.follow(event));
    this.svg.addEventListener("pointerleave", () => this.follow(null));
    this.svg.addEventListener("blur", () => this.follow(null));
    this.svg.addEventListener("keydown", (event) => this.step(event));
    this.parent.replaceChildren(this.svg);
  }

  axes(most, bottom) {
    const right = this.width - MARGIN.right;
    const parts = [];
    for (const ms of [1, 10, LIMIT, 1000, 10_000]) {
      const y = this.latency(ms);
      parts.push(s("line", { x1: MARGIN.left, x2: right, y1: y, y2: y, class: ms === LIMIT ? "limit" : "grid" }));
      parts.push(s("text", { x: MARGIN.left - 8, y: y + 4, class: ms === LIMIT ? "tick end limit-text" : "tick end" }, duration(ms)));
    }
    for (const events of [0, most / 2, most]) {
      const y = this.throughput(events);
      parts.push(s("line", { x1: MARGIN.left, x2: right, y1: y, y2: y, class: "grid" }));
      parts.push(s("text", { x: MARGIN.left - 8, y: y + 4, class: "tick end" }, `${short(events)}/s`));
    }
    const steps = this.width < 480 ? [300, 150, 0] : [300, 240, 180, 120, 60, 0];
    const now = this.points.length ? this.points[this.points.length - 1].at : Date.now();
    for (const ago of steps) {
      const x = this.x(now - ago * 1000);
      const name = ago === 0 ? "now" : `−${ago / 60} min`;
      parts.push(s("text", { x, y: bottom + 17, class: "tick middle" }, name));
    }
    return parts;
  }

  lines(bottom) {
    const parts = [];
    for (const run of runs(this.points, "rate")) {
      const top = run.map((point) => `${this.x(point.at).toFixed(1)} ${this.throughput(point.rate).toFixed(1)}`).join("L");
      const [first, last] = [this.x(run[0].at).toFixed(1), this.x(run[run.length - 1].at).toFixed(1)];
      parts.push(s("path", { d: `M${first} ${bottom}L${top}L${last} ${bottom}Z`, class: "area" }));
      parts.push(s("path", { d: `M${top}`, class: "curve rate" }));
    }
    for (const [name] of SERIES) {
      for (const run of runs(this.points, name)) {
        const path = run.map((point) => `${this.x(point.at).toFixed(1)} ${this.latency(point[name]).toFixed(1)}`).join("L");
        parts.push(s("path", { d: `M${path}`, class: `curve ${name}` }));
      }
    }
    return parts;
  }

  /** Names of the curves at their right ends, moved apart where they would cover each other. */
  labels() {
    const last = this.points[this.points.length - 1];
    if (!last) return [s("text", { x: this.width / 2, y: this.height / 2, class: "tick middle" }, "Waiting for the first events")];
    const right = this.width - MARGIN.right + 8;
    let free = Infinity;
    const parts = SERIES.filter(([name]) => last[name] !== null && last[name] !== undefined).map(([name, label]) => {
      const y = Math.min(this.latency(last[name]) + 4, free);
      free = y - 14;
      return s("text", { x: right, y, class: `label ${name}` }, `${label} ${duration(last[name])}`);
    });
    parts.push(s("text", { x: right, y: this.throughput(last.rate) + 4, class: "label rate" }, `${rate(last.rate)}/s`));
    return parts;
  }

  describe() {
    const last = this.points[this.points.length - 1];
    if (!last) return this.svg.setAttribute("aria-label", "Latency and throughput: nothing yet");
    const numbers = SERIES.map(([name, label]) => `${label} ${duration(last[name])}`).join(", ");
    this.svg.setAttribute("aria-label", `Latency of the last five minutes, now ${numbers}, against 100 ms; throughput now ${rate(last.rate)} events a second`);
  }

  follow(event) {
    if (event === null) this.pointed = null;
    else {
      const x = event.clientX - this.svg.getBoundingClientRect().left;
      const found = this.points.reduce((best, point) => (best && Math.abs(this.x(best.at) - x) < Math.abs(this.x(point.at) - x) ? best : point), null);
      this.pointed = found?.at ?? null;
    }
    this.point();
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !this.points.length) return;
    event.preventDefault();
    const here = this.points.findIndex((point) => point.at === this.pointed);
    const next = here < 0 ? this.points.length - 1 : Math.max(0, Math.min(here + by, this.points.length - 1));
    this.pointed = this.points[next].at;
    this.point();
  }

  point() {
    const found = this.points.find((point) => point.at === this.pointed);
    this.cross.setAttribute("visibility", found ? "visible" : "hidden");
    if (!found) return text(this.readout, "End to end, against the 100 ms line");
    this.cross.setAttribute("x1", this.x(found.at));
    this.cross.setAttribute("x2", this.x(found.at));
    const numbers = SERIES.map(([name, label]) => `${label} ${duration(found[name])}`).join("  ");
    text(this.readout, `${clock(found.at)}  ${numbers}  ${rate(found.rate)}/s`);
  }
}

const clamp = (ms) => Math.max(FLOOR, Math.min(ms, CEILING));

/** The points that have a value, in runs without a gap. */
function runs(points, name) {
  const found = [];
  let before = null;
  for (const point of points) {
    if (point[name] === null || point[name] === undefined) {
      before = null;
      continue;
    }
    if (before === null || point.at - before.at > GAP) found.push([]);
    found[found.length - 1].push(point);
    before = point;
  }
  return found;
}

/** The next number above that is 1, 2 or 5 with zeros. */
function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * [1, 2, 5, 10].find((step) => step * unit >= value);
}
