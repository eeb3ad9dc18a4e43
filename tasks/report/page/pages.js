/* What is drilled down to: a finding beside the list, and the pages of a repository and of a team. */
NW.pages = (function () {
  const el = NW.el;
  const T = () => NW.tables;
  const open = ["open", "reopened"];

  function facts(pairs) {
    return el("dl", { class: "facts" }, pairs.filter(([, v]) => v !== null && v !== undefined && v !== "")
      .map(([k, v]) => [el("dt", null, k), el("dd", null, v instanceof Node || Array.isArray(v) ? v : NW.bdi(v))]));
  }
  const tag = (text) => el("span", { class: "tag" }, NW.said(text));
  const go = (view, told, text) => el("a", { href: "#" + view + "?" + new URLSearchParams(told) }, text);
  const minute = (text) => (text === null ? null : text + " UTC");

  /* The forge's page of a file at a commit, if the forge is known; each part of a path is encoded for itself. */
  function viewed(repo, commit, path, line, end) {
    const form = T().repositories.get("view", repo);
    if (!form || !commit || path === null || /⟨U\+/.test(path)) return null;
    const url = form.replace("{commit}", () => encodeURIComponent(commit))
      .replace("{path}", () => path.split("/").map(encodeURIComponent).join("/"));
    return url + (line === null ? "" : "#L" + line + (end && end !== line ? "-L" + end : ""));
  }

  function finding(uid) {
    const t = T().findings, r = t.find("uid", uid);
    if (r < 0) return null;
    const get = (name) => t.get(name, r), rule = get("rule"), repo = get("repo"), R = (name) => T().rules.get(name, rule);
    const commit = get("commit"), place = NW.place(get("path"), get("line_start"), get("line_end"));
    const url = viewed(repo, commit, get("path"), get("line_start"), get("line_end"));
    const status = get("status"), cwe = R("cwe"), twins = get("flaw") === null ? [] : t.all("flaw", get("flaw")).filter((x) => x !== r);
    return [
      el("p", { class: "pills" }, NW.pri(get("priority")), NW.sev(get("severity")), tag(status), get("is_new") ? tag("new") : null,
        get("is_overdue") ? el("span", { class: "tag late" }, "overdue by " + get("overdue_days") + " days") : null),
      el("h2", { id: "detail-h", tabindex: -1 }, NW.bdi(get("title"))),
      el("p", { class: "where" }, go("repo", { key: T().repositories.get("key", repo) }, NW.bdi(get("slug"))), " ",
        NW.bdi(place, "path"), url ? [" ", NW.link(url, "see the file")] : null),
      get("priority_why") ? el("section", null, el("h3", null, "Why this priority"), el("p", null, NW.bdi(get("priority_why")))) : null,
      el("section", null, el("h3", null, "What to do"),
        el("p", null, R("remedy") === null ? "The tool lists no remedy for this rule." : NW.bdi(R("remedy"))),
        el("p", null, R("url") ? NW.link(R("url"), "About this rule") : null, R("url") && R("sheet") ? " · " : null, R("sheet") ? NW.link(R("sheet_url"), R("sheet")) : null)),
      decision(r),
      el("section", null, el("h3", null, "Evidence"), facts([
        ["Rule", [NW.bdi(R("rule_id")), " (", NW.bdi(R("tool")), ")"]], ["Weakness", cwe], ["Kind", get("kind")], ["Seen by", get("tools")],
        ["Resource", get("resource")], ["Advisories", get("advisories")], ["Branches", get("refs")], ["Commit", commit],
        ["First seen", minute(get("first_seen_at"))], ["Opened", minute(get("opened_at"))], ["Due", minute(get("due_at"))],
        ["Came by", get("origin")], ["Team", go("team", { name: get("team") }, NW.bdi(get("team")))], ["Owner", get("owner")],
        ["Owner told by", get("owner_from")], ["Goes on for", get("moved_from")]]), places(uid, get("occurrences"))),
      twins.length ? el("section", null, el("h3", null, "The same flaw, as others see it"), list(twins)) : null,
      history(uid),
      el("section", null, el("h3", null, "Ask the lake"),
        el("code", { class: "ask" }, `nightwarden query "FROM findings WHERE starts_with(finding_uid, '${uid}')"`)),
    ];
  }

  function decision(r) {
    const id = T().findings.get("decision_id", r);
    if (id === null) return null;
    const d = Object.hasOwn(NW.meta.decisions, id) ? NW.meta.decisions[id] : {};
    return el("section", { class: "decided" }, el("h3", null, "Decision"), facts([
      ["Id", id], ["Kind", NW.said(d.kind || "")], ["Reason", d.reason], ["In force until", minute(T().findings.get("decided_until", r))],
      ["State", d.state], ["Problem", d.problem], ["Written by", d.author], ["Approved by", d.approver && d.approver + " (" + d.approved_how + ")"],
      ["Decided at", minute(d.decided_at === undefined ? null : d.decided_at)]]));
  }

  function places(uid, many) {
    const p = T().places, rows = many > 1 ? p.all("finding", uid) : [];
    if (many <= 1) return null;
    return el("details", null, el("summary", null, NW.number(many) + " places"),
      el("ul", { class: "places" }, rows.map((n) => el("li", null, NW.bdi(p.get("place", n), "path")))),
      rows.length < many ? el("p", { class: "muted" }, "Not all of them are listed here; the view scan_results has them.") : null);
  }

  function history(uid) {
    const e = T().events, rows = e.all("finding", uid);
    if (!rows.length) return null;
    return el("section", null, el("h3", null, "History"), el("ol", { class: "history" }, rows.map((n) => el("li", null,
      el("time", null, minute(e.get("event_at", n))), " ", tag(e.get("status", n)), " ", el("span", { class: "code" }, e.get("cause", n)), " ",
      el("small", { class: "muted" }, NW.bdi(e.get("tool", n)), " ", NW.bdi(e.get("ref", n)), e.get("commit", n) ? [" ", NW.bdi(e.get("commit", n).slice(0, 12))] : null)))));
  }

  /* A short list of findings, as links. */
  function list(rows) {
    const t = T().findings;
    return el("ul", { class: "short" }, rows.map((r) => el("li", null, NW.pri(t.get("priority", r)), " ", NW.sev(t.get("severity", r)), " ",
      go("finding", { uid: t.get("uid", r) }, NW.bdi(t.get("title", r))), el("br"), el("small", { class: "muted" },
        NW.bdi(t.get("slug", r)), " · ", NW.bdi(NW.place(t.get("path", r), t.get("line_start", r)), "path"), " · ", NW.bdi(t.get("tools", r))))));
  }

  function table(heads, rows) {
    return el("table", { class: "plain" }, el("thead", null, el("tr", null, heads.map((h) => el("th", { scope: "col" }, h)))),
      el("tbody", null, rows.map((cells) => el("tr", null, cells.map((c) => el("td", null, c instanceof Node ? c : NW.bdi(c)))))));
  }

  const there = (rows) => rows.filter((r) => open.includes(T().findings.get("status", r)));
  function first(rows, told) {
    return [el("h2", null, "Findings"), rows.length ? list(rows.slice(0, 25)) : el("p", null, "None is open."),
      el("p", null, go("findings", told, "All " + NW.number(rows.length) + " in the list"))];
  }

  /* What was not looked at in these repositories: the rows of the first part that are about them. */
  const MOST_GAPS = 200;
  function gaps(keys, nothing) {
    const mine = new Set(keys), rows = [...document.querySelectorAll("#gaps tr[data-repo]")].filter((tr) => mine.has(tr.dataset.repo));
    const several = keys.length > 1, cells = [...(several ? [0] : []), 1, 2, 3, 4];
    return [el("h2", null, "What was not looked at"),
      rows.length ? table(["Reason", ...(several ? ["Repository"] : []), "Tool", "Branch", "Not read", "More"], rows.slice(0, MOST_GAPS).map((tr) => {
        const code = tr.closest("details").querySelector(".code").textContent;
        return [el("span", { class: "code" }, code), ...cells.map((n) => el("div", null, ...[...tr.cells[n].childNodes].map((x) => x.cloneNode(true))))];
      })) : el("p", { class: "good" }, nothing),
      rows.length > MOST_GAPS ? el("p", null, "and " + NW.number(rows.length - MOST_GAPS) + " rows more: ", el("a", { href: "#gaps" }, "all of them")) : null].filter(Boolean);
  }

  function repository(key) {
    const t = T().repositories, r = t.find("key", key);
    if (r < 0) return null;
    const get = (name) => t.get(name, r), s = T().scopes;
    return [
      el("p", { class: "crumb" }, el("a", { href: "#repositories" }, "Repositories"), " /"),
      el("h1", { class: "title", tabindex: -1 }, NW.bdi(get("slug"))),
      ...gaps([key], "Nothing: every tool read all of it."),
      facts([["Owner", get("owner") || "none declared"], ["Criticality", get("criticality") || "not declared"], ["Exposure", get("exposure") || "not declared"],
        ["Compliance scopes", get("scopes")], ["Source", get("source")], ["Address", NW.link(get("url"), get("url"))],
        ["Default branch", get("default_branch")], ["Head", get("head")], ["First seen", minute(get("first_seen_at"))],
        ["There", get("present") ? null : "not found by the last run"], ["Could not be refreshed", get("reason_code")]]),
      el("h2", null, "Evidence of each tool"),
      table(["Tool", "Branch", "Outcome", "Reason", "Looked at", "Version"], s.all("repo", r).map((n) => [s.get("tool", n), s.get("ref", n), s.get("outcome", n),
        s.get("reason_code", n), minute(s.get("evidence_at", n)) || "never", s.get("tool_version", n)])),
      ...first(there(T().findings.all("repo", r)), { repository: get("slug") }),
    ];
  }

  function team(name) {
    const found = NW.meta.teams.find((x) => x.name === name), rows = there(T().findings.all("team", name));
    if (!found) return null;
    const t = T().repositories, count = new Map(t.all("team", name).map((n) => [n, 0]));
    for (const r of rows) { const n = T().findings.get("repo", r); count.set(n, (count.get(n) || 0) + 1); }
    const mine = [...count.keys()].sort((a, b) => a - b), key = (n) => t.get("key", n);
    return [
      el("p", { class: "crumb" }, el("a", { href: "#teams" }, "Teams"), " /"),
      el("h1", { class: "title", tabindex: -1 }, NW.bdi(name)),
      el("p", null, found.champions.length ? ["Champions: ", NW.bdi(found.champions.join(", "))] : "No champion is declared.",
        found.file ? [" ", el("a", { href: found.file }, "Its own report")] : null),
      ...gaps(mine.map(key), mine.length ? "Nothing: every tool read all of its repositories." : "It has no repository here."),
      el("ul", { class: "tiles" }, NW.PRIORITIES.map((p) => el("li", { class: "tile" }, go("findings", { team: name, priority: p }, [
        el("b", null, NW.number(found.priorities[p])), el("span", null, "open, priority " + p)]))),
        el("li", { class: "tile" }, go("findings", { team: name, new: 1 }, [el("b", null, NW.number(found.new)), el("span", null, "new")])),
        el("li", { class: "tile" }, go("findings", { team: name, overdue: 1 }, [el("b", null, NW.number(found.overdue)), el("span", null, "overdue")]))),
      el("h2", null, "Its commonest weaknesses"),
      found.cwes.length ? table(["Weakness", "Findings", "How to write it instead"], found.cwes.map(([cwe, n, text, url]) => [
        go("findings", { team: name, weakness: cwe }, cwe), NW.number(n), NW.link(url, text)])) : el("p", null, "No rule of its findings names a weakness."),
      el("h2", null, "Its repositories"),
      mine.length ? table(["Repository", "Not looked at", "Open, of this team"], mine.map((n) => [go("repo", { key: key(n) }, NW.bdi(t.get("slug", n), "name")),
        t.get("gaps", n) ? el("b", { class: "late" }, NW.number(t.get("gaps", n))) : "0", NW.number(count.get(n))])) : el("p", null, "None."),
      ...first(rows, { team: name }),
    ];
  }

  return { finding, repository, team };
})();
