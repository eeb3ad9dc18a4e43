"""What a run expects: the repositories of its sources now, and those the last runs knew (design rule 1).

Whatever is missing, filtered or not to be seen is a row with its reason; a difference that nothing explains is a gap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.disk import reason_of
from tasks.core.errors import ForgeError, ScanGapError, SecretError, UsageError
from tasks.core.origins import Listing, Source
from tasks.core.text import one_line
from tasks.core.types import Repo
from tasks.lake.lake import repo_of
from tasks.patrol.naming import PACK, PACK_SOURCE
from tasks.patrol.stand_ins import (
    STAND_INS,
    differences,
    entry_rows,
    is_stand_in,
    manifest_row,
    missing_of_manifest,
    same_id_row,
    source_row,
)
from tasks.repos.classification import classified, filtered
from tasks.repos.discovery import POINTERS, Discovered, discover, discover_addresses, is_address, normalised
from tasks.repos.manifest import Entry, read_manifest
from tasks.repos.web_origins import origin_of

if TYPE_CHECKING:
    from tasks.patrol.session import Patrol

_PACK_REASONS = frozenset({"rule_broken", "pack_stale", "pack_missing"})
#: What a repository was told last night and is told again when its forge cannot be asked.
_KEPT_REASONS = frozenset({"not_found", "filtered", "forge_disabled", "repository_gone", *STAND_INS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What came of asking one source. ``unread``: nobody can tell tonight what it holds. ``expected_unread``: the
    manifest beside a forge could not be read."""

    source: Source
    found: tuple[Discovered, ...]
    listing: Listing | None = None
    unread: bool = False
    expected_unread: bool = False
    error: UsageError | ForgeError | SecretError | None = None


