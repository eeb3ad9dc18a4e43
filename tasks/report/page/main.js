/* Which part is shown, keys, light and dark, print. */
(function () {
  const id = (name) => document.getElementById(name);
  const views = ["v-overview", "v-repositories", "v-findings", "v-page"];
  const MOST_PRINTED = 2000;
  let view = "v-overview", back = "#gaps", repos = null, opener = null, height = 0;

  NW.go = (name, told) => { location.hash = name + (told ? "?" + new URLSearchParams(told) : ""); };
  NW.replace = (hash) => { back = hash; history.replaceState(null, "", hash); };

  function parsed() {
    const [name, query] = [location.hash.slice(1).split("?")[0], location.hash.split("?").slice(1).join("?")];
    return [name, new URLSearchParams(query)];
  }

  function show(which) {
    view = which;
    for (const v of views) id(v).hidden = v !== which;
  }

  function closeDetail() { id("detail").hidden = true; document.body.classList.remove("beside"); }

  function missing(what) { return [NW.el("h1", { class: "title", tabindex: -1 }, "Not in this report"), NW.el("p", null, what)]; }

  function route() {
    const [name, told] = parsed();
    if (name === "finding") return detail(told.get("uid") || "");
    if (name === "main") { NW.replace(back); return id("main").focus(); }
    if (!id("detail").hidden && opener && opener.isConnected && location.hash === back) {
      closeDetail();  // what lies under it is as it was
      opener.focus({ preventScroll: true });
      scrollTo(0, height);
      return;
    }
    closeDetail();
    back = location.hash || "#gaps";
    const marked = { repo: "repositories", team: "teams" }[name] || name;
    for (const a of document.querySelectorAll("nav.side a")) {
      if (a.hash === "#" + marked) a.setAttribute("aria-current", "page"); else a.removeAttribute("aria-current");
    }
    if (name === "findings") { show("v-findings"); NW.findings.restore(told); NW.findings.show(); NW.findings.grid.table.focus({ preventScroll: true }); return; }
    if (name === "repositories") { show("v-repositories"); searchRepositories(); return; }
    if (name === "repo" || name === "team") {
      const made = name === "repo" ? NW.pages.repository(told.get("key") || "") : NW.pages.team(told.get("name") || "");
      id("v-page").replaceChildren(...(made || missing("It has no page here: another report may have it, or it is gone.")));
      show("v-page");
      scrollTo(0, 0);
      id("v-page").querySelector("h1").focus({ preventScroll: true });
      return;
    }
    show("v-overview");
    const part = /^[a-z]+$/.test(name) ? id(name) : null;
    if (part) part.scrollIntoView();
  }

  function detail(uid) {
    const made = NW.pages.finding(uid);
    if (id("detail").hidden) {
      opener = document.activeElement === document.body ? null : document.activeElement;
      height = scrollY;
    }
    id("detail").replaceChildren(NW.el("button", { type: "button", class: "close", "aria-label": "Close", on: { click: () => { location.hash = back; } } }, "×"),
      ...(made || [NW.el("h2", { id: "detail-h", tabindex: -1 }, "Not in this report"), NW.el("p", null, "It is not open, or another report has it.")]).filter(Boolean));
    id("detail").hidden = false;
    document.body.classList.add("beside");
    id("detail").scrollTop = 0;
    id("detail-h").focus({ preventScroll: true });
  }

  /* -- repositories -- */
  const repoSort = { by: "slug", down: false };
  function openCounts() {
    const t = NW.tables.findings, n = new Int32Array(NW.tables.repositories.n), worst = new Int32Array(n.length).fill(9);
    for (let r = 0; r < t.n; r++) {
      if (!["open", "reopened"].includes(t.get("status", r))) continue;
      const k = t.get("repo", r);
      n[k]++;
      worst[k] = Math.min(worst[k], NW.PRIORITIES.indexOf(t.get("priority", r)));
    }
    return { n, worst };
  }
  function startRepositories() {
    const t = NW.tables.repositories, { n, worst } = openCounts();
    repos = new Grid(id("repo-grid"), {
      label: "Repositories", height: 44, open: (r) => NW.go("repo", { key: t.get("key", r) }),
      sorted: (by) => { Object.assign(repoSort, { down: repoSort.by === by ? !repoSort.down : by !== "slug", by }); searchRepositories(); },
      columns: [{ title: "Repository", sort: "slug", width: "w-x" }, { title: "Not looked at", sort: "gaps", width: "w-d" }, { title: "Open", sort: "open", width: "w-d" },
        { title: "Worst", width: "w-s" }, { title: "Owner", sort: "owner", width: "w-m" }, { title: "Criticality", width: "w-m" }, { title: "Exposure", width: "w-m" }],
      cells: (r) => [NW.bdi(t.get("slug", r), "one"), t.get("gaps", r) ? NW.el("b", { class: "late" }, NW.number(t.get("gaps", r))) : "0", NW.number(n[r]), worst[r] > 3 ? "–" : NW.pri(NW.PRIORITIES[worst[r]]),
        NW.bdi(t.get("owner", r) || "–", "one"), NW.bdi(t.get("criticality", r) || "–", "one"), NW.bdi(t.get("exposure", r) || "–", "one")],
    });
    repos.value = (r, by) => (by === "open" ? n[r] : t.get(by, r) ?? "");
    id("repo-search").addEventListener("input", searchRepositories);
  }
  function searchRepositories() {
    const t = NW.tables.repositories, words = id("repo-search").value.toLowerCase().split(/\s+/).filter(Boolean), rows = [];
    for (let r = 0; r < t.n; r++) {
      const text = [t.get("slug", r), t.get("owner", r), t.get("source", r)].join(" ").toLowerCase();
      if (words.every((w) => text.includes(w))) rows.push(r);
    }
    const sign = repoSort.down ? -1 : 1;
    rows.sort((a, b) => { const x = repos.value(a, repoSort.by), y = repos.value(b, repoSort.by); return x < y ? -sign : x > y ? sign : a - b; });
    repos.show(Int32Array.from(rows), repoSort);
    id("repo-result").textContent = NW.number(rows.length) + " of " + NW.number(t.n);
  }

  /* -- light and dark -- */
  function isDark() {
    const told = document.documentElement.dataset.theme;
    return told ? told === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function named() { id("theme").textContent = isDark() ? "Light" : "Dark"; }
  function toggle() {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("nightwarden-theme", document.documentElement.dataset.theme); } catch { /* not kept then */ }
    named();
  }
  try {
    const kept = localStorage.getItem("nightwarden-theme");
    if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
  } catch { /* the system's choice */ }

  /* -- keys -- */
  function typing(event) { return event.target.closest("input, select, textarea, [contenteditable]") !== null; }
  function grid() { return view === "v-findings" ? NW.findings.grid : view === "v-repositories" ? repos : null; }
  const moves = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: "page", PageUp: "-page", Home: -Infinity, End: Infinity };
  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape") {
      if (id("help").open) return;
      if (typing(event)) event.target.blur();
      else if (!id("detail").hidden) location.hash = back;
      return;
    }
    if (typing(event) || id("help").open) return;
    const g = grid();
    if (g && event.key in moves && (event.target === document.body || !event.target.closest("button, a, summary") || event.key === "j" || event.key === "k")) {
      const by = moves[event.key];
      g.move(by === "page" ? g.page() : by === "-page" ? -g.page() : by === Infinity ? g.rows.length : by === -Infinity ? -g.rows.length : by);
      event.preventDefault();
      if (!id("detail").hidden && view === "v-findings" && (event.key === "j" || event.key === "k")) g.open(g.rows[g.at]);
      return;
    }
    if (g && event.key === "Enter" && !event.target.closest("button, a, summary") && g.rows.length) { g.open(g.rows[g.at]); event.preventDefault(); return; }
    const act = {
      "/": () => { if (view === "v-repositories") id("repo-search").focus(); else { if (view !== "v-findings") { history.pushState(null, "", "#findings"); route(); } id("q").focus(); } },
      "?": () => id("help").showModal(), t: toggle, o: () => NW.go("gaps"), r: () => NW.go("repositories"), f: () => NW.go("findings"),
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  }

  /* -- unread paths that do not stand in the page: so many more with each click -- */
  const MOST_AT_ONCE = 5000;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.more"), p = NW.tables.gap_paths;
    if (!button || !p) return;
    const rows = p.all("row", Number(button.dataset.gap)), from = Number(button.dataset.from || 0), to = Math.min(rows.length, from + MOST_AT_ONCE);
    button.before(...rows.slice(from, to).map((n) => NW.bdi(p.get("path", n), "path")));
    button.dataset.from = to;
    button.textContent = "and " + NW.number(rows.length - to) + " more";
    if (to === rows.length) button.remove();
  });

  /* -- print -- */
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("#v-overview details.gap:not([open]), #v-overview details.off:not([open])")];
    for (const d of opened) d.open = true;
    if (grid()) grid().print(MOST_PRINTED);
  });
  addEventListener("afterprint", () => {
    for (const d of opened) d.open = false;
    if (grid()) grid().print(0);
  });

  function failed(error) {
    id("problem").hidden = false;
    id("problem").textContent = "The findings of this report could not be read: " + error + ". The file may be cut off, or the browser too old (Chrome 93, Firefox 113, Safari 16.4 can).";
  }

  id("theme").addEventListener("click", toggle);
  id("print").addEventListener("click", () => print());
  id("help-open").addEventListener("click", () => id("help").showModal());
  named();
  NW.load().then(() => {
    NW.findings.start();
    startRepositories();
    addEventListener("hashchange", route);
    addEventListener("keydown", key);
    route();
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }).catch(failed);
})();
