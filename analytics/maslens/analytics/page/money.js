// Where money goes: what a success costs, what bought nothing, the dearest ways, and budgets.

import { ask } from "./api.js";
import { agentName, badge, dim, share } from "./cells.js";
import { card, h, segments, table } from "./dom.js";
import { clock, count, duration, money, percent } from "./format.js";
import { numbered, whyButton } from "./why.js";

const CUTS = [["agent", "Agent"], ["model", "Model"], ["tool", "Tool"], ["handoff", "Handoff"], ["version", "Version"], ["task", "Task"], ["day", "Day"]];

export async function moneyView(since, state, refresh) {
  const by = state.moneyBy || "agent";
  const params = { since };
  const [costs, units, waste, paths, budgets] = await Promise.all([ask("cost", { since, by }), ...[["unit-costs", params], ["waste", params], ["paths", { since, limit: 12 }], ["budgets", {}]].map(([name, narrowed]) => ask(name, narrowed).then(numbered))]);
  return h(
    "div",
    { class: "grid" },
    card("w7", "Who spent it", { right: segments(CUTS, by, (chosen) => { state.moneyBy = chosen; refresh(); }), flush: true }, costTable(costs, by)),
    h("div", { class: "w5 stack" },
      card("", "What a session costs, by how it ended", { flush: true }, unitTable(units, params)),
      card("", "Money that bought nothing", { note: "kinds overlap", flush: true }, wasteTable(waste, params))),
    card("w12", "Budgets", { flush: true }, budgetTable(budgets)),
    card("w12", "Ways through the agents", { note: "dearest first", flush: true }, pathTable(paths, { since, limit: 12 })),
  );
}

function costTable(rows, by) {
  const total = rows.find((row) => row[by] === "(total)");
  const parts = rows.filter((row) => row[by] !== "(total)").slice(0, 40);
  const most = Math.max(...parts.map((row) => row.cost_usd), 1e-12);
  return table(
    [
      { title: by, class: by === "agent" ? null : "mono", cell: (row) => (by === "agent" && !row.agent.startsWith("(") ? agentName(row.agent) : h("span", { class: "clip", title: row[by] }, row[by])) },
      { title: "Cost", n: true, cell: (row) => [share(row.cost_usd / most), h("b", null, money(row.cost_usd))], sort: (row) => row.cost_usd },
      { title: "Share", n: true, class: "dim", cell: (row) => percent(row.cost_usd, total.cost_usd), sort: (row) => row.cost_usd },
      { title: "Calls", n: true, cell: (row) => count(row.llm_calls), sort: (row) => row.llm_calls },
      { title: "In", n: true, cell: (row) => count(row.input_tokens), sort: (row) => row.input_tokens },
      { title: "Out", n: true, cell: (row) => count(row.output_tokens), sort: (row) => row.output_tokens },
      { title: "Cached", n: true, class: "dim", cell: (row) => count(row.cached_tokens), sort: (row) => row.cached_tokens },
      { title: "No price", n: true, class: "dim", cell: (row) => count(row.unpriced_calls), sort: (row) => row.unpriced_calls },
    ],
    [...parts, total],
    { none: "No model calls in this time" },
  );
}

function unitTable(rows, params) {
  return table(
    [
      { title: "Outcome", cell: (row) => (row.outcome === "(total)" ? h("b", null, "Total") : badge(row.outcome)) },
      { title: "Sessions", n: true, cell: (row) => count(row.sessions) },
      { title: "Cost", n: true, cell: (row) => money(row.cost_usd) },
      { title: "Each", n: true, cell: (row) => money(row.usd_per_session) },
      { title: "A success costs", n: true, cell: (row) => (row.usd_per_success === null ? dim("") : h("b", null, money(row.usd_per_success))) },
      { title: "", cell: (row) => whyButton("unit-costs", params, row.number) },
    ],
    rows,
    { none: "No sessions in this time" },
  );
}

function wasteTable(rows, params) {
  return table(
    [
      { title: "What", cell: (row) => row.kind.replace("_", " ") },
      { title: "Times", n: true, cell: (row) => count(row.times) },
      { title: "Tokens", n: true, cell: (row) => count(row.tokens) },
      { title: "Cost", n: true, cell: (row) => h("b", null, money(row.cost_usd)) },
      { title: "of all", n: true, class: "dim", cell: (row) => (row.share === null ? "–" : percent(row.share, 1)) },
      { title: "", cell: (row) => whyButton("waste", params, row.number) },
    ],
    rows,
  );
}

function budgetTable(rows) {
  return table(
    [
      { title: "Budget", class: "mono", cell: (row) => row.budget },
      { title: "Spent", n: true, cell: (row) => [share(row.used), `${money(row.spent_usd)} · ${percent(row.used, 1)}`] },
      { title: "Burn 1 h", n: true, cell: (row) => row.burn_1h.toFixed(2) },
      { title: "6 h", n: true, cell: (row) => row.burn_6h.toFixed(2) },
      { title: "Used up", n: true, class: "dim", cell: (row) => (row.exhausted_at ? clock(row.exhausted_at, { date: true }) : "–") },
      { title: "Status", cell: (row) => badge(row.status, { ok: "ok", burning: "partial", over: "error" }[row.status]) },
      { title: "", cell: (row) => whyButton("budgets", {}, row.number) },
    ],
    rows,
    { none: "None is set: MASLENS_BUDGETS='50/day; agent billing 5/day'" },
  );
}

function pathTable(rows, params) {
  const most = Math.max(...rows.map((row) => row.cost_usd), 1e-12);
  return table(
    [
      { title: "Path", class: "wrap", cell: (row) => row.path.split(" → ").map((name, index) => [index ? h("span", { class: "arrow" }, "→") : null, name === "…" ? dim("…") : agentName(name)]) },
      { title: "Sessions", n: true, cell: (row) => count(row.sessions), sort: (row) => row.sessions },
      { title: "Failed", n: true, cell: (row) => (row.failed ? h("span", { class: "bad-text" }, count(row.failed)) : dim("0")), sort: (row) => row.failed },
      { title: "Cost", n: true, cell: (row) => [share(row.cost_usd / most), h("b", null, money(row.cost_usd))], sort: (row) => row.cost_usd },
      { title: "Each", n: true, cell: (row) => money(row.usd_per_session), sort: (row) => row.usd_per_session },
      { title: "p95", n: true, cell: (row) => duration(row.p95_ms), sort: (row) => row.p95_ms },
      { title: "", cell: (row) => whyButton("paths", params, row.number) },
    ],
    rows,
    { none: "No session with agents in this time" },
  );
}
