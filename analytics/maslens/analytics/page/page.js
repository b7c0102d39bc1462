// Routes, what each view asks the API for, and what it shows.

import { ask } from "./api.js";
import { agentName, badge } from "./cells.js";
import { card, explain, h, hideTip, s, segments, table } from "./dom.js";
import { ago, clock, colour, colourAll, count, duration, millis, money, percent, ratio, shortId } from "./format.js";
import { graphBox } from "./graph.js";
import { moneyView } from "./money.js";
import { evaluationTable, problemsView, qualityTable, suspectTable } from "./problems.js";
import { waterfall } from "./waterfall.js";
import { numbered } from "./why.js";

const RANGES = [["15m", "15 min"], ["1h", "1 h"], ["24h", "24 h"], ["7d", "7 d"], ["all", "All"]];
const view = document.getElementById("view");
const state = {
  range: localStorage.getItem("maslens.range") || "24h",
  live: localStorage.getItem("maslens.live") !== "off",
  costBy: "agent",
  asked: 0,
  shown: "",
};

// --- views -----------------------------------------------------------------------------------------------------------

async function overview() {
  const since = state.range;
  const step = { "15m": 15, "1h": 60, "24h": 1200, "7d": 7200 }[since];
  const [[summary], agents, graph, cost, sessions, errors] = await Promise.all([
    ask("summary", { since }),
    ask("agents", { since, limit: 500 }),
    ask("graph", { since }),
    ask("cost", { since, by: state.costBy }),
    ask("sessions", { since, limit: 12 }),
    ask("errors", { since, limit: 8 }),
  ]);
  if (!summary.sessions) return (await ask("summary"))[0].sessions ? nothingNow() : empty();
  const span = Math.max((millis(summary.last_at) - millis(summary.first_at)) / 1000, 60);
  const timeline = await ask("timeline", { since, step: step || Math.max(Math.ceil(span / 72), 1) });
  colourAll(agents.map((row) => row.agent));
  return [
    kpis(summary, graph.metrics),
    h(
      "div",
      { class: "grid", style: { "margin-top": "16px" } },
      card("w8", "Who works with whom", { note: `${count(graph.metrics.agents)} agents, ${count(graph.metrics.edges)} edges, ${graph.metrics.depth} deep${graph.metrics.cycles ? `, ${graph.metrics.cycles} ${graph.metrics.cycles === 1 ? "loop" : "loops"}` : ""}`, flush: true }, graphBox(graph)),
      card("w4", "Cost", { right: segments([["agent", "Agent"], ["model", "Model"], ["tool", "Tool"]], state.costBy, (by) => { state.costBy = by; refresh(); }) }, spend(cost, state.costBy)),
      card("w12", "Sessions over time", { note: "by start; failed ones in red" }, activity(timeline, step || Math.max(Math.ceil(span / 72), 1))),
      card("w12", "Agents", { note: `${agents.length}`, flush: true }, folded(agents, 12, agentTable)),
      card("w7", "Latest sessions", { right: h("a", { class: "link", href: "#/sessions" }, "All sessions"), flush: true }, sessionTable(sessions, { brief: true })),
      card("w5", "Errors", { flush: true }, errorTable(errors)),
    ),
  ];
}

function kpis(summary, metrics) {
  const tile = (name, value, unit, note, bad) => h("div", { class: "kpi" }, h("dt", null, name), h("dd", null, value, unit ? h("small", null, unit) : null), h("p", { class: bad ? "bad" : null }, note || "\u00a0"));
  const known = summary.succeeded + summary.failed;
  return h(
    "dl",
    { class: "kpis", style: { margin: 0 } },
    tile("Sessions", count(summary.sessions), "", summary.failed ? `${count(summary.failed)} failed (${percent(summary.failed, known)})` : "none failed", summary.failed > 0),
    tile("Agent runs", count(summary.agent_runs), "", `${count(summary.llm_calls)} model, ${count(summary.tool_calls)} tool calls`),
    tile("Handoffs", count(summary.handoffs), "", `${ratio(metrics.inferred_ratio)} inferred, ${ratio(metrics.failure_rate)} failed`),
    tile("Errors", count(summary.errors), "", `${(summary.errors / summary.sessions).toFixed(2)} per session`, summary.errors > 0),
    tile("Cost", money(summary.cost_usd), "", summary.unpriced_calls ? `${count(summary.unpriced_calls)} calls without a price` : `${money(summary.cost_usd / summary.sessions)} per session`),
    tile("Tokens", count(summary.input_tokens + summary.output_tokens), "", `${percent(summary.cached_tokens, summary.input_tokens)} of input cached`),
    tile("Session p50", duration(summary.p50_ms), "", `p95 ${duration(summary.p95_ms)}`),
  );
}

