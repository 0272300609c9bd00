// The picture of the index: topics and agents, joined by lines as thick as their traffic and coloured by their lag.

import { s, text } from "./dom.js";
import { rate, short } from "./format.js";

const NARROW = 1120;
const TWO_COLUMNS = 700;
const TOPIC = { height: 40 };
const AGENT = { width: 112, height: 50 };
const GAP = 16;
const LIVELY = [1, 20, 200];

/** Places all nodes of a wide picture in their layers; returns { height, at: id → { x, y, width, height } }. */
export function layered(topology, width) {
  const layers = [];
  for (const node of topology.nodes) (layers[node.layer] ??= []).push(node);
  const topicLayers = layers.filter((nodes) => nodes[0].kind === "topic").length;
  const agents = (layers.length - topicLayers) * AGENT.width;
  const topicWidth = Math.min(172, (width - agents - (layers.length - 1) * 34) / topicLayers);
  const between = (width - agents - topicLayers * topicWidth) / (layers.length - 1);
  const tallest = Math.max(...layers.map((nodes) => columnHeight(nodes)));
  const at = new Map();
  let x = 0;
  layers.forEach((nodes, layer) => {
    const size = nodes[0].kind === "topic" ? { width: topicWidth, height: TOPIC.height } : AGENT;
    const wish = (node) => {
      const from = topology.edges.filter((edge) => edge.target === node.id && at.has(edge.source) && !edge.back);
      if (from.length === 0) return layer === 0 ? null : Infinity;
      return from.reduce((sum, edge) => sum + at.get(edge.source).y, 0) / from.length;
    };
    const placed = layer === 0 ? nodes : nodes.map((node) => [node, wish(node)]).sort((a, b) => a[1] - b[1]).map(([node]) => node);
    const step = layer === 0 ? (tallest - size.height) / Math.max(1, placed.length - 1) : size.height + GAP;
    let y = 0;
    placed.forEach((node) => {
      const wanted = wish(node);
      const fits = wanted === null || wanted === Infinity ? y : Math.max(y, Math.min(wanted, tallest - size.height));
      at.set(node.id, { x, y: fits, ...size });
      y = fits + step;
    });
    const over = Math.max(0, y - step + size.height - tallest);
    if (over > 0) squeeze(placed.map((node) => at.get(node.id)), tallest, size.height + GAP);
    x += size.width + between;
  });
  return { width, height: tallest + 34, at: new Map([...at].map(([id, box]) => [id, { ...box, y: box.y + 8 }])) };
}

function columnHeight(nodes) {
  const height = nodes[0].kind === "topic" ? TOPIC.height : AGENT.height;
  return nodes.length * (height + GAP) - GAP;
}

/** Moves the boxes of a column up from its end, so that it ends with the picture. */
function squeeze(boxes, height, step) {
  let last = height - boxes[boxes.length - 1].height;
  for (const box of [...boxes].reverse()) {
    box.y = Math.min(box.y, last);
    last = box.y - step;
  }
}

/** Places the agents below each other, in two columns where there is room, each between its topics: one that several
 * agents share appears with each of them. */
export function stacked(topology, width) {
  const count = width < TWO_COLUMNS ? 1 : 2;
  const blockWidth = Math.floor((width - 48 * (count - 1)) / count);
  const topicWidth = Math.floor((blockWidth - 44) / 2);
  const ends = Array(count).fill(0);
  const blocks = topology.nodes.filter((node) => node.kind === "agent").map((agent) => {
    const column = ends.indexOf(Math.min(...ends));
    const [x, y] = [column * (blockWidth + 48), ends[column]];
    const left = topology.edges.filter((edge) => edge.target === agent.id);
    const right = topology.edges.filter((edge) => edge.source === agent.id);
    const box = (edges, at) => edges.map((edge, row) => ({ edge, x: at, y: y + 46 + row * 46, width: topicWidth, height: TOPIC.height }));
    ends[column] = y + 64 + 46 * Math.max(left.length, right.length);
    return { agent, x, y, width: blockWidth, left: box(left, x), right: box(right, x + blockWidth - topicWidth) };
  });
  return { width, height: Math.max(...ends), blocks };
}

