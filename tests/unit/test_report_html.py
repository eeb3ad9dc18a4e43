"""The page of a report: its data, its policy, its charts and links, without a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from tasks.core.text import escaped
from tasks.report import html
from tasks.report.html_charts import ChartError, bars, checked, stacked
from tasks.report.html_cwe import SHEETS, cwe_numbers, sheet_of
from tasks.report.html_data import packed

AT = datetime(2026, 3, 1, 2, 5, tzinfo=UTC)


def unpacked(text: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(text)))
    return told


def cell(column: dict[str, Any], row: int) -> Any:
    """As data.js reads it."""
    if "d" in column:
        return None if column["i"][row] < 0 else column["d"][column["i"][row]]
    if "w" in column:
        return column["t"][row * column["w"] : (row + 1) * column["w"]]
    return column["v"][row]


# -- texts ------------------------------------------------------------------------------------------------------


def test_what_cannot_be_seen_is_told_by_its_number() -> None:
    assert escaped("a\u202eb\n\x00\u200b\u00a0c") == "a⟨U+202E⟩b⟨U+000A⟩⟨U+0000⟩⟨U+200B⟩⟨U+00A0⟩c"
    assert escaped("naïve/日本.py") == "naïve/日本.py"
    assert escaped("x" * 10, 5) == "xxxx…"


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=40))
def test_two_names_that_differ_are_shown_apart_and_all_of_it_can_be_seen(text: str) -> None:
    assert escaped(text).isprintable()
    assert escaped(text) != escaped(text + "\u200b")


# -- data -------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.none() | st.text(), st.none() | st.integers(-5, 2**40), st.lists(st.text(max_size=3)))))
def test_packed_data_is_what_was_given_made_visible(rows: list[tuple[str | None, int | None, list[str]]]) -> None:
    table = pa.table(
        {
            "uid": pa.array([f"{n:04x}" for n in range(len(rows))], pa.string()),
            "text": pa.array([r[0] for r in rows], pa.string()),
            "number": pa.array([r[1] for r in rows], pa.int64()),
            "list": pa.array([r[2] for r in rows], pa.list_(pa.string())),
            "at": pa.array([AT for _ in rows], pa.timestamp("us", "Europe/Berlin")),
            "flag": pa.array([True for _ in rows], pa.bool_()),
        }
    )
    told = unpacked("".join(packed({"a": "\u202e"}, {"t": table})))
    assert told["meta"] == {"a": "⟨U+202E⟩"}
    assert told["tables"]["t"]["n"] == len(rows)
    for n, (text, number, words) in enumerate(rows):
        got = [cell(told["tables"]["t"]["columns"][c], n) for c in table.column_names]
        seen = None if text is None else escaped(text)
        assert got == [f"{n:04x}", seen, number, escaped(", ".join(words)), "2026-03-01 02:05", 1]


def test_equal_texts_are_packed_once() -> None:
    table = pa.table({"text": ["a long text"] * 1000})
    told = unpacked("".join(packed({}, {"t": table})))
    assert told["tables"]["t"]["columns"]["text"]["d"] == ["a long text"]


# -- the page ---------------------------------------------------------------------------------------------------


def report(**more: Any) -> html.ReportData:
    run = {"run_id": "r", "seq": 1, "finished_at": AT, "state": "Completed"}
    counts = {"open": 0, "decided": 0, "new": 0, "priorities": dict.fromkeys(html.PRIORITIES, 0), "severities": {},
              "gaps": 0, "gaps_accepted": 0, "gap_repositories": 0, "repositories": 0}  # fmt: skip
    values: dict[str, Any] = {
        "subject": "all", "made_at": AT, "run": run, "patrol": run, "patrol_age_hours": 1.0, "gaps": [], "oldest": [],
        "never": 0, "skipped": [], "new": [], "gone": [], "gone_causes": [], "overdue": [],
        "overdue_count": 0, "due_soon": [], "due_soon_count": 0, "charts": [], "teams": [], "tables": {},
        "counts": counts, "decisions": [],
    }  # fmt: skip
    return html.ReportData(**{**values, **more})


class Parsed(HTMLParser):
    """The elements of a page, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.held: dict[str, list[str]] = {"script": [], "style": []}
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = tag

    def handle_data(self, data: str) -> None:
        if self._in in self.held:
            self.held[self._in].append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in = ""