function spend(rows, by) {
  const total = rows.find((row) => row[by] === "(total)");
  const parts = rows.filter((row) => row[by] !== "(total)" && (row.llm_calls || row.cost_usd)).sort((a, b) => b.cost_usd - a.cost_usd);
  const top = parts.slice(0, 7);
  const rest = parts.slice(7).reduce((sum, row) => sum + row.cost_usd, 0);
  const most = Math.max(...parts.map((row) => row.cost_usd), 1e-12);
  if (!total || !total.llm_calls) return h("div", { class: "none" }, "No model calls in this time");
  const row = (name, usd, note, bar) => h("div", { class: "row" }, name, h("b", null, money(usd)), note ? h("span", { class: "dim" }, note) : null, note ? h("span") : null, bar);
  return h(
    "div",
    { class: "spend" },
    top.map((part) =>
      row(
        by === "agent" ? agentName(part.agent) : h("span", { class: "clip" }, part[by]),
        part.cost_usd,
        null,
        explain(h("div", { class: "track" }, h("i", { style: { width: `${(part.cost_usd / most) * 100}%`, "--c": by === "agent" ? colour(part.agent) : "var(--accent)" } })), part[by], () => [["share", percent(part.cost_usd, total.cost_usd)], ["model calls", count(part.llm_calls)], ["input", count(part.input_tokens)], ["output", count(part.output_tokens)], ["cached", count(part.cached_tokens)], part.unpriced_calls ? ["without a price", count(part.unpriced_calls)] : null]),
      ),
    ),
    rest ? row(h("span", { class: "dim" }, `${parts.length - 7} others`), rest) : null,
    h("div", { class: "row total" }, "Total", h("b", null, money(total.cost_usd))),
    total.unpriced_calls ? h("div", { class: "dim" }, `${count(total.unpriced_calls)} of ${count(total.llm_calls)} calls have no known price`) : null,
  );
}

function activity(rows, step) {
  if (!rows.length) return h("div", { class: "none" }, "Nothing");
  const width = 1400, height = 132, bottom = 20, top = 8;
  const first = millis(rows[0].at), last = millis(rows[rows.length - 1].at) + step * 1000;
  const slots = Math.max(Math.round((last - first) / (step * 1000)), 1);
  const wide = (width - 40) / Math.max(slots, 12);
  const most = Math.max(...rows.map((row) => row.sessions));
  const y = (n) => (height - bottom - top) * (n / most);
  const svg = s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": "Sessions over time" });
  for (const part of [0.5, 1]) svg.append(s("line", { class: "gridline", x1: 34, x2: width, y1: height - bottom - y(most * part), y2: height - bottom - y(most * part) }));
  for (const row of rows) {
    const x = 36 + ((millis(row.at) - first) / (step * 1000)) * wide;
    const tall = y(row.sessions), red = y(row.failed);
    svg.append(
      s("rect", { class: "sessions", x: x + wide * 0.1, y: height - bottom - tall, width: wide * 0.8, height: Math.max(tall - red, 0), rx: Math.min(2, wide / 4) }),
      s("rect", { class: "failed", x: x + wide * 0.1, y: height - bottom - red, width: wide * 0.8, height: red }),
      explain(s("rect", { class: "hit", x, y: top, width: wide, height: height - bottom - top }), clock(row.at), () => [["sessions", count(row.sessions)], ["failed", count(row.failed)], ["errors", count(row.errors)], ["cost", money(row.cost_usd)], ["tokens", count(row.tokens)]]),
    );
  }
  const labels = h("div", { style: { display: "flex", "justify-content": "space-between", "font-size": "11px", color: "var(--ink-3)", "margin-top": "-14px", "padding-left": "34px" } });
  const end = first + Math.max(slots, 12) * step * 1000;
  const days = end - first > 86_400_000;
  for (let i = 0; i <= 6; i++) labels.append(h("span", null, clock(new Date(first + ((end - first) * i) / 6).toISOString(), { date: days }).slice(0, days ? 12 : 5)));
  return h("div", { style: { position: "relative" } }, svg, h("span", { class: "dim", style: { position: "absolute", left: 0, top: "2px", "font-size": "11px" } }, count(most)), labels);
}

