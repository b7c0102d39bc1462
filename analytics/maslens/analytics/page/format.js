// Numbers, times and names as a person reads them.

const whole = new Intl.NumberFormat("en-US");
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n) => (n === null || n === undefined ? "–" : Math.abs(n) < 100_000 ? whole.format(n) : compact.format(n));
export const percent = (part, all) => (all ? ratio(part / all) : "–");

export function ratio(x) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  if (x === 0) return "0 %";
  return x < 0.001 ? "< 0.1 %" : `${(x * 100).toFixed(x < 0.1 ? 1 : 0)} %`;
}

export function money(usd) {
  if (usd === null || usd === undefined) return "–";
  if (usd === 0) return "$0";
  if (usd >= 1000) return `$${compact.format(usd)}`;
  const digits = usd >= 1 ? 2 : usd >= 0.01 ? 4 : 6;
  return `$${usd.toFixed(digits)}`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms === 0) return "0";
  if (ms < 1) return `${(ms * 1000).toFixed(0)} µs`;
  if (ms < 1000) return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} m ${Math.round((ms % 60_000) / 1000)} s`;
  return `${Math.floor(ms / 3_600_000)} h ${Math.round((ms % 3_600_000) / 60_000)} m`;
}

/** Milliseconds since 1970, with the fraction that Date drops. */
export function millis(iso) {
  const fraction = /\.(\d{3})(\d+)/.exec(iso);
  return Date.parse(iso) + (fraction ? Number(`0.${fraction[2]}`) : 0);
}

export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(iso).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

export function clock(iso, { date = true } = {}) {
  const at = new Date(iso);
  const time = at.toLocaleTimeString("en-GB");
  return date ? `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}` : time;
}

export const shortId = (id) => (/^[0-9a-f]{32}$/.test(id) ? `${id.slice(0, 8)}…${id.slice(-4)}` : id);

const HUES = ["#5b6ee1", "#0f9d8a", "#d9822b", "#b1459f", "#2f86c5", "#7a9a1f", "#c8553d", "#7a5bd0", "#1f9d55", "#c2a01e", "#d14d72", "#4c7d8c"];
const taken = new Map();

/** One colour per agent, the same in every view; neighbours in the alphabet of arrival differ. */
export function colour(agent) {
  if (!agent || agent.startsWith("(")) return "var(--ink-3)";
  if (!taken.has(agent)) taken.set(agent, HUES[taken.size % HUES.length]);
  return taken.get(agent);
}

/** Give colours in a fixed order, so that a reload does not change them. */
export function colourAll(agents) {
  for (const agent of [...agents].sort()) colour(agent);
}
