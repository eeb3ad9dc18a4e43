"""The report as people use it: opened from a file in a headless Chromium that has no network."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from tasks.core.text import escaped
from tasks.lake.views import arrow_of
from tasks.patrol.report_files import write_file, write_folder
from tasks.patrol.reporting import Facts, facts, report_of
from tasks.report.html import pieces
from tests.integration import chromium
from tests.integration.opened_report import Opened
from tests.report_hostile import HOSTILE, SHOWN, hostile_lake
from tests.report_lake import many_findings
from tests.thorough import THOROUGH

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no Chromium here (Debian: chromium)")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The reports of a lake whose every text is hostile: of all, and of each of its two teams."""
    place = tmp_path_factory.mktemp("hostile")
    found = facts(hostile_lake(place / "lake"))
    return write_folder(place / "out", found, report_of(found))


def test_it_opens_without_a_network_and_tells_gaps_first(opened: Opened) -> None:
    assert len(opened.page.requests) == 1
    sections = opened.page.js("[...document.querySelectorAll('main section')].map(s => s.id)")
    assert sections == ["gaps", "new", "overdue", "trends", "teams"]
    opened.page.js("document.querySelectorAll('#gaps details').forEach(d => d.open = true)")
    told = opened.page.text("#gaps")
    gaps = arrow_of(opened.known.snapshot, "FROM gaps_now").to_pylist()
    assert len(gaps) > 4
    for gap in gaps:
        assert gap["slug"] in told and gap["reason_code"] in told and (gap["path"] or "all of it") in told
        assert gap["meaning"].split("`")[0] in told and gap["remedy"].split("`")[0] in told
    assert f"Not looked at: {len(gaps)} places" in opened.page.text("#strip")


def test_the_gaps_stay_in_sight_whatever_is_chosen(opened: Opened) -> None:
    for fragment in ("#findings?severity=critical&q=nothing+of+that+name", "#repositories", "#team?name=payments"):
        opened.page.js(f"location.hash = {json.dumps(fragment)}")
        opened.page.wait("document.getElementById('v-overview').hidden")
        assert opened.page.js("document.getElementById('strip').checkVisibility()")
    opened.page.js("location.hash = '#findings?q=nothing+of+that+name'")
    opened.page.wait("document.getElementById('result').textContent.startsWith('0 of')")
    assert "that does not mean that nothing is there" in opened.page.text("#result")


def test_findings_are_filtered_searched_and_sorted(opened: Opened) -> None:
    found = opened.known.findings.to_pylist()
    page = opened.page
    page.click("nav a[href='#findings']")
    page.wait("!document.getElementById('v-findings').hidden")
    assert opened.result() == (len(found), len(found))
    page.click("#filters input[value='high'] + span")
    high = [f for f in found if f["severity"] == "high"]
    assert opened.result()[0] == len(high) < len(found)
    assert {row[1] for row in opened.shown()} == {"high"}
    assert "severity=high" in page.js("location.hash")
    page.js("document.querySelector('select[name=tool]').value = 'semgrep'")
    page.js("document.querySelector('select[name=tool]').dispatchEvent(new Event('input', {bubbles: true}))")
    both = [f for f in high if f["tools"] == ["semgrep"]]
    assert opened.result()[0] == len(both)
    page.click("#finding-grid th:nth-child(4) button")
    paths = [row[3].split("\n")[0].split(":")[0] for row in opened.shown()]
    assert paths == sorted(f["path"] for f in both)[: len(paths)]
    assert page.js("document.querySelector('#finding-grid th:nth-child(4)').ariaSort") == "ascending"
    page.js("document.getElementById('q').focus()")
    page.type(both[0]["path"].rpartition("/")[2].upper() + " sql")
    wanted = [f for f in both if both[0]["path"].rpartition("/")[2] in f["path"] and "sql" in f["rule_id"]]
    assert opened.result()[0] == len(wanted)
    page.click("#filters button[type=reset]")
    assert opened.result()[0] == len(found)


def test_links_of_the_overview_lead_to_what_they_count(opened: Opened) -> None:
    page = opened.page
    fresh = page.text("#new td:last-child b")
    page.click("#new tbody th a")
    page.wait("!document.getElementById('v-findings').hidden")
    assert opened.result()[0] == int(fresh)
    assert all("new" in row[5] for row in opened.shown())
    page.js("location.hash = '#findings?overdue=1'")
    page.wait("document.querySelector('input[name=overdue]').checked")
    late = [f for f in opened.known.findings.to_pylist() if f["is_overdue"]]
    assert 0 < opened.result()[0] == len(late)
    assert all(re.search(r"\d+ days over", row[6]) for row in opened.shown())