function agentTable(rows) {
  const slowest = Math.max(...rows.map((row) => row.p95_ms), 1);
  const bar = (value, most) => h("span", { class: "cell-bar" }, h("i", { style: { width: `${(value / most) * 100}%` } }));
  return table(
    [
      { title: "Agent", cell: (row) => agentName(row.agent), sort: (row) => row.agent },
      { title: "Runs", n: true, cell: (row) => count(row.runs), sort: (row) => row.runs },
      { title: "Errors", n: true, cell: (row) => (row.errors ? h("span", { class: row.error_ratio >= 0.1 ? "bad-text" : null }, `${count(row.errors)} · ${ratio(row.error_ratio)}`) : h("span", { class: "dim" }, "0")), sort: (row) => row.error_ratio },
      { title: "p50", n: true, cell: (row) => duration(row.p50_ms), sort: (row) => row.p50_ms },
      { title: "p95", n: true, cell: (row) => [bar(row.p95_ms, slowest), duration(row.p95_ms)], sort: (row) => row.p95_ms },
      { title: "Own p50", n: true, cell: (row) => duration(row.self_p50_ms), sort: (row) => row.self_p50_ms },
      { title: "Model calls", n: true, cell: (row) => count(row.llm_calls), sort: (row) => row.llm_calls },
      { title: "Tool calls", n: true, cell: (row) => count(row.tool_calls), sort: (row) => row.tool_calls },
      { title: "Tokens in", n: true, cell: (row) => count(row.input_tokens), sort: (row) => row.input_tokens },
      { title: "out", n: true, cell: (row) => count(row.output_tokens), sort: (row) => row.output_tokens },
      { title: "cached", n: true, cell: (row) => percent(row.cached_tokens, row.input_tokens), sort: (row) => row.cached_tokens / (row.input_tokens || 1) },
      { title: "Cost", n: true, cell: (row) => h("b", null, money(row.cost_usd)), sort: (row) => row.cost_usd },
      { title: "Last seen", n: true, class: "dim", cell: (row) => ago(row.last_seen), sort: (row) => row.last_seen },
    ],
    rows,
    { go: (row) => `#/agent/${encodeURIComponent(row.agent)}`, none: "No agents in this time" },
  );
}

/** The first `most` rows, and a button for the others. */
function folded(rows, most, draw) {
  if (rows.length <= most + 2 || state.unfolded) return draw(rows);
  const box = h("div", null, draw(rows.slice(0, most)));
  box.append(h("button", { class: "more", type: "button", onclick: () => { state.unfolded = true; box.replaceChildren(draw(rows)); } }, `Show all ${rows.length}`));
  return box;
}

function sessionTable(rows, { brief } = {}) {
  const all = [
    { title: "Session", class: "mono", cell: (row) => h("span", { class: "clip", title: row.session_id }, shortId(row.session_id)) },
    { title: "Outcome", cell: (row) => badge(row.outcome) },
    { title: "Started", cell: (row) => (brief ? ago(row.started_at) : clock(row.started_at)), sort: (row) => row.started_at, class: "dim" },
    { title: "Took", n: true, cell: (row) => duration(row.duration_ns / 1e6), sort: (row) => row.duration_ns },
    brief ? null : { title: "Way", cell: (row) => (row.root_agent ? [agentName(row.root_agent), row.final_agent && row.final_agent !== row.root_agent ? [h("span", { class: "arrow" }, "→"), agentName(row.final_agent)] : null] : h("span", { class: "dim" }, "no agent")) },
    { title: "Runs", n: true, cell: (row) => count(row.agent_runs), sort: (row) => row.agent_runs },
    { title: "Handoffs", n: true, cell: (row) => count(row.handoffs), sort: (row) => row.handoffs },
    { title: "Errors", n: true, cell: (row) => (row.errors ? h("span", { class: "bad-text" }, count(row.errors)) : h("span", { class: "dim" }, "0")), sort: (row) => row.errors },
    brief ? null : { title: "Tokens", n: true, cell: (row) => count(row.input_tokens + row.output_tokens), sort: (row) => row.input_tokens + row.output_tokens },
    { title: "Cost", n: true, cell: (row) => money(row.cost_usd), sort: (row) => row.cost_usd },
  ];
  return table(all.filter(Boolean), rows, { go: (row) => `#/session/${encodeURIComponent(row.session_id)}`, none: "No sessions in this time" });
}

