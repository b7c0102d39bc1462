// The coordination graph: laid out by dagre, drawn as SVG; wheel zooms, dragging moves, a click opens an agent.

import { Graph, layout } from "./vendor/dagre.js";
import { explain, h, hideTip, s } from "./dom.js";
import { colour, count, duration, money, ratio } from "./format.js";

const PERSONS = new Set(["virtual_node"]);

/** most: edges drawn, the busiest first; down: laid out from top to bottom, for a narrow place. */
export function graphBox(data, { most = 40, down = false } = {}) {
  const { nodes, edges, hidden } = trim(data, most);
  if (!nodes.length) return h("div", { class: "none" }, "No handoffs in this time");
  const placed = place(nodes, edges, down);
  const svg = s("svg", { class: "graph", role: "img", "aria-label": "Coordination graph" });
  const scene = s("g");
  svg.append(scene);
  for (const edge of edges) scene.append(drawEdge(edge));
  for (const node of nodes) scene.append(drawNode(node, placed.node(node.agent), svg, edges));
  const view = pan(svg, placed.graph());
  const legend = h(
    "div",
    { class: "legend" },
    line("", "explicit"),
    line("dash", "inferred"),
    line("bad", "fails often"),
    hidden ? h("span", null, `${hidden} thinner edges not drawn`) : null,
  );
  const zoom = h(
    "div",
    { class: "zoom" },
    h("button", { type: "button", title: "Closer", onclick: () => view.zoom(0.8) }, "+"),
    h("button", { type: "button", title: "Farther", onclick: () => view.zoom(1.25) }, "−"),
    h("button", { type: "button", title: "All of it", onclick: () => view.reset() }, "⤢"),
  );
  return h("div", { class: "graph-box" }, svg, legend, zoom);
}

function line(kind, text) {
  return h("span", null, s("svg", null, s("line", { class: kind, x1: 0, y1: 4, x2: 26, y2: 4 })), text);
}

function trim({ nodes, edges }, most) {
  const kept = [...edges].sort((a, b) => b.handoffs - a.handoffs).slice(0, most);
  const named = new Set(kept.flatMap((edge) => [edge.client, edge.server]));
  return { nodes: nodes.filter((node) => named.has(node.agent)), edges: kept, hidden: edges.length - kept.length };
}

function place(nodes, edges, down) {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: down ? "TB" : "LR", nodesep: 20, ranksep: down ? 34 : 58, edgesep: 12, marginx: 14, marginy: 14 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node.agent, { width: width(node), height: PERSONS.has(node.kind) ? 30 : 42 });
  edges.forEach((edge, index) => graph.setEdge(edge.client, edge.server, { width: 26, height: 16, labelpos: "c" }, String(index)));
  layout(graph);
  edges.forEach((edge, index) => (edge.placed = graph.edge(edge.client, edge.server, String(index))));
  return graph;
}

const under = (node) => `${count(node.runs)} ${node.runs === 1 ? "run" : "runs"}${node.errors ? ` · ${ratio(node.errors / node.runs)} err` : ""}`;
const width = (node) => Math.min(Math.max(node.agent.length * 7.6 + 32, PERSONS.has(node.kind) ? 84 : under(node).length * 6.3 + 30), 236);

function drawNode(node, at, svg, edges) {
  const person = PERSONS.has(node.kind);
  const failing = node.runs > 0 && node.errors / node.runs >= 0.1;
  const x = at.x - at.width / 2;
  const y = at.y - at.height / 2;
  const group = s(
    "g",
    { class: `node${person ? " person" : ""}${failing ? " failing" : ""}`, onclick: person ? null : () => (location.hash = `#/agent/${encodeURIComponent(node.agent)}`) },
    s("rect", { class: "box", x, y, width: at.width, height: at.height, rx: person ? 15 : 9 }),
    person ? null : s("rect", { x: x + 0.6, y: y + 9, width: 4, height: at.height - 18, rx: 2, style: { fill: colour(node.agent), stroke: "none" } }),
    s("text", { class: "name", x: person ? at.x : x + 15, y: at.y + (person ? 4 : -3), "text-anchor": person ? "middle" : "start" }, clip(node.agent, 27)),
    person ? null : s("text", { class: "sub", x: x + 15, y: at.y + 12 }, under(node)),
  );
  group.addEventListener("pointerenter", () => {
    svg.classList.add("focus");
    group.classList.add("near");
    for (const edge of edges)
      if (edge.client === node.agent || edge.server === node.agent) {
        edge.drawn.classList.add("near");
        for (const other of svg.querySelectorAll(".node"))
          if (other.dataset.agent === edge.client || other.dataset.agent === edge.server) other.classList.add("near");
      }
  });
  group.addEventListener("pointerleave", () => {
    svg.classList.remove("focus");
    for (const near of svg.querySelectorAll(".near")) near.classList.remove("near");
  });
  group.dataset.agent = node.agent;
  return explain(group, node.agent, () =>
    person
      ? [["handed over", `${count(node.fan_out)} agents`]]
      : [
          ["runs", count(node.runs)],
          ["errors", `${count(node.errors)} (${ratio(node.runs ? node.errors / node.runs : 0)})`],
          ["cost", money(node.cost_usd)],
          ["hands over to", `${count(node.fan_out)}`],
          ["is handed over to by", `${count(node.fan_in)}`],
          ["betweenness", node.betweenness.toFixed(2)],
        ],
  );
}

