/* A table of which only the rows in sight are in the document; the others are two empty rows of their height. */
class Grid {
  /* columns: {title, sort, width}; cells(row) gives the cells of a row, name(row) what it is called when it is opened. */
  constructor(host, { label, columns, height, cells, open, sorted }) {
    Object.assign(this, { host, height, cells, open, rows: new Int32Array(0), at: 0, printing: false });
    this.columns = columns;
    this.heads = columns.map((c) => this.head(c, sorted));
    this.body = NW.el("tbody");
    this.table = NW.el("table", { role: "grid", "aria-label": label, tabindex: 0, "aria-colcount": columns.length },
      NW.el("colgroup", null, columns.map((c) => NW.el("col", { class: c.width }))),
      NW.el("thead", null, NW.el("tr", { "aria-rowindex": 1 }, this.heads)), this.body);
    this.id = host.id;
    host.append(this.table);
    host.addEventListener("scroll", () => this.later(), { passive: true });
    this.body.addEventListener("click", (event) => {
      const tr = event.target.closest("tr[data-at]");
      if (tr) { this.at = Number(tr.dataset.at); this.draw(); this.open(this.rows[this.at]); }
    });
    new ResizeObserver(() => this.later()).observe(host);
  }
  head(c, sorted) {
    const th = NW.el("th", { scope: "col" });
    if (c.sort) th.append(NW.el("button", { type: "button", on: { click: () => sorted(c.sort) } }, c.title,
      NW.el("span", { class: "arrow", "aria-hidden": "true" })));
    else th.append(c.title);
    return th;
  }
  /* Shows these rows from the first on; sort is {by, down}. */
  show(rows, sort) {
    this.rows = rows;
    this.at = 0;
    this.host.scrollTop = 0;
    this.columns.forEach((c, n) => {
      if (c.sort) this.heads[n].setAttribute("aria-sort", !sort || sort.by !== c.sort ? "none" : sort.down ? "descending" : "ascending");
    });
    this.table.setAttribute("aria-rowcount", rows.length + 1);
    this.draw();
  }
  later() {
    if (this.due) return;
    this.due = requestAnimationFrame(() => { this.due = 0; if (!this.printing) this.draw(); });
  }
  draw() {
    const seen = Math.ceil((this.host.clientHeight || 600) / this.height);
    const first = Math.max(0, Math.floor(this.host.scrollTop / this.height) - 8);
    this.fill(first, Math.min(this.rows.length, first + seen + 16));
  }
  fill(first, last) {
    const made = [this.space(first)];
    for (let n = first; n < last; n++) {
      const tr = NW.el("tr", { id: this.id + "-" + n, "data-at": n, "aria-rowindex": n + 2, "aria-selected": n === this.at ? "true" : "false" },
        this.cells(this.rows[n]).map((c) => NW.el("td", null, c)));
      made.push(tr);
    }
    made.push(this.space(this.rows.length - last));
    this.body.replaceChildren(...made.filter(Boolean));
    if (this.at >= first && this.at < last) this.table.setAttribute("aria-activedescendant", this.id + "-" + this.at);
    else this.table.removeAttribute("aria-activedescendant");
  }
  space(rows) {
    if (rows <= 0) return null;
    const tr = NW.el("tr", { class: "space", "aria-hidden": "true" }, NW.el("td", { colspan: this.columns.length }));
    tr.style.height = rows * this.height + "px";
    return tr;
  }
  move(by) {
    if (!this.rows.length) return;
    this.at = Math.min(this.rows.length - 1, Math.max(0, this.at + by));
    const top = this.at * this.height, head = this.table.tHead.offsetHeight, view = this.host.clientHeight - head;
    if (top < this.host.scrollTop) this.host.scrollTop = top;
    else if (top + this.height > this.host.scrollTop + view) this.host.scrollTop = top + this.height - view;
    this.draw();
  }
  page() { return Math.max(1, Math.floor(this.host.clientHeight / this.height) - 2); }
  /* For paper: at most so many rows stand in the document; afterwards only those in sight again. */
  print(most) {
    this.printing = most > 0;
    if (!this.printing) return this.draw();
    const last = Math.min(this.rows.length, most);
    this.fill(0, last);
    const tail = this.body.querySelector("tr.space");
    if (tail) tail.replaceWith(NW.el("tr", null, NW.el("td", { colspan: this.columns.length },
      "and " + NW.number(this.rows.length - last) + " more, which are not printed")));
  }
}