function errorTable(rows) {
  return table(
    [
      { title: "Agent", cell: (row) => agentName(row.agent) },
      { title: "Type", class: "mono", cell: (row) => h("span", { class: "clip", title: row.last_message }, row.error_type || "error") },
      { title: "Count", n: true, cell: (row) => count(row.errors) },
      { title: "Recovered", n: true, class: "dim", cell: (row) => percent(row.recovered, row.errors) },
      { title: "Last", n: true, class: "dim", cell: (row) => ago(row.last_at) },
    ],
    rows,
    { go: (row) => `#/session/${encodeURIComponent(row.last_session)}`, none: "No errors in this time" },
  );
}

const evidence = (row) => h("span", { class: ["explicit", "tool_name", "message"].includes(row.evidence) ? "tag sure" : "tag" }, row.evidence.replace("_", " "));

function handoffTable(rows, { session = true, start = null } = {}) {
  const columns = [
    { title: "From → to", cell: (row) => [agentName(row.source), h("span", { class: "arrow" }, "→"), agentName(row.target)] },
    { title: "Evidence", cell: (row) => [evidence(row), h("span", { class: "dim" }, ` ${row.confidence.toFixed(2)}`)], sort: (row) => row.confidence },
    { title: "Mode", class: "dim", cell: (row) => (row.mode === "pass_control" ? "passes control" : "returns to caller") },
    { title: "Outcome", cell: (row) => (row.outcome ? badge(row.outcome) : h("span", { class: "dim" }, "–")) },
    { title: "Context", cell: (row) => (row.context_hash_sent && row.context_hash_received ? (row.context_hash_sent === row.context_hash_received ? h("span", { class: "badge ok" }, "kept") : h("span", { class: "badge partial" }, "changed")) : h("span", { class: "dim" }, "not told")) },
    { title: start === null ? "At" : "After", n: true, class: "dim", cell: (row) => (start === null ? clock(row.at) : `+${duration(millis(row.at) - start)}`), sort: (row) => row.at },
    session ? { title: "Session", class: "mono", cell: (row) => h("span", { class: "clip" }, shortId(row.session_id)) } : null,
  ].filter(Boolean);
  return table(columns, rows, { go: session ? (row) => `#/session/${encodeURIComponent(row.session_id)}` : null, none: "No handoffs" });
}

/** Who an agent works with: one row per partner and direction, of its latest handoffs. */
function partnerTable(rows, name) {
  const partners = new Map();
  for (const row of rows) {
    const key = JSON.stringify([row.source, row.target]);
    const one = partners.get(key) || { ...row, count: 0, sure: 0 };
    one.count += 1;
    one.sure += row.confidence;
    partners.set(key, one);
  }
  return table(
    [
      { title: "From → to", cell: (row) => [agentName(row.source), h("span", { class: "arrow" }, "→"), agentName(row.target)] },
      { title: "Handoffs", n: true, cell: (row) => count(row.count), sort: (row) => row.count },
      { title: "Confidence", n: true, class: "dim", cell: (row) => (row.sure / row.count).toFixed(2) },
      { title: "Last", n: true, class: "dim", cell: (row) => ago(row.at) },
    ],
    [...partners.values()].sort((a, b) => b.count - a.count),
    { go: (row) => `#/agent/${encodeURIComponent(row.source === name ? row.target : row.source)}`, none: "No handoffs in this time" },
  );
}

async function sessionsView() {
  const rows = await ask("sessions", { since: state.range, limit: 500 });
  if (!rows.length && !(await ask("summary"))[0].sessions) return empty();
  colourAll(rows.flatMap((row) => row.agents));
  const outcomes = ["all", ...new Set(rows.map((row) => row.outcome))];
  let chosen = "all", text = "";
  const body = h("div");
  const draw = () => {
    const wanted = rows.filter((row) => (chosen === "all" || row.outcome === chosen) && (!text || `${row.session_id} ${row.agents.join(" ")}`.toLowerCase().includes(text)));
    body.replaceChildren(sessionTable(wanted));
    picker.replaceChildren(segments(outcomes.map((each) => [each, each]), chosen, (each) => { chosen = each; draw(); }));
  };
  const picker = h("div");
  const search = h("input", { class: "search", type: "search", placeholder: "Session or agent", "aria-label": "Session or agent", oninput: (event) => { text = event.target.value.toLowerCase(); draw(); } });
  draw();
  return h("div", { class: "grid" }, card("w12", "Sessions", { note: rows.length === 500 ? "the latest 500" : count(rows.length), right: [picker, search], flush: true }, body));
}

