"""Fake tools that misbehave on some files of a checkout: those files are gaps, the rest is read, nothing is lost.

``test_bad_tools`` does this for kingfisher, which is given blobs; here it is bandit, a process a scan, and
checkov, a server that takes one checkout after another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from flows import means
from tasks.patrol import sharing
from tests.builders import Repository
from tests.hostile.fake_tools import FLAW, MISBEHAVIOUR, RULE, SUFFIX, fake_tool
from tests.hostile.nights import Night, copied, night

STEMS = ("a", "b", "c", "d", "e")
#: Where a single file asks for it, it is found and left out. Else: (files that ask, outcome, reason, unread stems).
CULPRIT = (("b",), "partial", None, {"b": "crashes_tool"})
EXPECTED = {
    "pass over": (("b",), "partial", None, {"b": "unreadable_by_tool"}),
    "read nothing": (("b",), "partial", None, dict.fromkeys(STEMS, "unreadable_by_tool")),
    # Neither half fails, so no file can be named.
    "crash on two together": (("a", "e"), "failed", "signal", {}),
}
#: What is asked for by several files, in repositories beside those of ``EXPECTED``: word, then as above.
SEVERAL = {
    "three culprits": ("crash", ("a", "c", "d"), "partial", None, dict.fromkeys(("a", "c", "d"), "crashes_tool")),
    "four culprits": ("crash", ("a", "b", "c", "d"), "failed", "signal", {}),
    "all are culprits": ("crash", STEMS, "failed", "signal", {}),
}
WELL_BEHAVED = "a good one"
#: The file whose flaw the second commit mends.
MENDED = "e"


def cases(tool: str) -> dict[str, tuple]:
    """Repository → (word, files that ask for it, outcome, reason code, unread stems)."""
    one = {word: (word, *EXPECTED.get(word, CULPRIT)) for word in MISBEHAVIOUR[tool]}
    return {**one, **SEVERAL, WELL_BEHAVED: ("", (), "ok", None, {})}


@dataclass
class Story:
    """An organisation with one repository a case, as two nights left it."""

    tool: str
    org: Path
    home: Path
    binary: Path
    nights: list[Night]

    def next(self, binary: Path | None = None, **more: object) -> Night:
        how = {"binary": binary or self.binary, "timeout_s": 4, "memory_mb": 64}
        self.nights.append(night(self.home, self.org, tools=[self.tool], each_tool={self.tool: how}, **more))
        return self.nights[-1]

    def path(self, stem: str) -> str:
        return stem + SUFFIX[self.tool]

    def commit(self, slug: str, texts: dict[str, bytes]) -> None:
        repo = Repository(self.org / slug)
        repo._clock += 100_000 * (len(self.nights) + 1)
        repo.commit({self.path(stem): text for stem, text in texts.items()})


def well(tool: str, slug: str) -> dict[str, bytes]:
    """The first commit: every file has a flaw, and no two files are the same."""
    return {s: b"# %s %s\n%s\n" % (slug.encode(), s.encode(), FLAW[tool]) for s in STEMS}


def ill(tool: str, slug: str) -> dict[str, bytes]:
    """The second commit: some files ask for misbehaviour, one file's flaw is mended, all have changed."""
    word, asking, *_ = cases(tool)[slug]
    texts = {}
    for stem, text in well(tool, slug).items():
        texts[stem] = b"# changed\n" + (text.replace(FLAW[tool], b"mended") if stem == MENDED else text)
        if stem in asking:
            texts[stem] += f"# misbehave: {word}\n".encode()
    return texts


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """Each scan by itself: the fake does what the first file of a call asks, whoever's it is (see test_sharing)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "SMALL_FILES", -1)
        yield


@pytest.fixture(scope="module", params=sorted(MISBEHAVIOUR))
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = tmp_path_factory.mktemp(f"fake-{request.param}")
    story = Story(request.param, place / "org", place / "home", fake_tool(place / "bin", request.param), [])
    for commit in (well, ill):
        for slug in cases(story.tool):
            story.commit(slug, commit(story.tool, slug))
        story.next()
    return story


@pytest.fixture
def story(told: Story, tmp_path: Path) -> Story:
    """The same two nights, for one test alone."""
    home = copied(told.home, tmp_path / "home")
    return Story(told.tool, copied(told.org, tmp_path / "org"), home, told.binary, [*told.nights])


@pytest.mark.parametrize("slug", sorted({*MISBEHAVIOUR["bandit"], *MISBEHAVIOUR["checkov"], *SEVERAL, WELL_BEHAVED}))
def test_fake_tool_is_asked_to(told: Story, slug: str) -> None:
    if slug not in cases(told.tool):
        assert slug not in MISBEHAVIOUR[told.tool]
        return
    first, second = told.nights
    _, _, outcome, reason, unread = cases(told.tool)[slug]
    every = {(told.path(s), RULE[told.tool]) for s in STEMS}
    assert first.said(slug, told.tool) == ("ok", None)
    assert first.open(slug, told.tool) == every
    assert second.said(slug, told.tool) == (outcome, reason), second.scan(slug, told.tool)["detail"]
    assert second.unread(slug, told.tool) == {(told.path(s), why) for s, why in unread.items()}
    if slug == "grow":
        assert [g["detail"] for g in second.gaps[slug, told.tool]] == ["memory"]
    # The mended file's finding closes if, and only if, that file was read.
    read = outcome != "failed" and MENDED not in unread
    mended = {(told.path(MENDED), RULE[told.tool])} if read else set()
    assert second.open(slug, told.tool) == every - mended
    assert second.fixed(slug, told.tool) == {(*f, "code_changed") for f in mended}
    scope, row = second.scopes[slug, told.tool][0], second.scan(slug, told.tool)
    assert (scope["failed_name"] is None) == (outcome != "failed")
    assert scope["result_name"] == (row if outcome != "failed" else first.scan(slug, told.tool))["result_name"]


def test_every_fake_tool_does_all_that_is_expected(told: Story) -> None:
    second = told.nights[1]
    assert set(cases(told.tool)) == {slug for slug, tool in second.scans if tool == told.tool}
    assert second.summary.gap_rows == sum(outcome != "ok" for _, _, outcome, _, _ in cases(told.tool).values())
    assert second.run["state"] == "CompletedWithGaps"


def test_a_fake_tool_is_not_asked_again_about_a_file_it_failed_on(told: Story, story: Story) -> None:
    """A partial result completes its name: the next night starts no tool for it, and still names the gap."""
    third = story.next(only=["crash", "hang"])
    assert third.starts == ()
    for slug in ("crash", "hang"):
        row = third.scan(slug, told.tool)
        assert (row["outcome"], row["gaps"]) == ("unchanged", 1)
        assert third.unread(slug, told.tool) == {(told.path("b"), "crashes_tool")}
        assert third.open(slug, told.tool) == told.nights[1].open(slug, told.tool)
    assert third.summary.gap_rows == 2


def test_a_newer_parser_still_names_what_crashed_a_fake_tool(
    told: Story, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept report is that of the other files alone: read again, it knows nothing of the one that is missing."""
    newer = tuple(replace(s, parse_revision=s.parse_revision + 1) for s in means.SCANNERS)
    monkeypatch.setattr(means, "SCANNERS", newer)
    third = story.next(only=["crash"])
    assert third.starts == ()  # bandit's result has two reports, of the first night and of what changed since
    row = third.scan("crash", story.tool)
    assert (row["outcome"], row["cause"]) == ("partial", "parser")
    assert third.unread("crash", story.tool) == {(story.path("b"), "crashes_tool")}
    assert third.open("crash", story.tool) == told.nights[1].open("crash", story.tool)


