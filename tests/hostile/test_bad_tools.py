"""Tools that misbehave: their scan says so, the other tools' scans go on, and nothing that was published is lost.

The tool is a fake in the place of kingfisher. It finds the word ``fake-secret`` in the control checkout and in the
repositories, and misbehaves as soon as a blob asks it to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.patrol import sharing
from tasks.scanners.kingfisher import KINGFISHER
from tests.builders import Repository
from tests.hostile.nights import Night, copied, night
from tests.hostile.repositories import PYTHON
from tests.thorough import thorough

pytestmark = [pytest.mark.tools, thorough]

#: What stands in a blob as ``misbehave:<word>``, and what the fake then does. ``good`` prints a whole report.
MISBEHAVIOUR = {
    "hangs": "while :; do sleep 1; done",
    "hangs with closed pipes": "exec >&- 2>&-; while :; do sleep 1; done",
    "leaves a child that hangs": "(while :; do sleep 1; done) & good",
    "is killed": "kill -KILL $$",
    "crashes": "kill -SEGV $$",
    "fails": "echo 'the input is bad' >&2; exit 3",
    "is chatty": "head -c 20000000 /dev/zero | tr '\\0' 'x' >&2; good",
    "writes half a report": "good | head -c 40",
    "is silent": "exit 0",
    "floods": "while :; do head -c 1000000 /dev/zero | tr '\\0' '['; done",
    "floods with an error code": "head -c 9000000 /dev/zero | tr '\\0' '['; exit 2",
    "reads fewer files": "counted 0 9",
    "reports another form": "echo '{\"findings\": 7}'",
    "reports a list": "echo '[]'",
    "nests too deep": "head -c 200000 /dev/zero | tr '\\0' '['",
    "applies no rule": "counted 99 0",
    "says it failed": """counted 99 9 ',"audit":{"summary":{"scan_failed":1}}'""",
}
#: Outcome and reason of the scan that met it. Where one blob is to blame, it is found and left out: the third is why.
EXPECTED = {
    "hangs": ("partial", None, "timeout"),
    "hangs with closed pipes": ("partial", None, "timeout"),
    "leaves a child that hangs": ("ok", None, None),
    "is killed": ("partial", None, "signal"),
    "crashes": ("partial", None, "signal"),
    "fails": ("partial", None, "tool_error"),
    "is chatty": ("ok", None, None),
    "writes half a report": ("partial", None, "report_invalid"),
    "is silent": ("partial", None, "report_empty"),
    "floods": ("partial", None, "output_limit"),
    "floods with an error code": ("partial", None, "output_limit"),
    "reads fewer files": ("failed", "nothing_scanned", None),
    "reports another form": ("partial", None, "report_invalid"),
    "reports a list": ("partial", None, "report_invalid"),
    "nests too deep": ("partial", None, "report_invalid"),
    "applies no rule": ("partial", None, "tool_error"),
    "says it failed": ("partial", None, "tool_error"),
}
#: One that stays failed.
FAILS = "reads fewer files"
WELL_BEHAVED = "a good one"
FAKE = """\
#!/bin/sh
if [ "$1" = --version ]; then echo 'kingfisher 9.9.9'; exit 0; fi
good() {
  printf '{"findings":['
  comma=
  for f in $(grep -rlE 'fake-secret|deploy_token' "$root"); do
    printf '%s{"rule":{"id":"fake.1"},"finding":{"snippet":"fake-secret","path":"%s","line":1}}' "$comma" "$f"
    comma=,
  done
  printf '],"metadata":{"summary":{"blobs_scanned":%s,"bytes_scanned":1,"rules_applied":9}}}\\n' \
"$(find "$root" -type f -size +0c | wc -l)"
}
counted() {
  printf '{"findings":[],"metadata":{"summary":{"blobs_scanned":%s,"rules_applied":%s}}%s}\\n' "$1" "$2" "$3"
}
root=$2
case $(grep -rhs '^misbehave:' "$root" | head -n 1) in
CASES
*) good ;;
esac
"""
SECRET, FLAW = ("a-old.txt", "fake.1"), ("app.py", "B602")
STDOUT = {"kingfisher": 3_000_000}


def fake(place: Path, script: str) -> Path:
    """A program of this text, in a folder of its own."""
    place.mkdir(parents=True)
    program = place / "kingfisher"
    program.write_text(script)
    program.chmod(0o755)
    return program


def misbehaving(place: Path) -> Path:
    """The fake that does what a blob asks of it."""
    cases = "\n".join(f"'misbehave:{word}') {what} ;;" for word, what in MISBEHAVIOUR.items())
    return fake(place, FAKE.replace("CASES", cases))


@dataclass
class Story:
    """An organisation with one repository a misbehaviour, as it was left after some nights."""

    org: Path
    home: Path
    program: Path
    nights: list[Night]

    def repo(self, slug: str) -> Repository:
        repo = Repository(self.org / slug)
        repo._clock += 100_000
        return repo

    def next(self, program: Path | None = None, **more: object) -> Night:
        settings = {"binary": program or self.program, "timeout_s": 6}
        told = night(
            self.home,
            self.org,
            tools=["kingfisher", "bandit"],
            each_tool={"kingfisher": settings},
            stdout_bytes=STDOUT,
            **more,
        )
        self.nights.append(told)
        return told


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """Each scan by itself: the fake does what the first blob of a call asks, whoever's it is (see test_sharing)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "SMALL_FILES", -1)
        yield


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Two nights: in the first every repository is well, in the second each holds what its fault asks for."""
    place = tmp_path_factory.mktemp("bad-tools")
    story = Story(place / "org", place / "home", misbehaving(place / "bin"), [])
    for slug in (*MISBEHAVIOUR, WELL_BEHAVED):
        # Each is itself: of twins only one would be scanned.
        own = f"# {slug}\n".encode()
        Repository(story.org / slug).commit({"a-old.txt": b"fake-secret " + own, "app.py": PYTHON + own})
    story.next()
    for slug in (*MISBEHAVIOUR, WELL_BEHAVED):
        own = f"# {slug}\n".encode()
        trigger = f"misbehave:{slug}\nfake-secret\n".encode()
        story.repo(slug).commit({"new.txt": trigger, "app.py": own + PYTHON, "more.txt": b"more\n"})
    story.next()
    return story


@pytest.fixture
def story(told: Story, tmp_path: Path) -> Story:
    """The same two nights, for one test alone."""
    return Story(copied(told.org, tmp_path / "org"), copied(told.home, tmp_path / "home"), told.program, [*told.nights])


def test_every_misbehaviour_is_expected_to_be_something() -> None:
    assert set(MISBEHAVIOUR) == set(EXPECTED)


@pytest.mark.parametrize("slug", MISBEHAVIOUR)
def test_a_tool_that(told: Story, slug: str) -> None:
    first, second = told.nights
    assert first.said(slug, "kingfisher") == ("ok", None)
    assert first.open(slug, "kingfisher") == {SECRET}
    outcome, reason, blame = EXPECTED[slug]
    assert second.said(slug, "kingfisher") == (outcome, reason)
    # The blob that is to blame is named, the others were read.
    assert second.unread(slug, "kingfisher") == ({("new.txt", "crashes_tool")} if blame else set())
    assert {g["detail"] for g in second.gaps[slug, "kingfisher"]} == ({blame} if blame else set())
    # The other tool went on: it read the changed file.
    assert second.said(slug, "bandit") == ("ok", None)
    assert second.scan(slug, "bandit")["files_read"] == 1
    assert FLAW in second.open(slug, "bandit")
    # What was published stands, and a failed scan adds nothing.
    complete = outcome != "failed"
    row, scope = second.scan(slug, "kingfisher"), second.scopes[slug, "kingfisher"][0]
    assert SECRET in second.open(slug, "kingfisher") and not second.fixed(slug, "kingfisher")
    assert second.findings[slug, "kingfisher"] == first.findings[slug, "kingfisher"] or complete
    assert (row["result_name"] is not None) == complete
    assert (row["attempts"], scope["attempts"]) == ((0, 0) if complete else (1, 1))
    before = first.scan(slug, "kingfisher")["result_name"]
    assert scope["result_name"] == (row["result_name"] if complete else before)
    assert (scope["failed_name"] == row["scan_name"]) != complete


def test_the_well_behaved_are_read_on_the_same_night(told: Story) -> None:
    second = told.nights[1]
    assert second.said(WELL_BEHAVED, "kingfisher") == ("ok", None)
    assert second.scan(WELL_BEHAVED, "kingfisher")["files_read"] == 3
    # The same secret at two places is one finding.
    (finding,) = second.findings[WELL_BEHAVED, "kingfisher"]
    assert finding["occurrences"] == 2


def test_the_summary_names_every_gap(told: Story) -> None:
    wanted = {"crashes_tool" if blame else reason for _, reason, blame in EXPECTED.values() if blame or reason}
    assert {g.reason_code for g in told.nights[1].summary.gaps} == wanted
    assert told.nights[1].summary.gap_rows == sum(outcome != "ok" for outcome, *_ in EXPECTED.values())
    assert told.nights[1].run["state"] == "CompletedWithGaps"


def test_no_process_of_a_tool_is_left(told: Story) -> None:
    mine = str(told.program).encode()
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            left += [process.name] if mine in (process / "cmdline").read_bytes() else []
        except OSError:
            continue
    assert left == []


def test_a_tool_that_is_not_there(story: Story) -> None:
    third = story.next(program=story.program.with_name("no-such-program"), only=[WELL_BEHAVED, "is silent"])
    second = story.nights[1]
    for slug in (WELL_BEHAVED, "is silent"):
        assert third.said(slug, "kingfisher") == ("failed", "tool_missing")
        assert third.said(slug, "bandit") == ("unchanged", None)
    assert third.findings == second.findings


def test_a_tool_that_does_not_tell_its_version(story: Story, tmp_path: Path) -> None:
    mute = fake(tmp_path / "mute", "#!/bin/sh\nexit 0\n")
    third = story.next(program=mute, only=[WELL_BEHAVED])
    assert third.said(WELL_BEHAVED, "kingfisher") == ("failed", "tool_missing")
    assert third.findings == story.nights[1].findings


def test_a_tool_that_misses_its_control_is_not_believed(story: Story, tmp_path: Path) -> None:
    """It is silent about the planted flaw and about the secrets, and says that it read everything."""
    blind = fake(tmp_path / "blind", FAKE.replace("CASES", "").replace("fake-secret|deploy_token", "no-such-word"))
    third = story.next(program=blind, only=[WELL_BEHAVED])
    assert third.said(WELL_BEHAVED, "kingfisher") == ("failed", "control")
    assert third.starts.count("kingfisher") == 1  # the control checkout alone
    assert third.said(WELL_BEHAVED, "bandit") == ("unchanged", None)
    assert third.findings == story.nights[1].findings


def test_back_off(story: Story) -> None:
    slug = FAILS
    third = story.next(only=[slug])  # the first retry comes with the next run
    row, scope = third.scan(slug, "kingfisher"), third.scopes[slug, "kingfisher"][0]
    assert (row["outcome"], row["cause"], row["attempts"]) == ("failed", "retry", 2)
    assert scope["next_attempt_at"] - third.run["started_at"] == timedelta(hours=12)

    fourth = story.next(only=[slug])
    waiting = fourth.scan(slug, "kingfisher")
    assert fourth.starts == ()
    assert (waiting["outcome"], waiting["reason_code"], waiting["attempts"]) == ("failed", "nothing_scanned", 2)
    assert waiting["started_at"] is None
    assert fourth.scopes[slug, "kingfisher"] == third.scopes[slug, "kingfisher"]
    assert fourth.summary.gap_rows == 1  # still named

    early = scope["next_attempt_at"] - timedelta(seconds=1)
    assert story.next(only=[slug], at=early).starts == ()

    asked = story.next(only=[slug], retry_failed=True)
    assert "kingfisher" in asked.starts
    assert asked.scan(slug, "kingfisher")["attempts"] == 3
    scope = asked.scopes[slug, "kingfisher"][0]
    assert scope["next_attempt_at"] - asked.run["started_at"] == timedelta(days=1)

    late = story.next(only=[slug], at=scope["next_attempt_at"])
    assert "kingfisher" in late.starts
    assert late.scan(slug, "kingfisher")["attempts"] == 4
    assert late.findings[slug, "kingfisher"] == story.nights[0].findings[slug, "kingfisher"]


def test_a_mended_tool_catches_up_at_once(story: Story, tmp_path: Path) -> None:
    """Another program is another configuration: no back-off, the whole history, and the failure is forgotten."""
    slug = "is killed"
    mended = fake(tmp_path / "mended", FAKE.replace("CASES", ""))
    third = story.next(program=mended, only=[slug])
    assert third.said(slug, "kingfisher") == ("ok", None)
    row, scope = third.scan(slug, "kingfisher"), third.scopes[slug, "kingfisher"][0]
    assert (row["cause"], row["files_read"], row["attempts"]) == ("rules", 5, 0)
    assert (scope["failed_name"], scope["next_attempt_at"], scope["reason_code"]) == (None, None, None)
    assert third.findings[slug, "kingfisher"][0]["occurrences"] == 2


def test_new_work_is_tried_whatever_failed_before(story: Story) -> None:
    slug = FAILS
    story.next(only=[slug])
    story.repo(slug).commit({"more.txt": b"and more\n"})
    fourth = story.next(only=[slug])
    assert fourth.starts.count("kingfisher") == 2  # control and scan
    assert (fourth.scan(slug, "kingfisher")["attempts"], fourth.scan(slug, "kingfisher")["cause"]) == (1, "changed")


def test_the_control_of_the_fake_is_the_one_of_the_product() -> None:
    (body,) = KINGFISHER.control.files.values()
    assert b"deploy_token" in body and os.fsencode("fake-secret") not in body
