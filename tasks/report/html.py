"""The report as one HTML file that needs nothing else: rows in, text out.

A strict policy stands in the page (``default-src 'none'``, script and style by their hashes, no eval, trusted types
without a policy), so that text of a repository which got past everything else still could neither run nor call home.
Text reaches the page in two ways only: through the template, where every expression is made visible
(``tasks.core.text.escaped``) and then escaped, and through the packed data, which the script puts into text nodes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import pyarrow as pa
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tasks.core.text import escaped
from tasks.report.html_cwe import cwe_numbers, sheet_of
from tasks.report.html_data import packed

#: The scripts, in the order in which they stand in the page.
SCRIPTS = ("data.js", "grid.js", "findings.js", "pages.js", "main.js")
#: By this our own files are known, when a folder of reports is written anew.
MARK = "<!doctype html><!-- nightwarden report -->"
SEVERITIES = ("critical", "high", "medium", "low", "info", "unknown")
PRIORITIES = ("P1", "P2", "P3", "P4")
#: So many unread paths stand in the page as text; the others are in its packed data, and are shown when asked for.
MOST_GAP_PATHS = 50_000
#: What is new and no origin tells of: it came back, or an older run did not say.
REOPENED, UNTOLD = "reopened", "not told"
_HOLE = "@@DATA@@"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawn chart, its legend (word, colour class) and its numbers as a table: head, then rows."""

    title: str
    svg: str
    legend: Sequence[str]
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """One team: its champions, how many open findings of each priority and severity it has, overdue and new ones, its
    commonest weaknesses as (CWE, count), and the file of its own report where there is a folder of them."""

    name: str
    champions: Sequence[str]
    priorities: Mapping[str, int]
    severities: Mapping[str, int]
    open: int
    overdue: int
    new: int
    oldest_days: int
    cwes: Sequence[tuple[str, int]]
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """What one report tells. Tables are as ``tasks.patrol.reporting`` makes them; times are UTC.

    ``gaps``: rows of one (reason, repository, ref, tool) each, with its paths; ``more`` of them (absent: none) are in
    the table ``gap_paths`` under its ``row``. ``advisories``: of which day those are that packages were matched with;
    None: there are none. ``notes``: what the report leaves out.
    """

    subject: str
    made_at: datetime
    run: Mapping[str, Any]
    patrol: Mapping[str, Any] | None
    patrol_age_hours: float
    gaps: Sequence[Mapping[str, Any]]
    oldest: Sequence[Mapping[str, Any]]
    never: int
    skipped: Sequence[Mapping[str, Any]]
    new: Sequence[Mapping[str, Any]]
    gone: Sequence[Mapping[str, Any]]
    gone_causes: Sequence[Mapping[str, Any]]
    overdue: Sequence[Mapping[str, Any]]
    overdue_count: int
    due_soon: Sequence[Mapping[str, Any]]
    due_soon_count: int
    charts: Sequence[Chart]
    teams: Sequence[Team]
    tables: Mapping[str, pa.Table]
    counts: Mapping[str, Any]
    decisions: Sequence[Mapping[str, Any]]
    advisories: str | None = None
    notes: Sequence[str] = field(default=())
    home: str | None = None


def pieces(report: ReportData) -> Iterator[str]:
    """The file in pieces of text, the packed data among them."""
    style, script = _text("report.css"), "\n".join(_text(name) for name in SCRIPTS)
    html = _template().render(
        r=report,
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 - a file of ours, as the script is
        script=Markup(script),  # noqa: S704
        data=Markup(_HOLE),  # noqa: S704
        groups=gap_groups(report.gaps),
        severities=SEVERITIES,
        priorities=PRIORITIES,
        origins=ORIGINS,
        mark=Markup(MARK),  # noqa: S704
    )
    # A text of the lake may hold these signs too: it stands before the place of the data, so the last ones are ours.
    before, _, after = html.rpartition(f">{_HOLE}<")
    yield f"{before}>"
    yield from packed(_meta(report), report.tables)
    yield f"<{after}\n"


def _meta(report: ReportData) -> dict[str, Any]:
    return {
        "subject": report.subject,
        "run": str(report.run["run_id"]),
        "made_at": f"{report.made_at:%Y-%m-%d %H:%M}",
        "counts": dict(report.counts),
        "decisions": {d["decision_id"]: {k: _plain(v) for k, v in d.items()} for d in report.decisions},
        "teams": [
            {"name": t.name, "champions": list(t.champions), "open": t.open, "overdue": t.overdue, "new": t.new,
             "oldest_days": t.oldest_days, "priorities": dict(t.priorities), "severities": dict(t.severities),
             "file": t.file, "cwes": [[c, n, *cwe_link(c)] for c, n in t.cwes]}
            for t in report.teams
        ],
    }  # fmt: skip


def _plain(value: Any) -> Any:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else value


def cwe_link(word: str) -> tuple[str, str]:
    """(name, address) of what to read about a weakness; of what is no CWE, its word and no address."""
    numbers = cwe_numbers(word)
    return sheet_of(numbers[0]) if numbers else (word, "")


def web_link(url: str | None) -> str | None:
    """An address that may become a link: http or https, a host, no user, no password, nothing that cannot be seen."""
    if not url or not url.isprintable() or " " in url or not url.lower().startswith(("https://", "http://")):
        return None
    host = url.split("://", 1)[1].split("/", 1)[0].split("?", 1)[0].split("#", 1)[0]
    return url if host and "@" not in host and "\\" not in host else None


def gap_groups(gaps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The gaps by reason: those that nobody accepted first, then by number of places."""
    groups: dict[str, dict[str, Any]] = {}
    for g in gaps:
        group = groups.setdefault(
            g["reason_code"],
            {"reason": g["reason_code"], "meaning": g["meaning"], "remedy": g["remedy"], "rows": [], "places": 0,
             "accepted": 0, "repositories": set(), "oldest": None},
        )  # fmt: skip
        group["rows"].append(g)
        group["places"] += g["count"]
        group["accepted"] += g["accepted"]
        group["repositories"].add(g["repo_id"])
        if g["evidence_at"] is not None and (group["oldest"] is None or g["evidence_at"] < group["oldest"]):
            group["oldest"] = g["evidence_at"]
    return sorted(groups.values(), key=lambda g: (g["accepted"] == g["places"], -g["places"], g["reason"]))


#: The words of each origin of the lake; another program's may have more.
ORIGINS = {
    "code": "code changed",
    "rules": "a tool or a rule is new",
    "advisory": "an advisory is new",
    "import": "an imported report",
    "time": "its day has come",
    "settings": "settings of the forge changed",
    REOPENED: "it was fixed, and is back",
    "backlog": "first look: it was there before",
}


@cache
def _text(name: str) -> str:
    return (files("tasks.report") / "page" / name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """The policy of the page; the hashes are of what stands between the tags."""
    return (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _when(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if value is not None else "never"


def _number(value: float) -> str:
    return f"{value:,}"


def _age(hours: float | None) -> str:
    """An age in hours, for people."""
    if hours is None:
        return "never"
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"


def _ticks(text: str) -> Markup:
    """A sentence of ours in which `names` stand between ticks."""
    parts = [escaped(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(p) if n % 2 else p for n, p in enumerate(parts))


def _shown(value: Any) -> Any:
    """What every expression of the template goes through before it is escaped."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return escaped(value)
    return "" if value is None else value


@cache
def _template() -> Any:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_shown, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(when=_when, number=_number, age=_age, cwe=cwe_link, ticks=_ticks, seen=escaped)
    environment.globals.update(web_link=web_link)
    return environment.from_string(_text("report.html"))