def test_the_policy_allows_our_own_script_and_style_by_their_hashes_and_nothing_else() -> None:
    text = "".join(html.pieces(report()))
    page = Parsed(text)
    assert text.startswith(html.MARK)
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy is not None
    rules = dict(p.strip().split(" ", 1) for p in policy.split(";"))
    own = {k: base64.b64encode(hashlib.sha256(page.held[k][-1].encode()).digest()).decode() for k in page.held}
    assert rules == {
        "default-src": "'none'", "script-src": f"'sha256-{own['script']}'", "style-src": f"'sha256-{own['style']}'",
        "base-uri": "'none'", "form-action": "'none'", "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }  # fmt: skip
    # The policy counts only for what stands behind it.
    assert [t for t, _ in page.elements][:4] == ["html", "head", "meta", "meta"]
    assert not [a for _, a in page.elements if {"src", "style", "onclick", "onload"} & a.keys()]


def test_it_says_of_which_day_the_advisories_are_and_notes_old_ones() -> None:
    fresh, old = "advisories as of 2026-11-20", "advisories as of 2026-11-20; not up to date: osv/<npm> (feed_timeout)"
    assert f"<p>The lake has {fresh}.</p>" in "".join(html.pieces(report(advisories=fresh)))
    assert f'<p class="note">The lake has {escape(old)}.</p>' in "".join(html.pieces(report(advisories=old)))
    assert "The lake has" not in "".join(html.pieces(report()))


def test_scripts_make_no_markup_of_text_and_ask_for_nothing() -> None:
    for name in html.SCRIPTS:
        script = html._text(name)
        for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "fetch(",
                     "XMLHttp",
                     "WebSocket", "import(", "</script", "srcdoc", "setTimeout(\""):  # fmt: skip
            assert word not in script, (name, word)
    assert "url(" not in html._text("report.css") and "@import" not in html._text("report.css")


def test_the_place_of_the_data_is_ours_whatever_texts_hold() -> None:
    text = "".join(html.pieces(report(subject="@@DATA@@", notes=["@@DATA@@"])))
    data = re.search(r'<script type="text/plain" id="data">([^<]*)</script>', text)
    assert data is not None and unpacked(data[1])["meta"]["subject"] == "@@DATA@@"


def gap(**more: Any) -> dict[str, Any]:
    values = {"repo_id": "r", "key": "0", "slug": "shop", "ref": "main", "tool": "bandit", "outcome": "partial",
              "reason_code": "unparsable", "meaning": "m", "remedy": "see `--x` <b>", "detail": None,
              "evidence_at": None,
              "paths": ["a.py"], "count": 1, "accepted": 0, "decisions": set()}  # fmt: skip
    return {**values, **more}


def test_gaps_that_nobody_accepted_come_first_and_accepted_ones_stay() -> None:
    gaps = [gap(reason_code="accepted", accepted=9, count=9, decisions={"d"}), gap(), gap(reason_code="b", count=4)]
    assert [g["reason"] for g in html.gap_groups(gaps)] == ["b", "unparsable", "accepted"]
    counts = {**report().counts, "gaps": 14, "gaps_accepted": 9}
    text = "".join(html.pieces(report(gaps=gaps, counts=counts)))
    assert text.index(">unparsable<") < text.index(">accepted<")
    assert "accepted: <bdi>d</bdi>" in text and "see <code>--x</code> &lt;b&gt;" in text


def test_texts_of_the_lake_are_escaped_in_the_page() -> None:
    evil = "\"'><img src=x onerror=1>{{7*7}}\u202e"
    gaps = [
        gap(**dict.fromkeys(("slug", "ref", "tool", "detail", "outcome", "reason_code", "key"), evil), paths=[evil])
    ]
    team = html.Team(name=evil, champions=[evil], priorities=dict.fromkeys(html.PRIORITIES, 1), severities={}, open=1,
                     overdue=0, new=0, oldest_days=0, cwes=[("CWE-79", 1)], file="team-x.html")  # fmt: skip
    text = "".join(html.pieces(report(subject=evil, gaps=gaps, teams=[team], notes=[evil])))
    page = Parsed(text)
    assert not [t for t, _ in page.elements if t == "img"] and "{{7*7}}⟨U+202E⟩" in text and "\u202e" not in text
    assert {a["href"] for t, a in page.elements if t == "a" and (a.get("href") or "").startswith("#team?")} == {
        # As the page's script knows the team, which is given what can be seen.
        "#team?name=%22%27%3E%3Cimg%20src%3Dx%20onerror%3D1%3E%7B%7B7%2A7%7D%7D%E2%9F%A8U%2B202E%E2%9F%A9"
    }


