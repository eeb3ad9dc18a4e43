"""Asks forges for settings of repositories: some a night, those whose last answer is oldest first, and judges them.

A repository's settings are asked for when ``settings_days`` have passed since (or the last answer is from a time to
come), when the tool that judges them has changed, or with ``--force``. A forge that cannot be asked, or has few
requests left, is not asked for the others of the night; a repository of which it gives no answer that can be read keeps
none of the others waiting, and comes last in the next night. What was not asked stands as it was told: its name is
known, and it costs nothing. Settings of an account are told with its oldest repository, so that they are one finding
and not one a repository.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tasks.core.errors import ForgeError, ScanGapError, SecretError
from tasks.core.forge_settings import PROTECTION, ForgeSettings
from tasks.core.ports import JudgesSettings, Scanner, SettledForge
from tasks.core.types import RawReport, ToolHome
from tasks.patrol.look import Look
from tasks.patrol.plan import SETTINGS_REF, Planned, config_digest

if TYPE_CHECKING:
    from tasks.patrol.scanning import Scanning
    from tasks.patrol.session import Patrol, RepoState

_NEVER = datetime.min.replace(tzinfo=UTC)
#: After so many repositories in a row whose answer could not be had or read it is the forge, not the repository.
_IN_A_ROW = 3
#: The planted flaw: an answer in which it must be found before silence counts.
_CONTROL = ForgeSettings(facts={PROTECTION: {"protected": False}}).document()


class SettingsRound:
    """What the forges of one run tell. ``told`` maps a repository's id to its settings, or to why there are none."""

    def __init__(self, patrol: Patrol) -> None:
        self._patrol = patrol
        self._forges: dict[str, SettledForge] = {}
        for s in patrol.sources:
            forge = patrol.means.forges.get(s.name)
            if s.posture and forge is not None and isinstance(forge, SettledForge):
                self._forges[s.name] = forge
        self.told: dict[str, ForgeSettings | ForgeError] = {}

    def wanted(self, s: RepoState) -> bool:
        """Whether a repository's source asks for settings, and its forge can tell them."""
        return s.repo.source in self._forges and (s.found or s.reason_code is None)

    def ask(self) -> None:
        """Ask for what is due, each forge in a thread of its own. Raises ScanGapError(cancelled)."""
        judges = [s for s in self._patrol.scanners if isinstance(s, JudgesSettings) and self._works(s)]
        if not judges or not self._patrol.means.writes or not self._forges:
            return
        with ThreadPoolExecutor(len(self._forges), thread_name_prefix="settings") as pool:
            try:
                for done in [pool.submit(self._ask_one, name, judges[0]) for name in self._forges]:
                    done.result()
            except BaseException:  # an interruption: else the pool would wait for all answers
                self._patrol.means.runner.cancel()
                raise

    def _works(self, scanner: Scanner) -> bool:
        patrol = self._patrol
        asked = not patrol.options.tools or scanner.name in patrol.options.tools
        is_there = isinstance(patrol.means.tools[scanner.name], ToolHome)
        return asked and is_there and scanner.name not in patrol.means.switched_off

    def _ask_one(self, source: str, scanner: Scanner) -> None:
        mine = [s for s in self._patrol.repos.values() if s.repo.source == source and s.reason_code is None]
        if not mine:
            return
        # Of all that are known: a night of a few must not move what is said of the account to another repository.
        known = self._patrol.known_repositories.items()
        ids = {i for i, row in known if row["source"] == source and row["present"] and not row["reason_code"]}
        oldest = min(ids | {s.repo.repo_id for s in mine}, key=_number)
        left = [s for *_, s in sorted(self._due(mine, scanner), key=lambda due: (*due[:2], due[2].repo.slug))]
        failed = 0
        while left:
            s = left.pop(0)
            assert s.mirror is not None
            branch = (s.mirror.head_ref or "").removeprefix("refs/heads/")
            if not branch:
                continue  # its row says so
            try:
                found = self._forges[source].settings(s.repo, branch, account=s.repo.repo_id == oldest)
            except ForgeError as e:
                if e.reason_code == "cancelled":
                    raise ScanGapError("cancelled", "the run was cancelled") from e
                failed += 1
                if e.reason_code != "forge_unreachable" or failed == _IN_A_ROW:
                    self._not_told([s, *left], e)
                    return
                self._not_told([s], e)
                continue
            except SecretError as e:
                self._not_told([s, *left], ForgeError("forge_denied", e.message))
                return
            failed = 0
            self.told[s.repo.repo_id] = found

    def _due(self, mine: list[RepoState], scanner: Scanner) -> list[tuple[bool, datetime, RepoState]]:
        """Repositories to ask for: whether the last try had no answer, and when they were told last."""
        patrol = self._patrol
        config = config_digest(scanner, patrol.tool(scanner.name))
        since = patrol.started_at - timedelta(days=patrol.means.settings_days)
        found = []
        for s in mine:
            state = patrol.states.get((s.repo.repo_id, SETTINGS_REF, scanner.name))
            at = state.evidence_at if state is not None else None
            changed = state is not None and state.config_digest != config
            # One night with a clock ahead must not stop the asking until that day.
            if at is None or not since < at <= patrol.started_at or changed or patrol.options.force:
                failed = state is not None and state.reason_code == "forge_unreachable"
                found.append((failed, at or _NEVER, s))
        return found

    def _not_told(self, repos: list[RepoState], error: ForgeError) -> None:
        for s in repos:
            self.told.setdefault(s.repo.repo_id, error)


def look(ctx: Scanning, p: Planned, scanner: Scanner) -> Look:
    """Judge what the forge told. Raises ScanGapError."""
    assert isinstance(scanner, JudgesSettings)
    told = ctx.patrol.settings.told[p.repo_id]
    assert isinstance(told, ForgeSettings)
    if not scanner.judge_settings(_CONTROL).observations:
        raise ScanGapError("control", f"{scanner.name} did not find its planted flaw in settings")
    document = told.document()
    raw = RawReport(tool=scanner.name, tool_version=ctx.patrol.tool(scanner.name).version, exit_code=0, body=document)
    return Look(parsed=scanner.judge_settings(document), raw_parts=ctx.keep(raw, p, {}))


def _number(repo_id: str) -> tuple[int, str]:
    """The forge's own number of a repository, for older ones come first."""
    number = repo_id.rpartition(":")[2]
    return (int(number) if number.isdigit() else 0, repo_id)