class Discovery:
    """Fills ``Patrol.repos``."""

    def __init__(self, patrol: Patrol) -> None:
        self._patrol = patrol
        self._rows = patrol.known_repositories
        everywhere = {repo_id: repo_of(row) for repo_id, row in self._rows.items()}
        self._known = {i: r for i, r in everywhere.items() if r.source in patrol.known_sources}
        # A source that is not in this run keeps its ids: their scopes are not to be closed by another clone.
        self._asked = {s.name for s in patrol.sources}
        self._others = {i: r for i, r in everywhere.items() if r.source not in self._asked}
        self._roots = [Path(s.location) for s in patrol.sources if _is_folder(s)]
        self._surveys: list[Survey] = []
        #: Where forges say tonight that the repository of an id is.
        self._listed_at: dict[str, str] = {}

    def run(self) -> None:
        """Ask every source. Raises UsageError, ForgeError or SecretError: none could be read and nothing is known."""
        patrol = self._patrol
        patrol.progress.start("discover", {s.name: 1.0 for s in patrol.sources})
        for source in patrol.sources:
            patrol.progress.begin(source.name)
            survey = self._survey(source)
            patrol.progress.end(source.name, failed=survey.unread)
            self._surveys.append(survey)
            for d in survey.found:
                self._take(survey, d)
        errors = [s.error for s in self._surveys if s.error is not None]
        if len(errors) == len(self._surveys) and errors and all(r.source == PACK_SOURCE for r in self._known.values()):
            raise errors[0]
        self._add_packs()
        self._add_undiscovered()
        self._note_unseen()
        patrol.all_read = patrol.options.all_sources and not any(s.unread for s in self._surveys)
        patrol.tallies = [self._tally(s) for s in self._surveys]
        if patrol.options.only:
            self._narrow(patrol.options.only)

    def _narrow(self, only: tuple[str, ...]) -> None:
        """Keep the repositories asked for, and what stands in for any. Raises UsageError: there is none of them."""
        asked, others = {}, {}
        for repo_id, s in self._patrol.repos.items():
            if any(fnmatchcase(s.repo.slug, pattern) for pattern in only):
                asked[repo_id] = s
            elif repo_id.startswith(PACK) or (is_stand_in(s.repo, s.reason_code) and s.reason_code != "not_listed"):
                others[repo_id] = s
        if not asked and not any(s.unread for s in self._surveys):
            raise UsageError(
                f"no repository is called {' or '.join(one_line(p, 60) for p in only)}; "
                f"{len(self._patrol.repos) - len(others)} are known under other names",
                advice="`--only` takes patterns of whole names, as in shop/*; `nightwarden query 'SELECT slug FROM "
                "repositories'` lists them.",
            )
        self._patrol.repos = {k: v for k, v in self._patrol.repos.items() if k in asked or k in others}

    def _take(self, survey: Survey, d: Discovered) -> None:
        """Expect what a source holds.

        What it leaves out and a source knows that is not in this run stays that one's: it patrols it, and would not
        miss what is another's. Two repositories of one id would be read as one, so the second is named and not read.
        """
        found = not is_stand_in(d.repo, d.reason_code)
        if d.reason_code == "filtered" and d.repo.repo_id in self._others and not self._patrol.options.all_sources:
            return
        before = self._patrol.repos.get(d.repo.repo_id)
        if survey.listing is not None and found and d.reason_code != "filtered":
            url = self._listed_at.setdefault(d.repo.repo_id, d.repo.url)
            if before is not None and normalised(url).lower() != normalised(d.repo.url).lower():
                d = same_id_row(survey.source, d.repo, before.repo)
                found = False
        self._expect(d.repo, found=found, reason_code=d.reason_code, detail=d.detail)

    def _note_unseen(self) -> None:
        """Note who of several sources of an account does not see a repository tonight: its ``refs`` stay watched."""
        accounts = {s.source.name: _account(s.source) for s in self._surveys}
        for survey in self._surveys:
            source, listing = survey.source, survey.listing
            if listing is None or not source.refs:
                continue
            listed = {f"{listing.host}:{item.forge_id}" for item in listing.repos}
            for repo_id, state in self._patrol.repos.items():
                other = state.repo.source
                if other == source.name or accounts.get(other) != accounts[source.name] or repo_id in listed:
                    continue
                if not filtered(state.repo.slug, source.filters):
                    state.unseen_by = (*state.unseen_by, source.name)

    def _expect(self, repo: Repo, *, found: bool, reason_code: str | None = None, detail: str = "") -> None:
        """Several sources may name one repository: it belongs to the first that patrols it, else to the first that
        cannot, else to one that leaves it out; what ``refs`` of any that patrols it ask for is watched."""
        from tasks.patrol.session import RepoState

        repos = self._patrol.repos
        before = repos.get(repo.repo_id)
        if before is None or _weight(reason_code) < _weight(before.reason_code):
            repos[repo.repo_id] = RepoState(repo=repo, found=found, reason_code=reason_code, detail=detail)
        elif reason_code is None and before.reason_code is None and repo.source != before.repo.source:
            before.also = (*before.also, repo.source)

    # -- one source -------------------------------------------------------------------------------------

    def _survey(self, source: Source) -> Survey:
        """What one source holds. Whatever goes wrong with it is its own row and must not take the others' night."""
        mine = {i: r for i, r in self._known.items() if r.source == source.name and not self._stood_in(r)}
        try:
            survey = self._listed(source, mine) if source.forge is not None else self._found(source, mine)
        except ScanGapError as e:
            if e.reason_code == "cancelled":
                raise
            return self._failed(source, mine, e.reason_code, e.detail)
        except Exception as e:  # a fault of ours; a message may quote what was read
            return self._failed(source, mine, reason_of(e), type(e).__name__)
        forgotten = {*POINTERS, "repository_gone"}
        if survey.found or _is_complete(survey.listing) or any(self._before(i) not in forgotten for i in mine):
            return survey
        # Nothing is there, and nothing was: without a row nobody would know that it was asked.
        unsure = "; whether there are any that are not shown nobody says" if source.forge is not None else ""
        return replace(survey, found=(source_row(source, "source_unread", f"it holds no repository{unsure}"),))

    def _before(self, repo_id: str) -> str | None:
        """What the last run said of a repository."""
        reason: str | None = self._rows[repo_id]["reason_code"]
        return reason

    def _stood_in(self, repo: Repo) -> bool:
        return is_stand_in(repo, self._before(repo.repo_id))

    def _failed(self, source: Source, mine: Mapping[str, Repo], reason: str, detail: str) -> Survey:
        """A source that could not be asked: its repositories of last night are patrolled all the same."""
        found = (source_row(source, reason, detail), *self._as_known(source, mine))
        return Survey(source=source, found=found, unread=True)

    def _found(self, source: Source, mine: Mapping[str, Repo]) -> Survey:
        """Look into a folder, at an address, or at a manifest's."""
        elsewhere = (r for r in self._known.values() if r.source != source.name and r.source in self._asked)
        taken = {*self._patrol.repos, *(r.repo_id for r in elsewhere if not self._stood_in(r))}
        known = {**self._others, **mine}
        entries: list[Entry] = []
        if source.manifest is not None:
            try:
                entries = read_manifest(source.manifest)
            except UsageError as e:
                # Which place its token is for the manifest said, so tonight they are asked for without it.
                return replace(self._failed(source, mine, "source_unread", e.message), error=e)
        try:
            if source.manifest is not None:
                found = list(self._named(source, entries, known, taken))
            else:
                found = discover(source, self._patrol.means.git, known, self._roots, taken)
        except UsageError as e:
            return Survey(source=source, found=(source_row(source, "source_unread", e.message),), unread=True, error=e)
        return Survey(source=source, found=tuple(self._judged(source, found)))

    def _judged(self, source: Source, found: Iterable[Discovered]) -> Iterator[Discovered]:
        """Filter and classify what was found in a folder or at an address."""
        for d in found:
            repo = classified(d.repo, self._patrol.means.classification)
            why = "" if d.reason_code is not None else filtered(repo.slug, source.filters)
            yield replace(d, repo=repo, reason_code="filtered", detail=why) if why else replace(d, repo=repo)

    def _named(
        self, source: Source, entries: list[Entry], known: Mapping[str, Repo], taken: set[str]
    ) -> Iterator[Discovered]:
        good = [e for e in entries if not e.problem]
        origins = sorted({origin_of(e.url) for e in good} - {""})
        if source.token is not None and len(origins) > 1:
            raise UsageError(
                f"the manifest {source.manifest} leads to {len(origins)} places, as {origins[0]} and {origins[1]}, and "
                "`token` is for one",
                advice="Make a manifest, and so a source, for each scheme, host and port: one is shown a token.",
            )
        found = discover_addresses([e.url for e in good], source, known, taken)
        for d, e in zip(found, good, strict=True):
            told = replace(d.repo, owner=e.owner, criticality=e.criticality, exposure=e.exposure, scopes=e.scopes)
            yield replace(d, repo=told)
        yield from entry_rows(source, entries)

    def _listed(self, source: Source, mine: Mapping[str, Repo]) -> Survey:
        """Ask a forge. When it cannot be asked, its repositories of last night are patrolled all the same."""
        assert source.forge is not None
        expected: list[Entry] = []
        faults: tuple[Discovered, ...] = ()
        if source.manifest is not None:
            try:
                expected = read_manifest(source.manifest)
            except UsageError as e:
                faults = (manifest_row(source, e.message),)
        try:
            listing = self._patrol.means.forges[source.name].listing()
        except (ForgeError, SecretError) as e:
            if isinstance(e, ForgeError) and e.reason_code == "cancelled":
                raise ScanGapError("cancelled", "the run was cancelled") from e
            reason = e.reason_code if isinstance(e, ForgeError) else "forge_denied"
            failed = self._failed(source, mine, reason, e.message)
            return replace(failed, found=(*failed.found, *faults), error=e)
        found = [*self._of_listing(source, listing), *faults]
        found += missing_of_manifest(source, listing, expected)
        found += differences(source, listing)
        return Survey(source=source, found=tuple(found), listing=listing, expected_unread=bool(faults))

    def _as_known(self, source: Source, mine: Mapping[str, Repo]) -> Iterator[Discovered]:
        for repo in mine.values():
            # Nobody confirms it tonight: then it is told twice anew.
            before = "not_found" if self._before(repo.repo_id) == "gone_unconfirmed" else self._before(repo.repo_id)
            why = filtered(repo.slug, source.filters)
            if why or before in _KEPT_REASONS:
                yield Discovered(repo=repo, reason_code="filtered" if why else before, detail=why or "as last night")
            else:
                yield Discovered(repo=repo)

    def _of_listing(self, source: Source, listing: Listing) -> Iterator[Discovered]:
        for item in listing.repos:
            repo_id = f"{listing.host}:{item.forge_id}"
            known = self._known.get(repo_id)
            repo = classified(
                Repo(
                    repo_id=repo_id,
                    slug=item.slug,
                    url=item.clone_url,
                    source=source.name,
                    default_branch=known.default_branch if known else None,
                ),
                self._patrol.means.classification,
                item,
            )
            if why := filtered(item.slug, source.filters, item):
                yield Discovered(repo=repo, reason_code="filtered", detail=why)
            elif item.disabled:
                yield Discovered(repo=repo, reason_code="forge_disabled", detail="listed, and git is refused")
            else:
                yield Discovered(repo=repo)

    # -- what the last runs knew ------------------------------------------------------------------------

    def _add_packs(self) -> None:
        """Expect what of rule packs does not run: a row stands in for each pack, so that nobody takes it for clean."""
        for name, (reason, detail) in (self._patrol.means.packs or {}).items():
            repo = Repo(repo_id=f"{PACK}{name}", slug=f"rule pack {name}", url="", source=PACK_SOURCE)
            self._expect(repo, found=False, reason_code=reason, detail=detail)

    def _add_undiscovered(self) -> None:
        """Expect what the last run knew and discovery no longer finds.

        A pointer, what was left out, or what stood in for others, of which nothing was ever read has nothing to lose:
        it leaves one more row, ``gap_gone``, and is forgotten. What another source leaves out is missed all the same.
        """
        patrol = self._patrol
        surveys = {s.source.name: s for s in self._surveys}
        read = {s.repo_id for s in patrol.states.values() if s.evidence_at is not None}
        for repo_id, repo in self._known.items():
            other = patrol.repos.get(repo_id)
            if other is not None and (other.reason_code != "filtered" or other.repo.source == repo.source):
                continue
            before, survey = self._before(repo_id), surveys.get(repo.source)
            reason, detail = "not_found", "known to the last run, not discovered now"
            nobody_looked = survey.unread if survey else repo.source == PACK_SOURCE and patrol.means.packs is None
            nobody_looked |= (
                survey is not None and survey.expected_unread and before in ("not_listed", "manifest_entry")
            )
            if repo_id not in read and (before in {*POINTERS, *_PACK_REASONS, "filtered"} or self._stood_in(repo)):
                if before == "gap_gone":
                    continue
                if other is not None:
                    continue
                reason = before if nobody_looked and before is not None else "gap_gone"
            elif before == "repository_gone":
                continue
            elif survey is None:
                # Left out by its filters, it was not looked at before either: that is no news.
                reason = "filtered" if before == "filtered" else "source_removed"
                detail = f"no source is called {repo.source} any more"
            elif why := filtered(repo.slug, survey.source.filters):
                reason, detail = "filtered", f"not discovered now; {why}"
            elif other is None and _is_gone(repo, survey):
                reason = "repository_gone" if before == "gone_unconfirmed" else "gone_unconfirmed"
                detail = "the forge lists all it says there are, and not this one"
            self._expect(repo, found=False, reason_code=reason, detail=detail)

    def _tally(self, survey: Survey) -> dict[str, Any]:
        """The row of ``discoveries`` of one source, but for the run."""
        states = [s for s in self._patrol.repos.values() if s.repo.source == survey.source.name]
        real = [d for d in survey.found if not is_stand_in(d.repo, d.reason_code)]
        count = Counter(s.reason_code for s in states)
        listing, forge = survey.listing, survey.source.forge
        hidden = max((listing.total or 0) - len(listing.repos), 0) if listing is not None else 0
        return {
            "source": survey.source.name,
            "kind": forge.kind.value if forge else _kind(survey.source),
            "location": survey.source.location,
            "total": listing.total if listing else None,
            "total_from": _total_from(listing) if listing and listing.total is not None else None,
            "selected": listing.selected if listing else None,
            "listed": len(listing.repos) if listing else len(real),
            "expected": count[None],
            "filtered": count["filtered"],
            "hidden": hidden,
            "missing": count["not_found"] + count["gone_unconfirmed"] + count["not_listed"],
            "gone": count["repository_gone"],
            "unread": survey.unread,
            "notes": list(listing.notes) if listing else [],
        }