export class Picture {
  /** `choose` is called with the id of the node that somebody chooses. */
  constructor(parent, choose) {
    this.parent = parent;
    this.choose = choose;
    this.nodes = [];
    this.lines = [];
    this.chosen = null;
    new ResizeObserver(() => this.draw()).observe(parent);
  }

  show(topology) {
    this.topology = topology;
    this.width = 0;
    this.draw();
  }

  draw() {
    const width = Math.floor(this.parent.clientWidth);
    if (!this.topology || width === 0 || width === this.width) return;
    this.width = width;
    this.nodes = [];
    this.lines = [];
    const narrow = width < NARROW;
    const made = narrow ? this.drawStacked(stacked(this.topology, width)) : this.drawLayered(layered(this.topology, width));
    const svg = s("svg", { viewBox: `0 0 ${width} ${made.height}`, width, height: made.height, role: "group", "aria-label": "Topics and agents; choose one with the arrow keys and Enter" });
    svg.append(...made.lines, ...made.nodes);
    svg.addEventListener("keydown", (event) => this.move(event));
    this.parent.replaceChildren(svg);
    this.nodes.forEach((node, index) => node.element.setAttribute("tabindex", index === 0 ? "0" : "-1"));
    this.mark();
    if (this.pipeline) this.update(this.pipeline);
  }

  drawLayered(plan) {
    const lines = this.topology.edges.map((edge) => {
      const from = plan.at.get(edge.source);
      const to = plan.at.get(edge.target);
      return this.line(edge, edge.back ? around(from, to, plan.height) : across(from, to));
    });
    const nodes = [...this.topology.nodes].sort((a, b) => a.layer - b.layer || plan.at.get(a.id).y - plan.at.get(b.id).y);
    return { height: plan.height, lines, nodes: nodes.map((node) => this.node(node, plan.at.get(node.id))) };
  }

  drawStacked(plan) {
    const byId = new Map(this.topology.nodes.map((node) => [node.id, node]));
    const lines = [];
    const nodes = [];
    for (const block of plan.blocks) {
      const middle = { x: block.x + block.width / 2, y: block.y + 34 };
      const agent = { x: middle.x - 75, y: block.y, width: 150, height: 34 };
      nodes.push(this.node(block.agent, agent));
      for (const side of [block.left, block.right]) {
        for (const box of side) {
          const topic = byId.get(side === block.left ? box.edge.source : box.edge.target);
          lines.push(this.line(box.edge, side === block.left ? drop(box.x + box.width, box, middle) : drop(box.x, box, middle)));
          nodes.push(this.node(topic, box));
        }
      }
    }
    return { height: plan.height, lines, nodes };
  }

  line(edge, path) {
    const base = s("path", { d: path, class: edge.back ? "edge back" : "edge" });
    const flow = s("path", { d: path, class: "drops" });
    this.lines.push({ edge, base, flow });
    return s("g", { "data-source": edge.source, "data-target": edge.target }, base, flow);
  }

  node(node, box) {
    const small = box.width < 160;
    const name = s("text", { x: box.x + 10, y: box.y + (box.height < 36 ? 22 : 17), class: small ? "name small" : "name" }, node.name);
    const told = s("text", { x: box.x + 10, y: box.y + 32, class: "told" });
    if (node.kind === "agent") {
      for (const each of [name, told]) each.setAttribute("x", box.x + box.width / 2);
      if (box.height > 40) {
        name.setAttribute("y", box.y + 21);
        told.setAttribute("y", box.y + 37);
      }
      if (box.height < 36) told.setAttribute("visibility", "hidden");
    }
    const shape = s("rect", { x: box.x + 0.5, y: box.y + 0.5, width: box.width - 1, height: box.height - 1, rx: node.kind === "agent" ? 12 : 5 });
    const lamp = s("circle", { cx: box.x + box.width - 10, cy: box.y + 10, r: 3.5, class: "lamp" });
    const element = s("g", { class: `node ${node.kind}`, role: "button", "data-id": node.id, "aria-pressed": "false" }, shape, name, told, lamp);
    element.addEventListener("click", () => this.pick(node.id));
    this.nodes.push({ node, element, told });
    return element;
  }

  pick(id) {
    this.chosen = this.chosen === id ? null : id;
    this.mark();
    this.choose(this.chosen);
  }