def test_everything_can_be_done_from_the_keyboard(opened: Opened) -> None:
    page = opened.page
    page.press("?")
    assert page.js("document.getElementById('help').open")
    page.press("Escape")
    page.wait("!document.getElementById('help').open")
    page.press("/")
    assert page.js("document.activeElement.id") == "q"
    page.type("input")
    page.press("j")
    assert page.js("document.getElementById('q').value") == "inputj", "keys are text where text is typed"
    page.js("document.getElementById('q').value = ''")
    page.press("Escape", "f")
    page.wait("document.getElementById('result').textContent")
    page.js("location.hash = '#findings?sort=path'")
    page.wait("location.hash.endsWith('path') && document.querySelector('[aria-sort=ascending]')")
    page.press("j", "ArrowDown", "j", "k")
    selected = "document.querySelector('#finding-grid tr[aria-selected=true]')"
    assert page.js(f"{selected}.getAttribute('aria-rowindex')") == "4"
    table = "document.querySelector('#finding-grid table')"
    assert page.js(f"{table}.getAttribute('aria-activedescendant')") == "finding-grid-2"
    title = page.js(f"{selected}.cells[2].querySelector('bdi').innerText")
    page.press("Enter")
    page.wait("!document.getElementById('detail').hidden")
    assert page.text("#detail-h") == title
    assert page.js("document.activeElement.id") == "detail-h"
    page.press("Escape")
    page.wait("document.getElementById('detail').hidden")
    assert page.js("location.hash") == "#findings?sort=path", "the list is as it was"
    page.press("End")
    assert page.js(f"{selected}.getAttribute('aria-rowindex') === {table}.getAttribute('aria-rowcount')")
    page.press("r")
    page.wait("!document.getElementById('v-repositories').hidden")
    page.press("j", "Enter")
    page.wait("!document.getElementById('v-page').hidden")
    page.press("o")
    page.wait("!document.getElementById('v-overview').hidden")


def test_dark_mode_follows_the_system_and_the_button(opened: Opened) -> None:
    page = opened.page
    ground = "getComputedStyle(document.body).backgroundColor"
    page.js("localStorage.clear()")
    page.open(opened.index)
    light = page.js(ground)
    page.press("t")
    dark = page.js(ground)
    assert light != dark and page.text("#theme") == "Light"
    page.open(opened.index)
    assert page.js(ground) == dark, "the choice is kept"
    page.click("#theme")
    page.js("localStorage.clear()")
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.open(opened.index)
    assert page.js(ground) == dark
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])


def test_it_prints_all_gaps_and_the_chosen_findings(opened: Opened) -> None:
    page = opened.page
    page.js(
        "addEventListener('beforeprint', () => { window.printed = ["
        "document.querySelectorAll('#gaps details:not([open])').length,"
        " document.querySelectorAll('#finding-grid tr[data-at]').length]; })"
    )
    assert page.pdf().startswith(b"%PDF")
    assert page.js("window.printed[0]") == 0
    assert page.js("document.querySelectorAll('#gaps details[open]').length") == 0, (
        "on the screen they are closed again"
    )
    page.js("location.hash = '#findings?status=open'")
    page.wait("document.getElementById('result').textContent")
    seen = len(opened.shown())
    assert page.pdf().startswith(b"%PDF")
    assert page.js("window.printed[1]") == opened.result()[0] > seen == len(opened.shown())


#: Every place of the hostile lake whose text a report shows.
_SINKS = (
    "slug", "owner", "owner two", "title", "rule", "path", "other place", "decided path", "fixed path", "manifest",
    "resource", "ref", "tool", "version", "gap path", "gap detail", "reason", "failure", "off tool", "criticality",
    "exposure", "scope", "head", "remedy", "decision", "decision reason", "author", "approver", "how", "problem",
)  # fmt: skip