async function handoffsView() {
  const [rows, graph] = await Promise.all([ask("handoffs", { since: state.range, limit: 300 }), ask("graph", { since: state.range })]);
  if (!rows.length && !(await ask("summary"))[0].sessions) return empty();
  colourAll(graph.nodes.map((node) => node.agent));
  const numbers = graph.metrics;
  const fact = (name, value) => [h("dt", null, name), h("dd", null, value)];
  return h(
    "div",
    { class: "grid" },
    card("w8", "Who works with whom", { flush: true }, graphBox(graph, { most: 90 })),
    card("w4", "Shape", {}, h("dl", { class: "facts" },
      fact("Agents", count(numbers.agents)), fact("Edges", count(numbers.edges)), fact("Handoffs", count(numbers.handoffs)), fact("Failed", ratio(numbers.failure_rate)),
      fact("Inferred", ratio(numbers.inferred_ratio)), fact("Depth", count(numbers.depth)), fact("Widest fan-out", count(numbers.fan_out_max)), fact("Loops", count(numbers.cycles)),
      fact("Density", numbers.density.toFixed(2)), fact("Reciprocity", numbers.reciprocity.toFixed(2)), fact("Centralisation", numbers.centralisation.toFixed(2)), fact("Determinism", numbers.determinism.toFixed(2)))),
    card("w12", "Latest handoffs", { note: rows.length === 300 ? "300" : count(rows.length), flush: true }, handoffTable(rows)),
  );
}

async function agentView(name) {
  const since = state.range;
  const [agents, runs, handoffs, errors] = await Promise.all([ask("agents", { since, agent: name }), ask("runs", { since, agent: name, limit: 100 }), ask("handoffs", { since, agent: name, limit: 100 }), ask("errors", { since, agent: name, limit: 50 })]);
  const [agent] = agents;
  colourAll([name, ...handoffs.flatMap((row) => [row.source, row.target])]);
  const title = [crumbs(["Overview", "#/"], [name]), h("div", { class: "title" }, h("h1", null, agentName(name)), agent ? h("span", { class: "dim" }, [agent.framework, ...agent.versions].filter(Boolean).join(" · ")) : null)];
  if (!agent) return [...title, h("div", { class: "card none" }, "Not seen in this time; choose a longer one")];
  const tile = (label, value, note) => h("div", { class: "kpi" }, h("dt", null, label), h("dd", null, value), h("p", null, note || "\u00a0"));
  return [
    ...title,
    h("dl", { class: "kpis", style: { margin: "0 0 16px" } }, tile("Runs", count(agent.runs), `${count(agent.sessions)} sessions`), tile("Errors", ratio(agent.error_ratio), `${count(agent.errors)} runs`), tile("p50", duration(agent.p50_ms), `own time ${duration(agent.self_p50_ms)}`), tile("p95", duration(agent.p95_ms)), tile("Model calls", count(agent.llm_calls), `${count(agent.tool_calls)} tool calls`), tile("Tokens", count(agent.input_tokens + agent.output_tokens), `${percent(agent.cached_tokens, agent.input_tokens)} of input cached`), tile("Cost", money(agent.cost_usd), `${money(agent.cost_usd / agent.runs)} per run`)),
    h(
      "div",
      { class: "grid" },
      card("w7", "Comes from, goes to", { flush: true }, partnerTable(handoffs, name)),
      card("w5", "Errors", { flush: true }, errorTable(errors)),
      card("w12", "Latest handoffs", { flush: true }, folded(handoffs, 8, handoffTable)),
      card("w12", "Latest runs", { flush: true }, table(
        [
          { title: "Started", class: "dim", cell: (row) => clock(row.started_at), sort: (row) => row.started_at },
          { title: "Status", cell: (row) => badge(row.status) },
          { title: "Error", class: "mono", cell: (row) => row.error_type },
          { title: "Took", n: true, cell: (row) => duration(row.duration_ns / 1e6), sort: (row) => row.duration_ns },
          { title: "Own time", n: true, cell: (row) => duration(row.self_ns / 1e6), sort: (row) => row.self_ns },
          { title: "Model calls", n: true, cell: (row) => count(row.llm_calls), sort: (row) => row.llm_calls },
          { title: "Tokens", n: true, cell: (row) => count(row.input_tokens + row.output_tokens), sort: (row) => row.input_tokens + row.output_tokens },
          { title: "Cost", n: true, cell: (row) => money(row.cost_usd), sort: (row) => row.cost_usd },
          { title: "Version", cell: (row) => row.agent_version || h("span", { class: "dim" }, "–") },
          { title: "Session", class: "mono", cell: (row) => h("span", { class: "clip" }, shortId(row.session_id)) },
        ],
        runs,
        { go: (row) => `#/session/${encodeURIComponent(row.session_id)}` },
      )),
    ),
  ];
}

