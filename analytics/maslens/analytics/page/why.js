// Why a row says what it says: its definition and what it rests on, in a dialog.

import { ask } from "./api.js";
import { h } from "./dom.js";

const dialog = h("dialog", { class: "why", "aria-label": "Why" });
document.body.append(dialog);
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

/** Rows that know their place in the list, so that they can be asked for when the table is sorted or cut. */
export function numbered(rows) {
  return rows.map((row, index) => ({ ...row, number: index + 1 }));
}

/** A button that explains row `number` (from 1) of what `name` answers to `params`. */
export function whyButton(name, params, number) {
  return h("button", { class: "why", type: "button", title: "How this row came about", onclick: (event) => { event.stopPropagation(); show(name, params, number); } }, "why?");
}

async function show(name, params, number) {
  dialog.replaceChildren(h("p", { class: "none" }, "Looking …"));
  dialog.showModal();
  try {
    fill(await ask(name, { ...params, explain: number }), name);
  } catch (error) {
    dialog.replaceChildren(closing(), h("p", { class: "none" }, error.status === 404 ? "The list has changed since; close this and look again." : error.message));
  }
}

function fill(parts, name) {
  const [row, definition, ...evidence] = parts;
  const titles = [...new Set(evidence.map((each) => each.part))];
  dialog.replaceChildren(
    closing(),
    h("h2", null, name.replace("-", " ")),
    h("p", { class: "definition" }, definition.text),
    h("dl", { class: "facts" }, Object.entries(row).filter(([key, value]) => key !== "part" && said(value)).map(([key, value]) => [h("dt", null, key), h("dd", null, text(value))])),
    ...titles.flatMap((title) => [h("h3", null, title), grid(evidence.filter((each) => each.part === title))]),
  );
}

function grid(rows) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((key) => key !== "part" && rows.some((row) => said(row[key])));
  return h("div", { class: "scroll" }, h("table", null,
    h("thead", null, h("tr", null, columns.map((key) => h("th", null, key)))),
    h("tbody", null, rows.map((row) => h("tr", null, columns.map((key) => h("td", { class: "wrap" }, text(row[key])))))),
  ));
}

const closing = () => h("button", { class: "close", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "×");
const said = (value) => value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && !value.length);
const text = (value) => (said(value) ? (Array.isArray(value) ? value.join(", ") : typeof value === "object" ? JSON.stringify(value) : typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(4) : String(value)).slice(0, 2000) : "–");
