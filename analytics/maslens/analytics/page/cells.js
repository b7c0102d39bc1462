// What stands in cells of several views.

import { h } from "./dom.js";
import { colour } from "./format.js";

export const agentName = (name, kind) => h("span", { class: kind === "person" || name === "user" ? "agent person" : "agent", style: { "--c": colour(name) } }, h("i"), h("span", { title: name.length > 30 ? name : null }, name));

export const badge = (text, colours = text) => h("span", { class: `badge ${colours}` }, text || "–");

export const arrow = () => h("span", { class: "arrow" }, "→");

export const dim = (text) => h("span", { class: "dim" }, text);

/** A part of a score: 0 is good, 1 is bad, null is not known. */
export const part = (value) => (value === null || value === undefined ? dim("–") : value ? h("span", { class: "bad-text" }, value === 1 ? "yes" : value.toFixed(2)) : dim("no"));

export const share = (value) => h("span", { class: "cell-bar" }, h("i", { style: { width: `${Math.min(Math.max(value || 0, 0), 1) * 100}%` } }));