  mark() {
    for (const { node, element } of this.nodes) {
      element.setAttribute("aria-pressed", String(node.id === this.chosen));
    }
    for (const { edge, base } of this.lines) {
      base.classList.toggle("chosen", edge.source === this.chosen || edge.target === this.chosen);
    }
  }

  move(event) {
    const here = this.nodes.findIndex(({ element }) => element === document.activeElement);
    if (here < 0) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.pick(this.nodes[here].node.id);
      return;
    }
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const there = event.key === "Home" ? 0 : event.key === "End" ? this.nodes.length - 1 : here + (steps[event.key] ?? 0);
    const next = this.nodes[Math.max(0, Math.min(there, this.nodes.length - 1))];
    if (next.element === document.activeElement) return;
    event.preventDefault();
    this.nodes[here].element.setAttribute("tabindex", "-1");
    next.element.setAttribute("tabindex", "0");
    next.element.focus();
  }

  update(pipeline) {
    this.pipeline = pipeline;
    for (const { node, element, told } of this.nodes) {
      const [line, label, lamp] = node.kind === "topic" ? this.topicTold(node) : this.agentTold(node);
      text(told, line);
      element.dataset.lamp = lamp;
      const name = `${node.kind} ${node.name}, ${label}`;
      if (element.getAttribute("aria-label") !== name) element.setAttribute("aria-label", name);
    }
    for (const { edge, base, flow } of this.lines) {
      const events = edgeRate(pipeline, edge);
      base.style.strokeWidth = `${(1.2 + 2.3 * Math.log10(1 + events)).toFixed(2)}px`;
      base.dataset.level = edge.source.startsWith("topic:") ? level(pipeline.topics[edge.source.slice(6)]) : "ok";
      base.dataset.idle = String(events === 0);
      flow.dataset.pace = String(LIVELY.filter((limit) => events >= limit).length);
    }
  }

  topicTold(node) {
    const found = this.pipeline.topics[node.name] ?? { in: 0, out: 0, lag: 0, dead: 0 };
    const read = this.topology.edges.some((edge) => edge.source === node.id);
    const events = read ? found.in : found.out;
    const lag = found.lag > 0 ? ` · lag ${short(found.lag)}` : "";
    const dead = found.dead > 0 ? `, ${found.dead} dead letters` : "";
    const lamp = found.dead > 0 ? "bad" : read && level(found) !== "ok" ? level(found) : "off";
    return [`${rate(events)}/s${lag}`, `${rate(events)} events a second, lag ${found.lag}${dead}`, lamp];
  }

  agentTold(node) {
    const keys = this.pipeline.keys[node.name] ?? 0;
    const parked = this.pipeline.parked[node.name] ?? 0;
    return [parked > 0 ? `${parked} keys parked` : `${short(keys)} records`, `${keys} records`, parked > 0 ? "warn" : "off"];
  }
}

/** Events per second on an edge. */
export function edgeRate(pipeline, edge) {
  if (edge.source.startsWith("topic:")) return pipeline.topics[edge.source.slice(6)]?.in ?? 0;
  return pipeline.published[edge.source.slice(6)]?.[edge.target.slice(6)] ?? 0;
}

/** Whether a topic's reader keeps up: what waits is less than a second's events, or than ten seconds'. */
export function level(topic) {
  if (!topic || topic.lag <= Math.max(100, topic.in)) return "ok";
  return topic.lag <= Math.max(1000, 10 * topic.in) ? "warn" : "bad";
}

function across(from, to) {
  const [x1, y1, x2, y2] = [from.x + from.width, from.y + from.height / 2, to.x, to.y + to.height / 2];
  const bend = Math.max(18, (x2 - x1) / 2);
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

/** From the lower side of an agent back to the lower side of a topic that it reads. */
function around(from, to) {
  const [x1, y1, x2, y2] = [from.x + from.width / 2, from.y + from.height, to.x + to.width / 2, to.y + to.height];
  const deep = Math.max(y1, y2) + 26;
  return `M${x1} ${y1}C${x1} ${deep} ${x2} ${deep} ${x2} ${y2}`;
}

/** From a topic's inner side to the foot of its agent above. */
function drop(x, box, middle) {
  const y = box.y + box.height / 2;
  return `M${x} ${y}C${middle.x} ${y} ${middle.x} ${y} ${middle.x} ${middle.y}`;
}
