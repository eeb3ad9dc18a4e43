/* The list of findings: what is chosen, searched and sorted. Its state is in the address, so that a link keeps it. */
NW.findings = (function () {
  const el = NW.el;
  let t, rules, grid, result, form, ranks = {};
  const chips = { severity: NW.SEVERITIES, priority: NW.PRIORITIES, status: NW.STATUSES };
  const selects = { tool: "tools", kind: "kind", origin: "origin", team: "team", repository: "slug", weakness: "weak" };
  const state = { q: "", sort: { by: "", down: false } };
  const standing = ["open", "reopened"];

  function start() {
    t = NW.tables.findings; rules = NW.tables.rules;
    form = document.getElementById("filters");
    form.append(
      el("label", { class: "search" }, el("span", { class: "sr" }, "Search findings"),
        el("input", { type: "search", id: "q", placeholder: "Search path, rule, title, repository", autocomplete: "off", spellcheck: "false" })),
      ...Object.entries(chips).map(([name, words]) => el("fieldset", { class: "chips" }, el("legend", null, name),
        words.map((w) => el("label", null, el("input", { type: "checkbox", name, value: w }),
          el("span", { class: name === "severity" ? "sev sev-" + w : null }, NW.said(w)))))),
      ...Object.entries(selects).map(([name, column]) => el("label", { class: "pick" }, el("span", null, name),
        el("select", { name }, el("option", { value: "" }, "any"), options(column).map((w) => el("option", { value: w }, w))))),
      el("fieldset", { class: "chips" }, el("legend", null, "only"),
        el("label", null, el("input", { type: "checkbox", name: "new", value: "1" }), el("span", null, "new")),
        el("label", null, el("input", { type: "checkbox", name: "overdue", value: "1" }), el("span", null, "overdue"))),
      el("button", { type: "reset" }, "Clear"),
      (result = el("p", { class: "result", id: "result", role: "status" })));
    form.addEventListener("input", () => { state.q = document.getElementById("q").value; changed(); });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => { event.preventDefault(); restore(new URLSearchParams()); changed(); });
    grid = new Grid(document.getElementById("finding-grid"), {
      label: "Findings", height: 54, cells, open: (row) => NW.go("finding", { uid: t.get("uid", row) }), sorted: sortBy,
      columns: [
        { title: "Priority", sort: "priority", width: "w-s" }, { title: "Severity", sort: "severity", width: "w-m" },
        { title: "Finding", sort: "rule", width: "w-x" }, { title: "Where", sort: "path", width: "w-x" },
        { title: "Team", sort: "team", width: "w-m" }, { title: "Opened", sort: "opened_at", width: "w-d" },
        { title: "Due", sort: "due_at", width: "w-d" }],
    });
  }

  const listed = ["tools", "weak"];
  function options(column) {
    const words = new Set();
    for (const w of (column === "weak" ? rules : t).columns.get(column).words)
      for (const one of listed.includes(column) ? w.split(", ") : [w]) words.add(one);
    return [...words].sort(column === "weak" ? (a, b) => a.slice(4) - b.slice(4) : undefined);
  }

  function cells(r) {
    const status = t.get("status", r), days = t.get("overdue_days", r), due = t.get("due_at", r);
    return [
      NW.pri(t.get("priority", r)), NW.sev(t.get("severity", r)),
      el("div", { class: "two" }, NW.bdi(t.get("title", r), "one"), el("small", { class: "muted" },
        NW.bdi(rules.get("rule_id", t.get("rule", r))), " · ", NW.bdi(t.get("tools", r)))),
      el("div", { class: "two" }, NW.bdi(NW.place(t.get("path", r), t.get("line_start", r)) || t.get("resource", r) || "–", "path one"),
        el("small", { class: "muted" }, NW.bdi(t.get("slug", r)))),
      NW.bdi(t.get("team", r), "one"),
      el("div", { class: "two" }, (t.get("opened_at", r) || "").slice(0, 10), el("small", null,
        standing.includes(status) ? null : el("span", { class: "tag" }, NW.said(status)),
        status === "reopened" ? el("span", { class: "tag" }, "reopened") : null,
        t.get("is_new", r) ? el("span", { class: "tag tag-new" }, "new") : null)),
      el("div", { class: "two" }, due ? due.slice(0, 10) : el("span", { class: "muted" }, "–"),
        t.get("is_overdue", r) ? el("small", { class: "late" }, days + " days over") : null),
    ];
  }

  /* By filter, which codes of its column pass; code -1 (none) is at 0. */
  function mask(column, wanted) {
    const c = t.columns.get(column), m = new Uint8Array(c.words.length + 1);
    c.words.forEach((w, n) => { if (wanted(w)) m[n + 1] = 1; });
    return { codes: c.codes, mask: m };
  }

  /* The same for a word of the search; small letters are made once. */
  function holds(column, word) {
    const c = t.columns.get(column), m = new Uint8Array(c.words.length + 1);
    c.small = c.small || c.words.map((w) => w.toLowerCase());
    c.small.forEach((w, n) => { if (w.includes(word)) m[n + 1] = 1; });
    return { codes: c.codes, mask: m };
  }

  /* The findings whose rule passes; a rule's number is its row, so that of none is -1 here too. */
  function ruled(passes) {
    const m = new Uint8Array(rules.n + 1);
    for (let n = 0; n < rules.n; n++) if (passes(n)) m[n + 1] = 1;
    return { codes: t.columns.get("rule").values, mask: m };
  }
  const names = (n, cwe) => (rules.get("weak", n) || "").split(", ").includes(cwe);

  function chosen() {
    const told = new FormData(form), strict = [], loose = [];
    const open = told.getAll("status").length ? told.getAll("status") : standing;
    strict.push(mask("status", (w) => open.includes(w)));
    for (const name of ["severity", "priority"])
      if (told.getAll(name).length) strict.push(mask(name, (w) => told.getAll(name).includes(w)));
    for (const [name, column] of Object.entries(selects)) {
      const wanted = told.get(name);
      if (wanted && column === "weak") strict.push(ruled((n) => names(n, wanted)));
      else if (wanted) strict.push(mask(column, column === "tools" ? (w) => w.split(", ").includes(wanted) : (w) => w === wanted));
    }
    for (const word of state.q.toLowerCase().split(/\s+/).filter(Boolean)) {
      const exact = /^cwe-[0-9]+$/.test(word) ? word.toUpperCase() : "";  // CWE-79 is not CWE-798
      const has = (w) => w !== null && w.toLowerCase().includes(word);
      loose.push([...["path", "title", "slug", "tools", "team", "resource", "advisories"].map((c) => holds(c, word)),
        ruled((n) => has(rules.get("rule_id", n)) || (exact ? names(n, exact) : has(rules.get("cwe", n))))]);
    }
    const fresh = told.get("new") ? t.columns.get("is_new").values : null;
    const late = told.get("overdue") ? t.columns.get("is_overdue").values : null;
    const rows = new Int32Array(t.n);
    let n = 0;
    next: for (let r = 0; r < t.n; r++) {
      if ((fresh && !fresh[r]) || (late && !late[r])) continue;
      for (const f of strict) if (!f.mask[f.codes[r] + 1]) continue next;
      for (const any of loose) {
        let found = false;
        for (const f of any) if (f.mask[f.codes[r] + 1]) { found = true; break; }
        if (!found) continue next;
      }
      rows[n++] = r;
    }
    return rows.subarray(0, n);
  }

  /* Ranks of a column's codes; counting them sorts a hundred thousand rows in some milliseconds, and keeps the order. */
  function rank(by) {
    if (ranks[by]) return ranks[by];
    const column = by === "rule" ? "title" : by, c = t.columns.get(column);
    const fixed = { severity: NW.SEVERITIES, priority: NW.PRIORITIES }[by];
    const order = c.words.map((w, n) => n).sort((a, b) => (fixed ? fixed.indexOf(c.words[a]) - fixed.indexOf(c.words[b])
      : c.words[a] < c.words[b] ? -1 : 1));
    const of = new Int32Array(c.words.length + 1);
    order.forEach((code, n) => { of[code + 1] = n; });
    of[0] = c.words.length;
    return (ranks[by] = { codes: c.codes, of, size: c.words.length + 1 });
  }

  function sorted(rows) {
    if (!state.sort.by) return rows;
    const { codes, of, size } = rank(state.sort.by), starts = new Int32Array(size + 1), down = state.sort.down;
    const place = (r) => (down ? size - 1 - of[codes[r] + 1] : of[codes[r] + 1]);
    for (const r of rows) starts[place(r) + 1]++;
    for (let k = 1; k <= size; k++) starts[k] += starts[k - 1];
    const made = new Int32Array(rows.length);
    for (const r of rows) made[starts[place(r)]++] = r;
    return made;
  }

  function sortBy(by) {
    state.sort = state.sort.by === by ? { by, down: !state.sort.down } : { by, down: by === "opened_at" };
    changed();
  }

  function show() {
    const began = performance.now(), rows = sorted(chosen());
    grid.show(rows, state.sort);
    NW.took = performance.now() - began;
    result.replaceChildren(NW.number(rows.length), " of ", NW.number(t.n),
      rows.length ? "" : ". Nothing passes the filter; that does not mean that nothing is there.");
  }

  function address() {
    const told = new URLSearchParams();
    for (const name of [...Object.keys(chips), ...Object.keys(selects), "new", "overdue"]) {
      const values = new FormData(form).getAll(name).filter(Boolean);
      if (values.length) told.set(name, values.join("|"));
    }
    if (state.q) told.set("q", state.q);
    if (state.sort.by) told.set("sort", (state.sort.down ? "-" : "") + state.sort.by);
    return told;
  }

  function restore(told) {
    for (const input of form.querySelectorAll("input[type=checkbox]"))
      input.checked = (told.get(input.name) || "").split("|").includes(input.value);
    for (const select of form.querySelectorAll("select")) {
      select.value = told.get(select.name) || "";
      if (select.selectedIndex < 0) select.value = "";
    }
    state.q = document.getElementById("q").value = told.get("q") || "";
    const sort = told.get("sort") || "", by = sort.replace(/^-/, "");
    const can = grid.columns.some((c) => c.sort === by);
    state.sort = { by: can ? by : "", down: can && sort.startsWith("-") };
  }

  function changed() {
    const told = address().toString();
    NW.replace("#findings" + (told ? "?" + told : ""));
    show();
  }

  return { start, show, restore, get grid() { return grid; } };
})();