def _is_complete(listing: Listing | None) -> bool:
    """Whether a forge lists just as many repositories as it says there are, hidden ones included."""
    return (
        listing is not None
        and listing.counts_all
        and not listing.doubts
        and listing.total == len(listing.repos)
        and listing.selected is not True
    )


def _is_gone(repo: Repo, survey: Survey) -> bool:
    """Whether a source's complete listing lacks a repository of the very account that it lists: one of another account
    or host, to which the source pointed before, may well be where it was."""
    listing, forge = survey.listing, survey.source.forge
    if listing is None or forge is None or not _is_complete(listing):
        return False
    owners = {forge.owner.lower(), *(_owner(r.slug) for r in listing.repos)}
    return repo.repo_id.startswith(f"{listing.host}:") and _owner(repo.slug) in owners


def _account(source: Source) -> tuple[str, str] | None:
    return (source.forge.api_url.rstrip("/").lower(), source.forge.owner.lower()) if source.forge is not None else None


def _owner(slug: str) -> str:
    return slug.split("/", 1)[0].lower()


def _total_from(listing: Listing) -> str:
    return listing.total_from if listing.counts_all else f"{listing.total_from}, of what the credential sees"


def _weight(reason_code: str | None) -> int:
    """Which word on a repository counts more, of several sources': a look, then a gap, then that it is left out."""
    return {None: 0, "filtered": 2, "repository_gone": 3}.get(reason_code, 1)


def _is_folder(source: Source) -> bool:
    return source.forge is None and source.manifest is None and not is_address(source.location)


def _kind(source: Source) -> str:
    if source.manifest is not None:
        return "manifest"
    return "folder" if _is_folder(source) else "address"