def test_a_file_that_no_longer_crashes_a_fake_tool_is_read(story: Story) -> None:
    story.commit("crash", {"b": b"harmless now\n"})
    third = story.next(only=["crash"])
    assert third.said("crash", story.tool) == ("ok", None)
    assert third.unread("crash", story.tool) == set()
    gone = {(story.path(s), RULE[story.tool], "code_changed") for s in ("b", MENDED)}
    assert third.fixed("crash", story.tool) == gone


def test_a_fake_tool_that_is_blind_is_not_believed(story: Story, tmp_path: Path) -> None:
    """It answers in the right form that it saw nothing, in its control checkout too."""
    blind = {
        "bandit": '#!/bin/sh\necho \'{"results": [], "errors": [], "metrics": {}}\'\n',
        "checkov": "#!/bin/sh\nwhile read -r request; do\n"
        'echo \'{"ok": true, "report": {"checks": [], "unparsed": [], "resources": 0, "passed": 0}}\'\ndone\n',
    }
    third = story.next(fake_tool(tmp_path / "blind", story.tool, blind[story.tool]))
    assert third.starts == (story.tool,)  # the control checkout alone
    for slug in cases(story.tool):
        assert third.said(slug, story.tool) == ("failed", "control")
    assert third.findings == story.nights[1].findings


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 3\n", "#!/bin/sh\necho 'no JSON'\n"])
def test_a_fake_tool_that_says_nothing_at_all_is_not_believed(story: Story, tmp_path: Path, script: str) -> None:
    third = story.next(fake_tool(tmp_path / "mute", story.tool, script), only=[WELL_BEHAVED, "hang"])
    for slug in (WELL_BEHAVED, "hang"):
        assert third.said(slug, story.tool) == ("failed", "control")
        assert third.open(slug, story.tool) == story.nights[1].open(slug, story.tool)
        assert third.fixed(slug, story.tool) == story.nights[1].fixed(slug, story.tool)


def test_a_fake_tool_that_is_gone(story: Story) -> None:
    third = story.next(story.binary.with_name("no-such-program"), only=[WELL_BEHAVED])
    assert third.said(WELL_BEHAVED, story.tool) == ("failed", "tool_missing")
    assert third.starts == ()
    assert third.findings == story.nights[1].findings