# -- links ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "JAVASCRIPT:alert(1)", "data:text/html,x", "//evil.example", "https://", "https://u:p@h/",
     "https://h\u202e/", "https://h/ x", " https://h/", "file:///etc/passwd", "", None, "https://a\\@b/"],
)  # fmt: skip
def test_only_plain_web_addresses_become_links(url: str | None) -> None:
    assert html.web_link(url) is None


def test_web_addresses_become_links() -> None:
    assert html.web_link("https://example.org/a?b=c@d#e") == "https://example.org/a?b=c@d#e"


def test_each_weakness_has_one_sheet_and_others_lead_to_mitre() -> None:
    numbers = [n for sheet in SHEETS.values() for n in sheet]
    assert len(numbers) == len(set(numbers))
    assert all(re.fullmatch(r"[A-Za-z0-9]+([_-][A-Za-z]+)*", name) for name in SHEETS)
    assert sheet_of(89)[1] == "https://cheatsheetseries.owasp.org/cheatsheets/SQL_Injection_Prevention_Cheat_Sheet.html"
    assert sheet_of(99_999)[1] == "https://cwe.mitre.org/data/definitions/99999.html"
    told = [cwe_numbers(w) for w in ("CWE-89", "CWE-79 cwe-089 CWE-79", "cwe", None, "CWE-0", "CWE-1234567")]
    assert told == [[89], [79, 89], [], [], [], []]


# -- charts -----------------------------------------------------------------------------------------------------


def test_a_chart_is_a_picture_with_words_and_colours_of_the_page() -> None:
    rows = [{"day": f"2026-03-0{d}", "kind": k, "count": d} for d in (1, 2, 3) for k in ("critical", "low")]
    svg = stacked(rows, ["critical", "low"], told="Open: 6 <now>")
    assert 'role="img"' in svg and 'aria-label="Open: 6 &lt;now&gt;"' in svg
    assert 'fill="var(--c-critical)"' in svg and "style=" not in svg and "<script" not in svg
    assert bars(rows, ["critical", "low"], told="x").count("var(--c-low)") == 3


@pytest.mark.parametrize(
    "inside",
    ["<script>1</script>", '<path onload="x"/>', '<path fill="url(https://h/)"/>', '<a href="javascript:1"/>',
     '<image href="x"/>', "<foreignObject/>", '<g style="x"/>', '<path class="JavaScript:x"/>'],
)  # fmt: skip
def test_a_chart_that_holds_anything_else_is_refused(inside: str) -> None:
    with pytest.raises(ChartError):
        checked(f'<svg xmlns="http://www.w3.org/2000/svg">{inside}</svg>', "")


# -- colours ----------------------------------------------------------------------------------------------------


def _themes() -> dict[str, dict[str, str]]:
    css = html._text("report.css")
    light = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", css[: css.index("@media")]))
    by_system, by_hand = (
        css[css.index(start) :].split("}", 1)[0]
        for start in (':root:not([data-theme="light"])', "@media screen { :root[")
    )
    dark = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", by_system))
    assert dark == dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", by_hand)) and dark.keys() <= light.keys()
    return {"light": light, "dark": {**light, **dark}}


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    full = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(full[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_texts_can_be_read_in_both_modes() -> None:
    pairs = [(ink, ground) for ink in ("ink", "muted", "accent", "bad") for ground in ("bg", "card", "accent-bg")]
    pairs += [(f"t-{s}", ground) for s in html.SEVERITIES for ground in ("card", "bg", "accent-bg")]
    pairs += [("bad", "bad-bg"), ("good", "good-bg"), ("good", "card"), ("note-ink", "note-bg"), ("head-ink", "head"),
              ("head-muted", "head")]  # fmt: skip
    for name, theme in _themes().items():
        for ink, ground in pairs:
            high, low = sorted((_luminance(theme[ink]), _luminance(theme[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ink, ground)