def test_a_hostile_text_is_text_in_every_place(browser: chromium.Page, hostile: list[Path]) -> None:
    browser.requests.clear()
    browser.problems.clear()
    browser.open(hostile[0])
    browser.js("document.querySelector('#teams tbody th a').click()")
    browser.wait("!document.getElementById('v-page').hidden")
    assert browser.text("#v-page h1").startswith("owner ")
    assert len(hostile) == 3 and all(re.fullmatch(r"(index|team-[a-z0-9-]+)\.html", f.name) for f in hostile)
    told = ""
    for file in hostile:
        browser.open(file)
        browser.js("document.querySelectorAll('details').forEach(d => d.open = true)")
        told += browser.text()
        hashes = browser.js(
            "((t, all) => [...all(t.repositories.n).map(n => '#repo?key=' + t.repositories.get('key', n)),"
            " ...NW.meta.teams.map(m => '#team?' + new URLSearchParams({name: m.name})),"
            " ...all(t.findings.n).map(n => '#finding?uid=' + t.findings.get('uid', n)),"
            " '#repositories', '#findings?status=open|accepted'])(NW.tables, n => [...Array(n).keys()])"
        )
        for fragment in hashes:
            browser.js(f"location.hash = {json.dumps(fragment)}")
            browser.js("new Promise(r => setTimeout(r))")
            browser.js("document.querySelectorAll('details').forEach(d => d.open = true)")
            told += browser.text()
        assert browser.js("window.pwned === undefined")
        assert browser.js("document.querySelectorAll('img, iframe, object, embed, form[action]').length") == 0
        assert browser.js("document.querySelectorAll('script').length") == 1
        assert browser.js("document.querySelectorAll('style').length") == 1
        assert browser.js("[...new Set([...document.links].map(a => a.protocol))].sort().join()") in (
            "file:,https:",
            "file:",
        )
        names = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
        assert browser.js(f"{names}.filter(n => n.startsWith('on'))") == []
    flat = " ".join(told.split())
    assert [s for s in _SINKS if " ".join(f"{s} {SHOWN}".split()) not in flat] == []
    assert not re.search("[\u202e\u2028\x1b\x7f]", told)
    assert browser.problems == []
    assert {Path(u.removeprefix("file://")).name.partition("#")[0] for u in browser.requests} == {
        f.name for f in hostile
    }


def test_a_search_for_the_hostile_text_finds_it(browser: chromium.Page, hostile: list[Path]) -> None:
    browser.problems.clear()
    browser.open(hostile[0], "#findings")
    browser.js("document.getElementById('q').focus()")
    browser.type(escaped(f"other place {HOSTILE}"))
    assert browser.text("#result").startswith("1 of 4")
    assert browser.problems == []


def test_what_got_into_the_page_could_neither_run_nor_call_home(
    browser: chromium.Page, known: tuple[Path, Facts]
) -> None:
    browser.open(known[0] / "index.html")
    refused = {
        "markup": "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.pwned=1>')",
        "script": "document.createElement('script').textContent = 'window.pwned=1'",
        "eval": "eval('window.pwned=1')",
    }
    for name, code in refused.items():
        error = browser.js(f"(() => {{ try {{ {code}; return 'ran'; }} catch (e) {{ return e.name; }} }})()")
        assert error in ("TypeError", "EvalError"), name
    browser.js("document.body.setAttribute('style', 'display: none')")
    assert browser.js("getComputedStyle(document.body).display") == "block", "no style from attributes"
    asked = browser.js("fetch('http://127.0.0.1:9/').then(() => 'sent', e => e.name)")
    assert asked == "TypeError" and browser.js("window.pwned === undefined")
    picture = "Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:9/x.png'})"
    browser.js(f"new Promise(r => {{ const i = {picture}; i.onerror = r; document.body.append(i); }}).then(() => 1)")
    assert any("Content Security Policy" in p for p in browser.problems)
    tried = [u for u in browser.requests if u.startswith("http")]
    assert "http://127.0.0.1:9/x.png" in tried and set(tried) <= set(browser.refused)


def test_a_file_that_is_cut_off_says_so(browser: chromium.Page, known: tuple[Path, Facts], tmp_path: Path) -> None:
    text = (known[0] / "index.html").read_text("utf-8")
    start = text.rindex('id="data">') + len('id="data">')
    broken = text[: start + 400] + text[text.index("</script>", start) :]
    (tmp_path / "cut.html").write_text(broken, "utf-8")
    browser.call("Page.navigate", url=(tmp_path / "cut.html").as_uri())
    browser.wait("document.getElementById('problem') && !document.getElementById('problem').hidden")
    assert "could not be read" in browser.text("#problem") and "What was not looked at" in browser.text("#gaps")


def test_a_hundred_thousand_findings_stay_usable(
    browser: chromium.Page, known: tuple[Path, Facts], tmp_path: Path
) -> None:
    file, count = tmp_path / "many.html", 100_000 if THOROUGH else 30_000
    size = write_file(file, pieces(many_findings(report_of(known[1]), count)))
    began = time.monotonic()
    browser.open(file, "#findings")
    opened_s = time.monotonic() - began
    assert browser.js("NW.tables.findings.n") == count
    assert browser.js("document.querySelectorAll('#finding-grid tr').length") < 80, "only what is in sight"
    took = []
    for asked in ("severity=high", "q=orders", "q=cart+sql+7", "sort=path", "sort=-rule&q=a"):
        browser.js(f"location.hash = '#findings?{asked}'")
        browser.js("new Promise(r => setTimeout(r))")
        browser.js("NW.findings.show()")  # the second time nothing is made for the first time
        took.append(browser.js("NW.took"))
    print(f"{size / 1e6:.1f} MB, open in {opened_s:.2f} s, filters {[round(t) for t in took]} ms")
    assert size < 12e6
    assert opened_s < 10
    assert sorted(took)[len(took) // 2] < 100