function drawEdge(edge) {
  const failing = edge.failure_rate >= 0.1;
  const inferred = edge.explicit + edge.tool_name + edge.message < edge.handoffs / 2 && edge.connection_type !== "virtual_node";
  const { points, ...label } = edge.placed;
  const path = spline(points);
  const end = points[points.length - 1];
  const before = points[points.length - 2];
  const stroke = Math.min(1.2 + Math.log10(edge.handoffs) * 0.9, 4.5);
  const text = count(edge.handoffs);
  const wide = text.length * 6.6 + 10;
  edge.drawn = s(
    "g",
    { class: `edge${failing ? " failing" : ""}${inferred ? " inferred" : ""}` },
    s("path", { d: path, "stroke-width": stroke }),
    s("path", { class: "wide", d: path }),
    s("path", { class: "head", d: head(before, end, 6 + stroke) }),
    s("g", { class: "count" }, s("rect", { x: label.x - wide / 2, y: label.y - 8.5, width: wide, height: 17, rx: 8.5 }), s("text", { x: label.x, y: label.y + 4, "text-anchor": "middle" }, text)),
  );
  const seconds = (value) => (value === null ? "–" : duration(value * 1000));
  return explain(edge.drawn, `${edge.client} → ${edge.server}`, () => [
    ["handoffs", count(edge.handoffs)],
    ["sessions", count(edge.sessions)],
    ["failed", `${count(edge.failed)} (${ratio(edge.failure_rate)})`],
    ["mode", edge.mode === "pass_control" ? "passes control" : "returns to caller"],
    edge.wait_p50_s === null ? null : ["wait p50 / p95", `${seconds(edge.wait_p50_s)} / ${seconds(edge.wait_p95_s)}`],
    edge.run_p50_s === null ? null : ["run p50 / p95", `${seconds(edge.run_p50_s)} / ${seconds(edge.run_p95_s)}`],
    ["evidence", ["explicit", "tool_name", "message", "graph_hint", "structure", "sequence"].filter((kind) => edge[kind]).map((kind) => `${kind.replace("_", " ")} ${count(edge[kind])}`).join(", ")],
    ["confidence", edge.confidence.toFixed(2)],
  ]);
}

function spline(points) {
  let d = `M${points[0].x},${points[0].y}`;
  for (let i = 1; i < points.length - 1; i++) {
    const middle = i === points.length - 2 ? points[i + 1] : { x: (points[i].x + points[i + 1].x) / 2, y: (points[i].y + points[i + 1].y) / 2 };
    d += ` Q${points[i].x},${points[i].y} ${middle.x},${middle.y}`;
  }
  return points.length === 2 ? `${d} L${points[1].x},${points[1].y}` : d;
}

function head(from, to, size) {
  const angle = Math.atan2(to.y - from.y, to.x - from.x);
  const corner = (turn) => `${to.x - size * Math.cos(angle + turn)},${to.y - size * Math.sin(angle + turn)}`;
  return `M${to.x},${to.y} L${corner(0.42)} L${corner(-0.42)} Z`;
}

const clip = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function pan(svg, size) {
  const whole = { x: 0, y: 0, width: Math.max(size.width, 320), height: Math.max(size.height, 160) };
  let box = { ...whole };
  const show = () => svg.setAttribute("viewBox", `${box.x} ${box.y} ${box.width} ${box.height}`);
  const reset = () => {
    // Small graphs are not blown up and large ones stay legible; what does not fit is a drag away.
    const room = svg.getBoundingClientRect();
    const fit = Math.max(whole.width / (room.width || 900), whole.height / (room.height || 420));
    const scale = Math.min(Math.max(fit, 1 / 1.15), 1 / 0.62);
    const width_ = (room.width || 900) * scale;
    const height_ = (room.height || 420) * scale;
    box = { x: Math.min((whole.width - width_) / 2, 0), y: (whole.height - height_) / 2, width: width_, height: height_ };
    if (whole.width < width_) box.x = (whole.width - width_) / 2;
    show();
  };
  const zoom = (factor, at = { x: 0.5, y: 0.5 }) => {
    const width_ = Math.min(Math.max(box.width * factor, 160), whole.width * 4);
    const height_ = (box.height * width_) / box.width;
    box = { x: box.x + (box.width - width_) * at.x, y: box.y + (box.height - height_) * at.y, width: width_, height: height_ };
    show();
  };
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
    event.preventDefault();
    const room = svg.getBoundingClientRect();
    zoom(event.deltaY > 0 ? 1.12 : 0.89, { x: (event.clientX - room.left) / room.width, y: (event.clientY - room.top) / room.height });
  }, { passive: false });
  svg.addEventListener("pointerdown", (down) => {
    if (down.target.closest(".node")) return;
    const start = { ...box };
    const room = svg.getBoundingClientRect();
    svg.classList.add("moving");
    const move = (event) => {
      hideTip();
      box.x = start.x - ((event.clientX - down.clientX) * start.width) / room.width;
      box.y = start.y - ((event.clientY - down.clientY) * start.height) / room.height;
      show();
    };
    const up = () => {
      svg.classList.remove("moving");
      removeEventListener("pointermove", move);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", up, { once: true });
  });
  requestAnimationFrame(reset);
  return { zoom, reset };
}