async function sessionView(id) {
  const mine = { session: id };
  const [data, graph, suspects, quality, evaluations] = await Promise.all([ask(`sessions/${encodeURIComponent(id)}`), ask("graph", mine), ask("suspects", { ...mine, limit: 5 }).then(numbered), ask("quality", mine).then(numbered), ask("evaluations", mine).then(numbered)]);
  const { session } = data;
  colourAll(session.agents);
  const start = Math.min(millis(session.started_at), ...data.runs.map((run) => millis(run.started_at)));
  const detail = h("div", { class: "body" }, sessionFacts(session, data));
  const heading = h("h2", null, "Session");
  const choose = (run) => {
    for (const lane of view.querySelectorAll(".lane")) lane.classList.toggle("chosen", lane.dataset.run === run.run_id);
    heading.replaceChildren(agentName(run.agent));
    detail.replaceChildren(runFacts(run, data));
  };
  const key = h("div", { class: "key" }, h("span", null, h("i", { class: "k-run" }), "run"), h("span", null, h("i"), "model call"), h("span", null, h("i", { class: "k-tool" }), "tool call"), h("span", null, h("i", { class: "k-err" }), "error"), h("span", null, h("i", { class: "k-hand" }), "handoff"));
  return [
    crumbs(["Sessions", "#/sessions"], [shortId(id)]),
    h("div", { class: "title" }, h("h1", { class: "mono", style: { "font-size": "17px" } }, id), badge(session.outcome), h("span", { class: "dim" }, `${clock(session.started_at)} · ${duration(session.duration_ns / 1e6)} · ${count(session.spans)} spans in ${count(session.traces)} ${session.traces === 1 ? "trace" : "traces"}`)),
    h(
      "div",
      { class: "grid" },
      card("w8", "Timeline", { right: key, flush: true }, waterfall(data, choose)),
      h("section", { class: "card w4" }, h("header", null, heading), detail),
      suspects.length ? card("w12", "Suspects", { note: "ranked, never a verdict", flush: true }, suspectTable(suspects, { ...mine, limit: 5 }, { inSession: true })) : null,
      quality.some((row) => row.score !== null) ? card("w12", "How the handoffs went", { flush: true }, qualityTable(quality, mine, { inSession: true })) : null,
      evaluations.length ? card("w12", "Evaluations and feedback", { flush: true }, evaluationTable(evaluations, mine)) : null,
      data.handoffs.length ? card("w12", "Handoffs", { note: count(data.handoffs.length), flush: true }, handoffTable(data.handoffs, { session: false, start })) : null,
      data.errors.length ? card("w12", "Errors", { note: count(data.errors.length), flush: true }, table(
        [
          { title: "Agent", cell: (row) => agentName(row.agent) },
          { title: "Type", class: "mono", cell: (row) => row.error_type },
          { title: "Message", class: "wrap", cell: (row) => row.message.slice(0, 600) },
          { title: "Recovered", cell: (row) => (row.recovered ? h("span", { class: "badge ok" }, "yes") : h("span", { class: "badge error" }, "no")) },
          { title: "After", n: true, class: "dim", cell: (row) => `+${duration(millis(row.at) - start)}` },
        ],
        data.errors,
      )) : null,
      card("w8", "Model calls", { note: count(data.llm_calls.length), flush: true }, table(
        [
          { title: "Agent", cell: (row) => agentName(row.agent) },
          { title: "Model", class: "mono", cell: (row) => row.model || "–" },
          { title: "In", n: true, cell: (row) => count(row.input_tokens), sort: (row) => row.input_tokens },
          { title: "Cached", n: true, class: "dim", cell: (row) => count(row.cached_tokens), sort: (row) => row.cached_tokens },
          { title: "Out", n: true, cell: (row) => count(row.output_tokens), sort: (row) => row.output_tokens },
          { title: "Took", n: true, cell: (row) => duration(row.duration_ns / 1e6), sort: (row) => row.duration_ns },
          { title: "Cost", n: true, cell: (row) => (row.cost_usd === null ? h("span", { class: "dim" }, row.unpriced_reason || "–") : money(row.cost_usd)), sort: (row) => row.cost_usd },
          { title: "After", n: true, class: "dim", cell: (row) => `+${duration(millis(row.at) - start)}`, sort: (row) => row.at },
        ],
        data.llm_calls.slice(0, 300),
        { none: "No model call was seen" },
      )),
      card("w4", "Graph", { flush: true }, graphBox(graph, { down: true })),
      data.tool_calls.length ? card("w12", "Tool calls", { note: count(data.tool_calls.length), flush: true }, table(
        [
          { title: "Agent", cell: (row) => agentName(row.agent) },
          { title: "Tool", class: "mono", cell: (row) => row.tool },
          { title: "Status", cell: (row) => badge(row.status) },
          { title: "Error", class: "mono", cell: (row) => row.error_type },
          { title: "Took", n: true, cell: (row) => duration(row.duration_ns / 1e6), sort: (row) => row.duration_ns },
          { title: "After", n: true, class: "dim", cell: (row) => `+${duration(millis(row.at) - start)}`, sort: (row) => row.at },
        ],
        data.tool_calls.slice(0, 300),
      )) : null,
    ),
  ];
}

