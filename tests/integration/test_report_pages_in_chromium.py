"""What a report is drilled down to, in a headless Chromium: findings, teams, weaknesses, paths; and on a phone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.patrol.report_files import write_file
from tasks.patrol.reporting import Facts, report_of
from tasks.report.html import pieces
from tests.integration import chromium
from tests.integration.opened_report import Opened

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no Chromium here (Debian: chromium)")


def test_a_finding_tells_its_evidence_and_its_remedy(opened: Opened) -> None:
    page = opened.page
    one = next(f for f in opened.known.findings.to_pylist() if f["rule_id"].endswith("sql-injection") and f["owner"])
    page.js(f"location.hash = '#finding?uid={one['finding_uid'][:16]}'")
    page.wait("!document.getElementById('detail').hidden")
    told = page.text("#detail")
    for part in (one["title"], f"{one['path']}:{one['line_start']}", one["priority_why"], "Pass values as parameters",
                 one["commit"], "CWE-89", "refs/heads/main", "semgrep", one["team"], "CODEOWNERS:12"):  # fmt: skip
        assert part in told
    links = page.js("[...document.querySelectorAll('#detail a[target]')].map(a => [a.href, a.rel, a.innerText])")
    assert all(rel == "noopener noreferrer" for _, rel, _ in links)
    place = f"https://github.com/{one['slug']}/blob/{one['commit']}/{one['path']}#L{one['line_start']}"
    sheet = "https://cheatsheetseries.owasp.org/cheatsheets/SQL_Injection_Prevention_Cheat_Sheet.html"
    assert {place, sheet} <= {h for h, _, _ in links}
    page.click("#detail .where a")
    page.wait("!document.getElementById('v-page').hidden")
    told = page.text("#v-page")
    assert told.startswith("Repositories") and f"\n{one['slug']}\n" in told and "Evidence of each tool" in told
    page.js("location.hash = '#finding?uid=0000000000000000'")
    page.wait("document.getElementById('detail-h').innerText === 'Not in this report'")


def test_the_skip_link_and_closing_lead_back_to_where_one_was(opened: Opened) -> None:
    page = opened.page
    page.js("location.hash = '#findings?severity=high'")
    page.wait("!document.getElementById('v-findings').hidden")
    page.js("document.querySelector('a.skip').click()")
    page.wait("document.activeElement.id === 'main'")
    assert page.js("location.hash") == "#findings?severity=high"
    assert not page.js("document.getElementById('v-findings').hidden")
    page.press("o")
    page.wait("!document.getElementById('v-overview').hidden")
    link = "[...document.querySelectorAll('#overdue td a')].at(-1)"
    page.js(f"({link}.focus(), {link}.scrollIntoView({{block: 'center'}}))")
    height = page.js("scrollY")
    page.press("Enter")
    page.wait("!document.getElementById('detail').hidden")
    page.press("Escape")
    page.wait("document.getElementById('detail').hidden")
    assert page.js(f"document.activeElement === {link}") and page.js("scrollY") == height > 0


def test_a_weakness_lists_what_its_count_says(opened: Opened) -> None:
    page = opened.page
    page.js("location.hash = '#team?name=payments'")
    page.wait("!document.getElementById('v-page').hidden")
    told = page.js("[...document.querySelectorAll('#v-page a[href*=weakness]')].map(a => "
                   "[a.getAttribute('href'), Number(a.closest('tr').cells[1].innerText)])")  # fmt: skip
    assert told
    for where, count in told:
        page.js(f"location.hash = {json.dumps(where)}")
        page.wait(f"document.querySelector('select[name=weakness]').value === {json.dumps(where.split('=')[-1])}")
        assert opened.result()[0] == count
    page.js("location.hash = '#findings?q=cwe-7'")
    page.wait("document.getElementById('q').value === 'cwe-7'")
    assert opened.result()[0] == 0, "CWE-7 is neither CWE-79 nor CWE-78"


def test_a_team_page_begins_with_what_was_not_looked_at_and_names_all_its_repositories(opened: Opened) -> None:
    page = opened.page
    gaps = [g for g in report_of(opened.known).gaps if g["slug"].startswith("storefront/")]
    page.js("location.hash = '#team?name=storefront'")
    page.wait("!document.getElementById('v-page').hidden")
    told = page.text("#v-page")
    assert told.index("What was not looked at") < told.index("open, priority P1") and "null" not in told
    assert gaps and all(g["reason_code"] in told and p in told for g in gaps for p in g["paths"])
    slugs = [s for s in opened.known.repositories.column("slug").to_pylist() if s.startswith("storefront/")]
    assert all(s in told for s in slugs)


def test_on_a_phone_nothing_runs_out_of_the_page(opened: Opened) -> None:
    page = opened.page
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1}
    try:
        page.call("Emulation.setDeviceMetricsOverride", **metrics, mobile=True)
        key = page.js("NW.tables.repositories.get('key', 1)")
        for fragment in ("#gaps", "#findings", "#repositories", f"#repo?key={key}", "#team?name=storefront"):
            page.js(f"location.hash = {json.dumps(fragment)}")
            page.js("new Promise(r => setTimeout(r, 50))")
            assert page.js("document.documentElement.scrollWidth") <= 390, fragment
        page.js("location.hash = '#overdue'")
        page.wait("!document.getElementById('v-overview').hidden")
        assert page.js("document.querySelector('#overdue td:nth-child(3)').offsetWidth") > 250
        mark, acts = (page.js(f"document.querySelector('{s}').getBoundingClientRect().toJSON()")
                      for s in (".brand strong", ".acts"))  # fmt: skip
        assert mark["right"] <= acts["left"] or mark["bottom"] <= acts["top"]
        page.js("location.hash = '#findings'")
        page.wait("!document.getElementById('v-findings').hidden")
        assert page.js("document.getElementById('finding-grid').clientHeight") > 400
    finally:
        page.call("Emulation.setDeviceMetricsOverride", width=1400, height=900, deviceScaleFactor=1, mobile=False)


def test_paths_that_do_not_stand_in_the_page_are_shown_when_asked_for(
    browser: chromium.Page, known: tuple[Path, Facts], tmp_path: Path
) -> None:
    paths = [f"src/{n}.py" for n in range(50_000 + 5_001)]
    (one, *rest) = known[1].gaps
    told = report_of(replace(known[1], gaps=[{**one, "paths": paths, "count": len(paths)}, *rest]))
    write_file(tmp_path / "gaps.html", pieces(told))
    browser.open(tmp_path / "gaps.html")
    browser.js("document.querySelectorAll('#gaps details').forEach(d => d.open = true)")
    place = "document.querySelector('#gaps button.more').closest('td')"
    before = browser.js(f"{place}.querySelectorAll('bdi').length")
    assert before + told.gaps[0]["more"] == len(paths)
    browser.js("document.querySelector('#gaps button.more').click()")
    assert browser.js(f"{place}.querySelectorAll('bdi').length") == before + 5000
    browser.js(f"window.place = {place}")
    browser.js("document.querySelector('#gaps button.more').click()")
    assert browser.js("[...window.place.querySelectorAll('bdi')].at(-1).innerText") == paths[-1]
    assert browser.js("document.querySelector('#gaps button.more')") is None


def test_a_team_has_a_page_and_a_file(opened: Opened) -> None:
    page = opened.page
    page.click("#teams tbody th a")
    page.wait("!document.getElementById('v-page').hidden")
    team = page.text("#v-page h1")
    assert f"Champions: Ada of {team}, Bo" in page.text("#v-page")
    weak = page.js("[...document.querySelectorAll('#v-page table a[target]')].map(a => a.href)")
    assert 0 < len(weak) <= 5 and all(h.startswith("https://cheatsheetseries.owasp.org/cheatsheets/") for h in weak)
    page.js("document.querySelector('#v-page a[href^=\"team-\"]').click()")
    page.wait(f"document.title.includes('team {team}') && document.documentElement.dataset.ready")
    mine = [f for f in opened.known.findings.to_pylist() if f["team"] == team]
    page.js("location.hash = '#findings'")
    page.wait("document.getElementById('result').textContent")
    assert opened.result() == (len(mine), len(mine))
    assert page.js("document.querySelector('header a').getAttribute('href')") == "index.html"
