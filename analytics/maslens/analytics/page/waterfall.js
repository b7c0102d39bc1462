// One session in time: a lane per agent run, its model and tool calls inside, handoffs between lanes.

import { explain, h, s } from "./dom.js";
import { clock, colour, count, duration, millis, money } from "./format.js";

const LANE = 30;
const MOST_LANES = 400;

export function waterfall(data, choose) {
  const runs = ordered(data.runs).slice(0, MOST_LANES);
  if (!runs.length) return h("div", { class: "none" }, "No agent run was seen in this session");
  const from = Math.min(...runs.map((run) => run.from));
  const to = Math.max(...runs.map((run) => run.to), from + 0.001);
  const at = (ms) => ((ms - from) / (to - from)) * 100;
  const inside = group(data.llm_calls, "run_id");
  const tools = group(data.tool_calls, "run_id");
  const errors = group(data.errors, "run_id");
  const lanes = runs.map((run) => lane(run, { at, from, calls: inside.get(run.run_id) || [], tools: tools.get(run.run_id) || [], errors: errors.get(run.run_id) || [], choose }));
  const over = s("svg", { class: "over", preserveAspectRatio: "none" });
  const box = h("div", { class: "lanes" }, lanes, over);
  const draw = () => over.replaceChildren(...arrows(data.handoffs, runs, at, box, lanes));
  new ResizeObserver(draw).observe(box);
  return h(
    "div",
    { class: "fall" },
    h("div", { class: "axis" }, h("span"), h("div", { class: "ticks" }, ticks(to - from)), h("span")),
    box,
    data.runs.length > MOST_LANES ? h("div", { class: "none" }, `The first ${MOST_LANES} of ${count(data.runs.length)} runs`) : null,
  );
}

/** Depth first by parent, children by start; runs whose parent is unknown are roots. */
function ordered(rows) {
  const runs = rows.map((run) => ({ ...run, from: millis(run.started_at), to: millis(run.ended_at) }));
  const known = new Set(runs.map((run) => run.run_id));
  const below = group(runs, (run) => (known.has(run.parent_run_id) && run.parent_run_id !== run.run_id ? run.parent_run_id : ""));
  const out = [];
  const seen = new Set();
  const visit = (parent, depth) => {
    for (const run of (below.get(parent) || []).sort((a, b) => a.from - b.from)) {
      if (seen.has(run.run_id)) continue;
      seen.add(run.run_id);
      out.push({ ...run, depth });
      visit(run.run_id, depth + 1);
    }
  };
  visit("", 0);
  for (const run of runs) if (!seen.has(run.run_id)) out.push({ ...run, depth: 0 });
  return out;
}

function group(rows, key) {
  const groups = new Map();
  for (const row of rows) {
    const name = typeof key === "function" ? key(row) : row[key];
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  return groups;
}

function lane(run, { at, from, calls, tools, errors, choose }) {
  const failed = run.status === "error";
  const bar = h("div", { class: "run", style: { left: `${at(run.from)}%`, width: `${Math.max(at(run.to) - at(run.from), 0.15)}%` } });
  explain(bar, run.agent, () => [
    ["starts", `+${duration(run.from - from)}`],
    ["took", duration(run.duration_ns / 1e6)],
    ["own time", duration(run.self_ns / 1e6)],
    ["tokens", `${count(run.input_tokens)} in, ${count(run.output_tokens)} out`],
    ["cost", money(run.cost_usd)],
    failed ? ["error", run.error_type || "yes"] : null,
  ]);
  const call = (row, kind, title, lines) => {
    const start = millis(row.at);
    const node = h("div", { class: `call ${kind}${row.status === "error" ? " error" : ""}`, style: { left: `${at(start)}%`, width: `${at(start + row.duration_ns / 1e6) - at(start)}%` } });
    return explain(node, title, () => [["starts", `+${duration(start - from)}`], ["took", duration(row.duration_ns / 1e6)], ...lines]);
  };
  return h(
    "div",
    { class: `lane${failed ? " error" : ""}`, style: { "--depth": Math.min(run.depth, 9), "--c": colour(run.agent) }, onclick: () => choose(run) , "data-run": run.run_id },
    h("div", { class: "who" }, h("span", { class: "agent" }, h("i"), h("span", null, run.agent)), failed ? " " : null, failed ? h("span", { class: "badge error" }, "error") : null),
    h(
      "div",
      { class: "time" },
      bar,
      calls.map((row) => call(row, "model", row.model || "model call", [["tokens", `${count(row.input_tokens)} in, ${count(row.output_tokens)} out`], ["cost", row.cost_usd === null ? row.unpriced_reason : money(row.cost_usd)]])),
      tools.map((row) => call(row, "tool", row.tool, [["status", row.status]])),
      errors.map((row) => explain(h("div", { class: "mark", style: { left: `${at(Math.min(Math.max(millis(row.at), run.from), run.to))}%` } }), row.error_type || "error", () => [["at", clock(row.at, { date: false })], ["recovered", row.recovered ? "yes" : "no"], ["", row.message.slice(0, 160)]])),
    ),
    h("div", { class: "took" }, duration(run.duration_ns / 1e6)),
  );
}

function ticks(total) {
  const n = 6;
  return Array.from({ length: n + 1 }, (_, i) =>
    h("span", { class: i === 0 ? "first" : i === n ? "last" : null, style: { left: `${(i / n) * 100}%` } }, i === 0 ? "0" : duration((total * i) / n)),
  );
}

function arrows(handoffs, runs, at, box, lanes) {
  const row = new Map(runs.map((run, index) => [run.run_id, index]));
  const time = lanes[0].querySelector(".time");
  const left = time.offsetLeft;
  const width = time.clientWidth;
  const drawn = [];
  for (const handoff of handoffs) {
    const from = row.get(handoff.source_run_id);
    const to = row.get(handoff.target_run_id);
    if (from === undefined || to === undefined || from === to) continue;
    const target = runs[to];
    const down = to > from ? 1 : -1;
    const x = left + (at(Math.min(Math.max(millis(handoff.at), runs[from].from), runs[from].to)) / 100) * width;
    const end = left + (at(target.from) / 100) * width;
    const y = from * LANE + LANE / 2 + down * 8;
    const stop = to * LANE + LANE / 2 - down * 9;
    const bend = Math.max(Math.min(Math.abs(stop - y) / 2, 26), 6) * down;
    const sure = handoff.evidence === "explicit" || handoff.evidence === "tool_name" || handoff.evidence === "message";
    drawn.push(
      s("path", { class: sure ? null : "inferred", d: `M${x},${y} C${x},${y + bend} ${end},${stop - bend} ${end},${stop - down * 4}` }),
      s("path", { class: "head", d: `M${end},${stop} l-4,${-down * 6} h8 Z` }),
    );
  }
  return drawn;
}
