// What goes wrong: what got worse, who holds everybody up, who is suspected, which handoffs lose something.

import { ask } from "./api.js";
import { agentName, arrow, badge, dim, part, share } from "./cells.js";
import { card, h, table } from "./dom.js";
import { ago, clock, count, duration, percent, shortId } from "./format.js";
import { numbered, whyButton } from "./why.js";

const MOST = 12;
const session = (row) => `#/session/${encodeURIComponent(row.session_id)}`;

export async function problemsView(since) {
  const params = { since, limit: MOST };
  const ranked = { since, limit: 500 };
  const [degradations, bottlenecks, suspects, quality, evaluations] = await Promise.all(
    [["degradations", ranked], ["bottlenecks", params], ["suspects", ranked], ["quality", params], ["evaluations", params]].map(([name, narrowed]) => ask(name, narrowed).then(numbered)),
  );
  return h(
    "div",
    { class: "grid" },
    card("w12", "What got worse", { note: `of ${count(degradations.length)} series that are watched; false alarms are bounded`, flush: true }, degradationTable(degradations.filter((row) => row.verdict === "worse").slice(0, MOST), ranked)),
    card("w6", "Who holds everybody up", { note: "time on the critical path", flush: true }, bottleneckTable(bottlenecks, params)),
    card("w6", "Who is suspected in failed sessions", { note: "the first of each, never a verdict", flush: true }, suspectTable(suspects.filter((row) => row.rank === 1).slice(0, MOST), ranked)),
    card("w12", "Handoffs that went worst", { note: "by score; – is what the telemetry does not tell", flush: true }, qualityTable(quality.filter((row) => row.score !== null && row.score < 1), params)),
    card("w12", "Evaluations and feedback", { note: "latest", flush: true }, evaluationTable(evaluations, params)),
  );
}

function degradationTable(rows, params) {
  const columns = [
    { title: "Agent", cell: (row) => agentName(row.agent) },
    { title: "Version", cell: (row) => row.version || dim("–") },
    { title: "Metric", class: "mono", cell: (row) => row.metric },
    { title: "Alarm", cell: (row) => (row.alarm ? badge("alarm", "error") : badge("worse", "partial")) },
    { title: "Against", class: "dim", cell: (row) => (row.against === "version" ? `version ${row.reference || "–"}` : "its own past") },
    { title: "Since", class: "dim", cell: (row) => (row.onset_at ? clock(row.onset_at) : "–"), sort: (row) => row.onset_at },
    { title: "Effect", n: true, cell: (row) => (row.effect === null ? "–" : `${row.effect.toFixed(2)} (${row.effect_low.toFixed(2)} to ${row.effect_high.toFixed(2)})`), sort: (row) => row.effect },
    { title: "q", n: true, class: "dim", cell: (row) => (row.q_value === null ? "–" : row.q_value.toPrecision(2)), sort: (row) => row.q_value },
    { title: "Calls before, after", n: true, class: "dim", cell: (row) => `${count(row.n_ref)}, ${count(row.n_now)}` },
    { title: "", cell: (row) => whyButton("degradations", params, row.number) },
  ];
  return table(columns, rows, { go: (row) => `#/agent/${encodeURIComponent(row.agent)}`, none: "Nothing got worse that can be told from chance" });
}

export function bottleneckTable(rows, params) {
  const most = Math.max(...rows.map((row) => row.saves_ms), 1);
  return table(
    [
      { title: "Agent", cell: (row) => agentName(row.agent) },
      { title: "A fix saves", n: true, cell: (row) => [share(row.saves_ms / most), duration(row.saves_ms)], sort: (row) => row.saves_ms },
      { title: "Critical", n: true, cell: (row) => duration(row.critical_ms), sort: (row) => row.critical_ms },
      { title: "Waited for", n: true, cell: (row) => duration(row.waiting_ms), sort: (row) => row.waiting_ms },
      { title: "Retries", n: true, cell: (row) => count(row.retries), sort: (row) => row.retries },
      { title: "", cell: (row) => whyButton("bottlenecks", params, row.number) },
    ],
    rows,
    { go: (row) => `#/agent/${encodeURIComponent(row.agent)}`, none: "No session in this time" },
  );
}

export function suspectTable(rows, params, { inSession = false } = {}) {
  return table(
    [
      inSession ? { title: "#", n: true, cell: (row) => count(row.rank) } : null,
      { title: "Agent", cell: (row) => agentName(row.agent) },
      { title: "Step", n: true, cell: (row) => count(row.step) },
      { title: "Confidence", n: true, cell: (row) => row.confidence.toFixed(2), sort: (row) => row.confidence },
      inSession ? { title: "Category", cell: (row) => row.category || dim("–") } : null,
      { title: "Signs", class: "wrap", cell: (row) => row.signs.join(", ") || dim("–") },
      inSession ? null : { title: "Session", class: "mono", cell: (row) => h("span", { class: "clip" }, shortId(row.session_id)) },
      { title: "", cell: (row) => whyButton("suspects", params, row.number) },
    ].filter(Boolean),
    rows,
    { go: inSession ? null : session, none: "No failed session in this time" },
  );
}

export function qualityTable(rows, params, { inSession = false } = {}) {
  return table(
    [
      { title: "From → to", cell: (row) => [agentName(row.source), arrow(), agentName(row.target)] },
      { title: "Score", n: true, cell: (row) => (row.score === null ? dim("–") : h("b", null, row.score.toFixed(2))), sort: (row) => row.score },
      { title: "Coverage", n: true, class: "dim", cell: (row) => percent(row.coverage, 1), sort: (row) => row.coverage },
      ...["failed", "bounced", "repeated", "re_asked", "lost"].map((name) => ({ title: name.replace("_", " "), cell: (row) => part(row[name]), sort: (row) => row[name] })),
      { title: "What was lost", class: "wrap", cell: (row) => row.lost_facts.slice(0, 3).join(", ").slice(0, 200) || dim(row.lost_evidence || "–") },
      inSession ? null : { title: "Session", class: "mono", cell: (row) => h("span", { class: "clip" }, shortId(row.session_id)) },
      { title: "", cell: (row) => whyButton("quality", params, row.number) },
    ].filter(Boolean),
    rows,
    { go: inSession ? null : session, none: "Nothing was lost, repeated or sent back" },
  );
}

export function evaluationTable(rows, params) {
  return table(
    [
      { title: "What", class: "mono", cell: (row) => row.name },
      { title: "Agent", cell: (row) => (row.agent ? agentName(row.agent) : dim(row.target_type || "session")) },
      { title: "Score", n: true, cell: (row) => (row.score === null ? dim("–") : row.score.toPrecision(3)), sort: (row) => row.score },
      { title: "Label", cell: (row) => row.label || dim("–") },
      { title: "By", class: "dim", cell: (row) => [row.evaluator_type, row.evaluator_id].filter(Boolean).join(" ") || "–" },
      { title: "Explanation", class: "wrap", cell: (row) => row.explanation.slice(0, 300) },
      { title: "At", n: true, class: "dim", cell: (row) => ago(row.at), sort: (row) => row.at },
      { title: "", cell: (row) => whyButton("evaluations", params, row.number) },
    ],
    rows,
    { go: session, none: "Nobody has judged anything; POST /api/v1/feedback or gen_ai.evaluation.result events do" },
  );
}