const facts = (...pairs) => h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));

function sessionFacts(session, data) {
  return facts(
    ["Way", session.root_agent ? [agentName(session.root_agent), session.final_agent !== session.root_agent ? [h("span", { class: "arrow" }, "→"), agentName(session.final_agent)] : null] : "–"],
    ["Agents", count(session.agents.length)],
    ["Runs", count(session.agent_runs)],
    ["Handoffs", `${count(session.handoffs)}${session.known_origin_ratio === null ? "" : `, origin known for ${ratio(session.known_origin_ratio)} of runs`}`],
    ["Model calls", count(session.llm_calls)],
    ["Tool calls", count(session.tool_calls)],
    ["Errors", session.errors ? h("span", { class: "bad-text" }, count(session.errors)) : "0"],
    ["Tokens", `${count(session.input_tokens)} in, ${count(session.output_tokens)} out`],
    ["Cached", percent(session.cached_tokens, session.input_tokens)],
    ["Cost", [h("b", null, money(session.cost_usd)), session.unpriced_calls ? h("span", { class: "dim" }, `, ${count(session.unpriced_calls)} calls without a price`) : null]],
    ["Services", session.services.join(", ") || "–"],
    session.duplicate_spans ? ["Repeats", `${count(session.duplicate_spans)} spans came twice and count once`] : null,
    data.llm_calls[0] ? ["Models", [...new Set(data.llm_calls.map((call) => call.model).filter(Boolean))].join(", ")] : null,
  );
}

function runFacts(run, data) {
  const calls = data.llm_calls.filter((call) => call.run_id === run.run_id);
  const tools = data.tool_calls.filter((call) => call.run_id === run.run_id);
  const into = data.handoffs.filter((row) => row.target_run_id === run.run_id);
  const out = data.handoffs.filter((row) => row.source_run_id === run.run_id);
  return facts(
    ["Status", badge(run.status)],
    run.error_type ? ["Error", h("span", { class: "mono" }, run.error_type)] : null,
    ["Took", duration(run.duration_ns / 1e6)],
    ["Own time", `${duration(run.self_ns / 1e6)} (${percent(run.self_ns, run.duration_ns)})`],
    into.length ? ["Handed over by", into.map((row) => [agentName(row.source), " ", evidence(row), " "])] : null,
    out.length ? ["Handed over to", out.map((row) => [agentName(row.target), " ", evidence(row), " "])] : null,
    ["Model calls", `${count(run.llm_calls)}${calls.length ? ` (${[...new Set(calls.map((call) => call.model))].join(", ")})` : ""}`],
    ["Tool calls", tools.length ? [...new Set(tools.map((call) => call.tool))].join(", ") : "0"],
    ["Tokens", `${count(run.input_tokens)} in, ${count(run.output_tokens)} out`],
    ["Cached", count(run.cached_tokens)],
    ["Cost", h("b", null, money(run.cost_usd))],
    run.agent_version ? ["Version", run.agent_version] : null,
    run.variant ? ["Variant", run.variant] : null,
    run.role ? ["Role", run.role] : null,
    ["Framework", run.framework || "–"],
    ["Service", run.service || "–"],
    ["Named by", run.name_evidence.replace(/_/g, " ") || "–"],
    ["Span", h("span", { class: "mono" }, run.run_id)],
    ["Trace", h("span", { class: "mono" }, run.trace_id)],
  );
}

