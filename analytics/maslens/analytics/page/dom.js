// Elements without markup: whatever comes from a span only ever becomes text.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("td", {class: "n"}, "12"). `on…` are listeners, `style` is a map of properties, null is left out. */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const tip = document.getElementById("tip");

/** Show `lines` (a title and [name, value] pairs) beside the pointer while it is over `node`. */
export function explain(node, title, lines) {
  node.addEventListener("pointermove", (event) => {
    tip.replaceChildren(
      h("b", null, title),
      ...lines().filter(Boolean).map(([name, value]) => h("div", null, name, h("span", null, value))),
    );
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const x = event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
    const y = event.clientY + 14 + height > innerHeight ? event.clientY - 14 - height : event.clientY + 14;
    tip.style.left = `${Math.max(x, 4)}px`;
    tip.style.top = `${Math.max(y, 4)}px`;
  });
  node.addEventListener("pointerleave", hideTip);
  return node;
}

export function hideTip() {
  tip.hidden = true;
}

export function card(width, title, { note, right, flush } = {}, ...body) {
  return h(
    "section",
    { class: `card ${width}` },
    h("header", null, h("h2", null, title), note ? h("span", { class: "note" }, note) : null, right ? h("div", { class: "right" }, right) : null),
    h("div", { class: flush ? "body flush" : "body" }, body),
  );
}

export function segments(options, chosen, choose) {
  return h(
    "div",
    { class: "seg", role: "group" },
    options.map(([value, label]) =>
      h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => choose(value) }, label),
    ),
  );
}

/** A table. columns: {title, cell(row), n?, sort?(row)}; rows sort by a click on the title. */
export function table(columns, rows, { go, sortedBy, none = "Nothing here" } = {}) {
  if (!rows.length) return h("div", { class: "none" }, none);
  let order = sortedBy || null;
  const body = h("tbody");
  const heads = columns.map((column, index) =>
    h("th", {
      class: column.n ? "n" : null,
      "data-sort": column.sort ? "" : null,
      onclick: column.sort
        ? () => {
            order = { index, down: order && order.index === index ? !order.down : true };
            draw();
          }
        : null,
    }, column.title),
  );
  function draw() {
    const sorted = [...rows];
    if (order) {
      const by = columns[order.index].sort;
      sorted.sort((a, b) => compare(by(a), by(b)) * (order.down ? -1 : 1));
    }
    heads.forEach((head, index) => {
      if (order && order.index === index) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    body.replaceChildren(
      ...sorted.map((row) => {
        const target = go && go(row);
        return h(
          "tr",
          { class: target ? "go" : null, onclick: target ? () => (location.hash = target) : null },
          columns.map((column) => h("td", { class: [column.n && "n", column.class].filter(Boolean).join(" ") || null }, column.cell(row))),
        );
      }),
    );
  }
  draw();
  return h("div", { class: "scroll" }, h("table", null, h("thead", null, h("tr", null, heads)), body));
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  return a < b ? -1 : 1;
}
