"""Whole patrols in one process with a tool of our own: real repositories, mirrors and lake; the tool costs no time.

The tool is given ``*.txt`` and does what stands there: ``flaw`` is found, ``unread`` is a gap, ``crash`` and ``hang``
end it badly.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.core.keys import HmacKey
from tasks.core.origins import Classification, DecisionPlace, Source, Team
from tasks.core.ports import Forge, Scanner
from tasks.core.process import ProcessRunner, Sink
from tasks.core.sandbox import detect
from tasks.core.types import (
    Command,
    Completed,
    Control,
    Gap,
    Kind,
    Limits,
    Mount,
    Observation,
    Outcome,
    Pace,
    Parsed,
    PathFilter,
    RawReport,
    Rule,
    Target,
    ToolHome,
    Unit,
    digest,
)
from tasks.lake.lake import Lake
from tasks.lake.s3_location import S3Location
from tasks.patrol.plan import Options, Planned
from tasks.patrol.publishing import publish_run
from tasks.patrol.scanning import Scanning
from tasks.patrol.session import Means, Patrol
from tasks.patrol.summary import RunSummary
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tests.builders import Repository

KEY = HmacKey(bytes(range(32)))
_MADE = TemporaryDirectory(prefix="nightwarden-lake-", ignore_cleanup_errors=True)


class Clock:
    """Seconds that the tool has taken; a test that counts them puts it in the place of the real clock."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        """As ``time.monotonic``."""
        return self.now_s


CLOCK = Clock()
#: What the tool takes for each file; control checkouts take no time.
SECONDS_A_FILE = 10.0


@cache
def _new_lake() -> Path:
    """A lake with empty tables, to be copied: making the tables takes longer than copying them."""
    place = Path(_MADE.name) / "lake"
    Lake.open(place, key_id=KEY.key_id)
    return place


class KilledError(BaseException):
    """Goes past every handler, as a kill does: what is not on the disk is lost."""


class FakeRunner(ProcessRunner):
    """Runs git for real and the tool in memory; dies when the tool is started for the ``kill_at``-th time."""

    def __init__(self, kill_at: int | None = None, harmless: frozenset[str] = frozenset()) -> None:
        super().__init__(detect())
        self.kill_at = kill_at
        self.harmless = harmless
        #: The repository of every start, control checkouts left out.
        self.starts: list[str] = []

    def run(self, cmd: Command, *, sink: Sink | None = None) -> Completed:
        """As the real one."""
        if cmd.argv[0] != "fake":
            return super().run(cmd, sink=sink)
        if cmd.argv[1] != "control":
            if len(self.starts) + 1 == self.kill_at:
                raise KilledError
            self.starts.append(cmd.argv[1])
        root = cmd.mounts[0].source
        words = {str(p.relative_to(root)): p.read_text().split() for p in sorted(root.rglob("*")) if p.is_file()}
        if cmd.argv[1] != "control":
            words = {path: [w for w in found if w not in self.harmless] for path, found in words.items()}
        CLOCK.now_s += SECONDS_A_FILE * len(words) if cmd.argv[1] != "control" else 0.0
        said = {w for found in words.values() for w in found} - self.harmless
        return Completed(
            exit_code=None if "hang" in said else -11 if "crash" in said else 0,
            stdout=json.dumps(words).encode(),
            stderr=b"",
            duration_s=SECONDS_A_FILE * len(words),
            peak_rss_bytes=1,
            sandbox=self.sandbox.label,
            timed_out="hang" in said,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeTool:
    """The adapter of the tool."""

    name: str = "fake"
    kind: Kind = Kind.CODE
    unit: Unit = Unit.FILE
    revision: int = 1
    parse_revision: int = 1
    summary: str = "words"
    licence: str = "none"
    reads: PathFilter = PathFilter(suffixes=(b".txt",))
    limits: Limits = Limits()
    pace: Pace = Pace(start_s=0.1)
    control: Control = field(
        default_factory=lambda: Control(files={"control.txt": b"flaw"}, rule_id="F1", path="control.txt")
    )
    long_lived: bool = False

    def argv_label(self) -> str:
        return ""

    def command(self, tool: ToolHome, target: Target) -> Command:
        return Command(argv=("fake", target.repo_id), mounts=(Mount(source=target.root, inside=target.inside),))

    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        return stdout

    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        words: dict[str, list[str]] = json.loads(report.body)
        gaps = tuple(Gap(path=p, reason_code="unparsable") for p, found in words.items() if "unread" in found)
        flawed = [p for p, found in words.items() if "flaw" in found]
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=tuple(_observation(path) for path in flawed),
            gaps=gaps,
        )


def _observation(path: str) -> Observation:
    return Observation(
        anchor_uid=digest("anchor", path),
        occurrence_uid=digest("occurrence", path),
        kind=Kind.CODE,
        rule_id="F1",
        title="a flaw",
        path=path,
        line_start=1,
        line_end=1,
        carry_uid=digest("carry", "F1"),
    )


def _listed(rules: tuple[str, ...] | None) -> tuple[Rule, ...] | None:
    return tuple(Rule(rule_id=r, title=f"about {r}") for r in rules) if rules is not None else None


@dataclass
class House:
    """An organisation and a home; each ``run`` is a process of its own as far as memory goes."""

    place: Path
    #: Where the lake lies; below ``place`` if it is not said.
    lake_at: S3Location | None = None
    scanners: tuple[Scanner, ...] = (FakeTool(),)
    version: str = "1"
    #: Digest of the tool's rules, and their ids (None: it does not list them).
    rules_digest: str = "r"
    rules: tuple[str, ...] | None = None
    #: Rules that should have run and did not, and what of rule packs does not run.
    not_run: frozenset[str] = frozenset()
    packs: dict[str, tuple[str, str]] | None = None
    #: Why no rule of the tool runs.
    without_rules: str = ""
    #: Seconds of the night for upgrades.
    upgrade_s: float = 7200.0
    #: Words that the tool no longer minds.
    harmless: frozenset[str] = frozenset()
    #: Where the runs look; the folder of the organisation when empty.
    sources: tuple[Source, ...] = ()
    forges: dict[str, Forge] = field(default_factory=dict)
    classification: tuple[Classification, ...] = ()
    #: Where people decide about findings.
    decisions: DecisionPlace | None = None
    teams: tuple[Team, ...] | None = None
    #: Real tools by name; what is not named here is the fake one.
    homes: dict[str, ToolHome] = field(default_factory=dict)
    #: Whether the runs are more than plans.
    writes: bool = True
    #: How long a run waits for another one, and what was told of it.
    wait_s: float = 0
    waited: list[str] = field(default_factory=list)
    #: Repositories the tool was started on, by all runs.
    starts: list[str] = field(default_factory=list)

    def repo(self, slug: str) -> Repository:
        """A repository of the organisation; commits of one asked for again are later ones."""
        path = self.place / "org" / slug
        known = path.is_dir()
        repo = Repository(path)
        repo._clock += 100_000 if known else 0
        return repo

    def commit(self, slug: str, **files: str) -> None:
        """Write ``<name>.txt`` files and commit them."""
        self.repo(slug).commit({f"{name}.txt": text.encode() for name, text in files.items()})

    def lake(self) -> Lake:
        """The lake."""
        if self.lake_at is None and not (self.place / "lake").exists():
            shutil.copytree(_new_lake(), self.place / "lake")
        return Lake.open(self.lake_at or self.place / "lake", key_id=KEY.key_id)

    @contextmanager
    def patrol(
        self, runner: FakeRunner, options: Options, at: datetime | None = None
    ) -> Iterator[tuple[Patrol, Scanning]]:
        """A run that has planned and scans next."""
        lake = self.lake()
        with lake.lock(wait_s=self.wait_s, tell=self.waited.append):
            lake.adopt()
            git = Git(runner, timeout_s=60, config_dir=self.place / "git")
            homes = {
                s.name: ToolHome(
                    name=s.name, version=self.version, executable=Path("/fake"), mounts=(),
                    rules_digest=self.rules_digest, origin="test", rules=_listed(self.rules),
                )
                for s in self.scanners
            } | self.homes  # fmt: skip
            means = Means(
                lake=lake, runner=runner, git=git, mirrors=Mirrors(self.place / "mirrors", git),
                scanners=self.scanners, tools=homes, key=KEY, work=self.place / "work", workers=2,
                packs=self.packs, not_run=dict.fromkeys([s.name for s in self.scanners], self.not_run),
                upgrade_s=self.upgrade_s, forges=self.forges, classification=self.classification,
                decisions=self.decisions, teams=self.teams, writes=self.writes,
                without_rules={s.name: self.without_rules for s in self.scanners if self.without_rules},
            )  # fmt: skip
            org = Source(name="org", location=str(self.place / "org"))
            run = Patrol(means, self.sources or [org], options)
            if at is not None:
                run.started_at = at
            scanning = Scanning(run)
            try:
                run.discover()
                run.refresh()
                run.plan()
                yield run, scanning
            finally:
                scanning.close()

    def plan(self, **options: Any) -> dict[str, Planned]:
        """What a run would do, by repository and, where there are several tools, tool."""
        with self.patrol(FakeRunner(), Options(**options)) as (run, _):
            plans = [p for s in run.repos.values() for p in s.plans]
        return {p.slug if len(self.scanners) == 1 else f"{p.slug} {p.tool}": p for p in plans}

    def run(self, kill_at: int | None = None, at: datetime | None = None, **options: Any) -> RunSummary | None:
        """Patrol once; None when it was killed. Repositories are scanned one after another, by name."""
        runner = FakeRunner(kill_at, self.harmless)
        try:
            with self.patrol(runner, Options(**options), at) as (run, scanning):
                for state in sorted(run.changed(), key=lambda s: s.repo.slug):
                    scanning.scan_repository(state)
                return publish_run(run)
        except KilledError:
            return None
        finally:
            self.starts += runner.starts

    def rows(self, table: str, **where: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of a table as of the newest run."""
        return self.lake().snapshot().table(table, where or None).to_pylist()
