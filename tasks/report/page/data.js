"use strict";
/* The packed tables (tasks/report/html_data.py) and how text becomes nodes: by text nodes alone. */
const NW = { tables: {}, meta: null };

class Table {
  constructor(raw) {
    this.n = raw.n;
    this.columns = new Map();
    for (const [name, c] of Object.entries(raw.columns)) {
      if (c.d) this.columns.set(name, { words: c.d, codes: Int32Array.from(c.i) });
      else if (c.w) this.columns.set(name, { width: c.w, text: c.t });
      else this.columns.set(name, { values: c.v });
    }
  }
  /* The value of a cell: text, a number, or null. */
  get(name, row) {
    const c = this.columns.get(name);
    if (c.codes) return c.codes[row] < 0 ? null : c.words[c.codes[row]];
    if (c.width) return c.text.substr(row * c.width, c.width);
    return c.values[row];
  }
  /* The first row with this value, or -1. */
  find(name, value) {
    const c = this.columns.get(name);
    if (c.width) {
      for (let at = c.text.indexOf(value); at >= 0; at = c.text.indexOf(value, at + 1))
        if (at % c.width === 0 && value.length === c.width) return at / c.width;
      return -1;
    }
    if (c.codes) { const code = c.words.indexOf(value); return code < 0 ? -1 : c.codes.indexOf(code); }
    return c.values.indexOf(value);
  }
  /* All rows with this value. */
  all(name, value) {
    const c = this.columns.get(name), found = [];
    if (c.codes) {
      const code = c.words.indexOf(value);
      if (code >= 0) for (let r = 0; r < this.n; r++) if (c.codes[r] === code) found.push(r);
    } else for (let r = 0; r < this.n; r++) if (this.get(name, r) === value) found.push(r);
    return found;
  }
}

NW.load = async function () {
  const holder = document.getElementById("data");
  const text = atob(holder.textContent.trim());
  holder.remove();
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const told = await new Response(stream).json();
  NW.meta = told.meta;
  for (const [name, raw] of Object.entries(told.tables)) NW.tables[name] = new Table(raw);
};

/* An element: attributes by name (a null or false one is left out), children are nodes or texts. */
NW.el = function (tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, f] of Object.entries(value)) e.addEventListener(event, f);
    else e.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined && child !== "") e.append(child);
  return e;
};
/* A word of ours as people write it. */
NW.said = (word) => (word === "wont_fix" ? "won't fix" : word.replace("_", " "));
NW.bdi = (text, kind) => NW.el("bdi", kind ? { class: kind } : {}, text === null ? "" : String(text));
NW.number = (n) => Number(n).toLocaleString("en");

/* A link that leaves the page: http and https only, else the text alone. */
NW.link = function (url, text) {
  let parsed = null;
  try { parsed = new URL(url); } catch { return NW.bdi(text); }
  if ((parsed.protocol !== "https:" && parsed.protocol !== "http:") || parsed.username || parsed.password) return NW.bdi(text);
  return NW.el("a", { href: parsed.href, target: "_blank", rel: "noopener noreferrer" }, NW.bdi(text));
};
NW.SEVERITIES = ["critical", "high", "medium", "low", "info", "unknown"];
NW.PRIORITIES = ["P1", "P2", "P3", "P4"];
NW.STATUSES = ["open", "reopened", "accepted", "false_positive", "wont_fix"];
NW.sev = (word) => NW.el("span", { class: "sev sev-" + (NW.SEVERITIES.includes(word) ? word : "unknown") }, word);
NW.pri = (word) => (word ? NW.el("span", { class: "pri pri-" + (NW.PRIORITIES.includes(word) ? word : "P4") }, word)
  : NW.el("span", { class: "muted" }, "–"));
NW.place = function (path, line, end) {
  if (path === null) return "";
  return line === null ? path : path + ":" + line + (end && end !== line ? "–" + end : "");
};
