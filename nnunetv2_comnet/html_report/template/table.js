"use strict";
// Elements and tables. Text from outside is only ever set as text, never as markup.

function make(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name === "text") node.textContent = value;
    else if (name === "class") node.className = value;
    else if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

// Numbers before text, what is missing last in either direction.
function compareCells(first, second, direction) {
  const absent = [first, second].map((value) => value === null || value === undefined || value === "");
  if (absent[0] || absent[1]) return absent[0] - absent[1];
  if (typeof first === "number" && typeof second === "number") {
    return direction * (first < second ? -1 : first > second ? 1 : 0);
  }
  if (typeof first !== typeof second) return direction * (typeof first === "number" ? -1 : 1);
  return direction * collator.compare(first, second);
}

// columns: [{title, numeric, hint}]. rows: [{cells: [{text, value, node, class}], class}]. The header's buttons sort.
function sortableTable(columns, rows, label) {
  const body = make("tbody");
  const headers = columns.map((column, index) => {
    const button = make("button", { type: "button", text: column.title, title: column.hint || "" });
    const header = make("th", { scope: "col", class: column.numeric ? "number" : "" }, button);
    button.addEventListener("click", () => sortBy(index));
    return header;
  });
  const lines = rows.map((row) => {
    const cells = row.cells.map((cell, index) => {
      const kind = [columns[index].numeric ? "number" : "", cell.class || ""].join(" ").trim();
      return make(index === 0 ? "th" : "td", { class: kind, ...(index === 0 ? { scope: "row" } : {}) },
        cell.node || document.createTextNode(cell.text));
    });
    return { node: make("tr", { class: row.class || "" }, ...cells), values: row.cells.map((cell) => cell.value) };
  });
  function sortBy(index) {
    const ascending = headers[index].getAttribute("aria-sort") !== "ascending";
    for (const header of headers) header.removeAttribute("aria-sort");
    headers[index].setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const sorted = [...lines].sort((a, b) => compareCells(a.values[index], b.values[index], ascending ? 1 : -1));
    body.append(...sorted.map((line) => line.node));
  }
  body.append(...lines.map((line) => line.node));
  return make("table", { "aria-label": label }, make("thead", null, make("tr", null, ...headers)), body);
}

// JSON has no infinity: the page's data say "inf".
function asNumber(value) {
  if (value === "inf") return Infinity;
  if (value === "-inf") return -Infinity;
  return value;
}

function asText(value, digits) {
  const number = asNumber(value);
  if (number === null || number === undefined) return "\u2013";
  if (!Number.isFinite(number)) return number > 0 ? "\u221e" : "\u2212\u221e";
  return digits ? number.toFixed(digits) : Math.round(number).toLocaleString("en");
}

// "0.81 +- 0.02" sorts by 0.81; text that begins otherwise sorts as text.
function cellOfText(text) {
  const match = /^\s*\**\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(?=$|[\s%*(\u00b1])/i.exec(text);
  return { text, value: match ? Number(match[1]) : text };
}