const crumbs = (...steps) => h("p", { class: "crumbs" }, steps.map(([text, href], index) => [index ? "/" : null, href ? h("a", { href }, text) : h("span", null, text)]));

function nothingNow() {
  return h("div", { class: "card none" }, "Nothing in this time. ", h("button", { class: "link", type: "button", onclick: () => choose("all") }, "Show everything"));
}

function empty() {
  const host = location.hostname || "127.0.0.1";
  const step = (number, title, text, code) => h("div", { class: "step" }, h("b", null, number), h("h3", null, title), text ? h("p", null, text) : null, code ? h("pre", null, code) : null);
  return h(
    "div",
    { class: "empty" },
    h("h1", null, "Waiting for the first span"),
    h("p", null, "Send OpenTelemetry traces of your agents here. This page fills as they arrive."),
    h(
      "div",
      { class: "card" },
      step("1", "Point your exporter at maslens", "Any app that already emits GenAI, OpenInference or Traceloop spans needs nothing else.", `export OTEL_EXPORTER_OTLP_ENDPOINT=http://${host}:4318\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf`),
      step("2", "Or instrument it", "One call starts it; agents and handoffs are named where they happen.", "from maslens.instrumentation import init, agent, handoff\n\ninit()\n\n@agent(\"triage\")\ndef triage(question): ..."),
      step("3", "Or look at an example", "A help desk of agents with a scripted model, in another terminal.", "maslens demo"),
    ),
  );
}

// --- routes, range, refresh --------------------------------------------------------------------------------------------

function route() {
  const [, name, ...rest] = location.hash.replace(/^#/, "").split("/");
  const argument = rest.map(decodeURIComponent).join("/");
  if (name === "session" && argument) return ["sessions", () => sessionView(argument)];
  if (name === "agent" && argument) return ["overview", () => agentView(argument)];
  if (name === "sessions") return ["sessions", sessionsView];
  if (name === "handoffs") return ["handoffs", handoffsView];
  if (name === "problems") return ["problems", () => problemsView(state.range)];
  if (name === "money") return ["money", () => moneyView(state.range, state, refresh)];
  return ["overview", overview];
}

async function refresh({ moved = false } = {}) {
  const asked = ++state.asked;
  const [tab, draw] = route();
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.dataset.view === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const live = document.getElementById("live");
  try {
    state.named ||= ask("agents", { limit: 1000 }).then((rows) => colourAll(rows.map((row) => row.agent)));
    await state.named;
    const made = await draw();
    if (asked !== state.asked) return;
    const scrolled = scrollY;
    hideTip();
    view.replaceChildren(...[made].flat());
    scrollTo(0, moved ? 0 : scrolled);
    live.classList.remove("lost");
    document.getElementById("freshness").textContent = state.live ? "live" : "paused";
  } catch (error) {
    if (asked !== state.asked) return;
    state.named = null;
    live.classList.add("lost");
    document.getElementById("freshness").textContent = error.status ? "refused" : "no answer";
    if (moved || !view.childElementCount) view.replaceChildren(h("div", { class: "card oops" }, error.status === 404 ? "Nothing is known of this. " : `${error.message} `, h("a", { class: "link", href: "#/" }, "Overview")));
  }
}

function choose(range) {
  state.range = range;
  localStorage.setItem("maslens.range", range);
  drawRange();
  refresh();
}

function drawRange() {
  document.getElementById("range").replaceChildren(...RANGES.map(([value, label]) => h("button", { type: "button", "aria-pressed": String(value === state.range), onclick: () => choose(value) }, label)));
}

function drawLive() {
  const live = document.getElementById("live");
  live.setAttribute("aria-pressed", String(state.live));
  document.getElementById("freshness").textContent = state.live ? "live" : "paused";
}

document.getElementById("live").addEventListener("click", () => {
  state.live = !state.live;
  localStorage.setItem("maslens.live", state.live ? "on" : "off");
  drawLive();
  if (state.live) refresh();
});
document.getElementById("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("maslens.theme", theme);
});
addEventListener("hashchange", () => refresh({ moved: true }));
setInterval(() => {
  // Lists redraw themselves; a session that is being read does not move under the reader.
  const reading = location.hash.startsWith("#/session/") || document.querySelector("dialog[open]") || view.querySelector("input:focus, .near, .moving");
  if (state.live && !document.hidden && !reading) refresh();
}, 5000);
drawRange();
drawLive();
refresh({ moved: true });
