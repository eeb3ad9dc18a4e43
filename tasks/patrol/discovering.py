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

from tasks.core.errors import ForgeError, ScanGapError, SecretError, UsageError
from tasks.core.origins import Listing, Source
from tasks.core.types import Repo
from tasks.lake.lake import repo_of
from tasks.patrol.naming import PACK
from tasks.repos.classification import classified, filtered
from tasks.repos.discovery import POINTERS, Discovered, discover, discover_addresses, is_address, normalised
from tasks.repos.manifest import Entry, read_manifest
from tasks.repos.web_origins import origin_of

if TYPE_CHECKING:
    from tasks.patrol.session import Patrol

#: The source of what stands in for rule packs: no configuration can name it, and every run knows it.
PACK_SOURCE = "(packs)"
_PACK_REASONS = frozenset({"rule_broken", "pack_stale", "pack_missing"})
#: Reasons of what stands in for repositories that nobody could look at: nothing was ever read of it itself.
_STAND_INS = frozenset(
    {"source_unread", "forge_unreachable", "forge_denied", "forge_limited", "forge_hidden", "forge_difference",
     "not_listed", "manifest_entry", "gap_gone"}
)  # fmt: skip
#: What a repository was told last night and is told again when its forge cannot be asked.
_KEPT_REASONS = frozenset({"not_found", "filtered", "forge_disabled", "repository_gone", *_STAND_INS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What came of asking one source. ``unread``: nobody can tell tonight what it holds."""

    source: Source
    found: tuple[Discovered, ...]
    listing: Listing | None = None
    unread: bool = False
    error: UsageError | ForgeError | SecretError | None = None


class Discovery:
    """Fills ``Patrol.repos``."""

    def __init__(self, patrol: Patrol) -> None:
        self._patrol = patrol
        self._rows = patrol.snapshot.repository_rows(None)
        everywhere = {repo_id: repo_of(row) for repo_id, row in self._rows.items()}
        self._known = {i: r for i, r in everywhere.items() if r.source in patrol.known_sources}
        # A source that is not in this run keeps its ids: their scopes are not to be closed by another clone.
        mine = {s.name for s in patrol.sources}
        self._others = {i: r for i, r in everywhere.items() if r.source not in mine}
        self._roots = [Path(s.location) for s in patrol.sources if _is_folder(s)]
        self._surveys: list[Survey] = []

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
                self._expect(d.repo, found=d.reason_code not in _STAND_INS, reason_code=d.reason_code, detail=d.detail)
        errors = [s.error for s in self._surveys if s.error is not None]
        if len(errors) == len(self._surveys) and errors and all(r.source == PACK_SOURCE for r in self._known.values()):
            raise errors[0]
        self._add_packs()
        self._add_undiscovered()
        patrol.tallies = [self._tally(s) for s in self._surveys]
        if patrol.options.only:
            patrol.repos = {
                k: v
                for k, v in patrol.repos.items()
                if k.startswith(PACK) or any(fnmatchcase(v.repo.slug, pattern) for pattern in patrol.options.only)
            }

    def _expect(self, repo: Repo, *, found: bool, reason_code: str | None = None, detail: str = "") -> None:
        from tasks.patrol.session import RepoState

        # The first source that names a repository has it: another account may list it as well.
        self._patrol.repos.setdefault(
            repo.repo_id, RepoState(repo=repo, found=found, reason_code=reason_code, detail=detail)
        )

    # -- one source -------------------------------------------------------------------------------------

    def _survey(self, source: Source) -> Survey:
        mine = {r.repo_id: r for r in self._known.values() if r.source == source.name}
        try:
            if source.forge is not None:
                return self._listed(source, mine)
            taken = {*self._patrol.repos, *(self._known.keys() - mine.keys())}
            if source.manifest is not None:
                found = list(self._named(source, {**self._others, **mine}, taken))
            else:
                found = discover(source, self._patrol.means.git, {**self._others, **mine}, self._roots, taken)
        except UsageError as e:  # one source that is not there must not take the others' night
            return Survey(source=source, found=(_source_row(source, "source_unread", e.message),), unread=True, error=e)
        return Survey(source=source, found=tuple(self._judged(source, found)))

    def _judged(self, source: Source, found: Iterable[Discovered]) -> Iterator[Discovered]:
        """Filter and classify what was found in a folder or at an address."""
        for d in found:
            repo = classified(d.repo, self._patrol.means.classification)
            why = "" if d.reason_code is not None else filtered(repo.slug, source.filters)
            yield replace(d, repo=repo, reason_code="filtered", detail=why) if why else replace(d, repo=repo)

    def _named(self, source: Source, known: Mapping[str, Repo], taken: set[str]) -> Iterator[Discovered]:
        assert source.manifest is not None
        entries = read_manifest(source.manifest)
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
        for e in entries:
            if e.problem:
                yield _entry_row(source, e)

    def _listed(self, source: Source, mine: Mapping[str, Repo]) -> Survey:
        """Ask a forge. When it cannot be asked, its repositories of last night are patrolled all the same."""
        assert source.forge is not None
        expected = read_manifest(source.manifest) if source.manifest is not None else []
        try:
            listing = self._patrol.means.forges[source.name].listing()
        except (ForgeError, SecretError) as e:
            if isinstance(e, ForgeError) and e.reason_code == "cancelled":
                raise ScanGapError("cancelled", "the run was cancelled") from e
            reason = e.reason_code if isinstance(e, ForgeError) else "forge_denied"
            return Survey(
                source=source,
                found=(_source_row(source, reason, e.message), *self._as_known(source, mine)),
                unread=True,
                error=e,
            )
        found = list(self._of_listing(source, listing))
        found += _missing_of_manifest(source, listing, expected)
        found += _differences(source, listing)
        return Survey(source=source, found=tuple(found), listing=listing)

    def _as_known(self, source: Source, mine: Mapping[str, Repo]) -> Iterator[Discovered]:
        for repo in mine.values():
            before = self._rows[repo.repo_id]["reason_code"]
            if before in _STAND_INS:
                continue
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

        A pointer, or what stood in for others, of which nothing was ever read has nothing to lose: it leaves one
        more row, ``gap_gone``, and is forgotten.
        """
        patrol = self._patrol
        surveys = {s.source.name: s for s in self._surveys}
        read = {s.repo_id for s in patrol.states.values() if s.evidence_at is not None}
        for repo_id, repo in self._known.items():
            if repo_id in patrol.repos:
                continue
            before, survey = self._rows[repo_id]["reason_code"], surveys.get(repo.source)
            reason, detail = "not_found", "known to the last run, not discovered now"
            nobody_looked = survey.unread if survey else repo.source == PACK_SOURCE and patrol.means.packs is None
            if repo_id not in read and before in {*POINTERS, *_PACK_REASONS, *_STAND_INS}:
                if before == "gap_gone":
                    continue
                reason = before if nobody_looked else "gap_gone"
            elif before == "repository_gone":
                continue
            elif survey is not None and (why := filtered(repo.slug, survey.source.filters)):
                reason, detail = "filtered", f"not discovered now; {why}"
            elif before == "not_found" and survey is not None and _is_complete(survey.listing):
                reason, detail = "repository_gone", "the forge lists all it says there are, and not this one"
            self._expect(repo, found=False, reason_code=reason, detail=detail)

    def _tally(self, survey: Survey) -> dict[str, Any]:
        """The row of ``discoveries`` of one source, but for the run."""
        states = [s for s in self._patrol.repos.values() if s.repo.source == survey.source.name]
        count = Counter(s.reason_code for s in states)
        listing, forge = survey.listing, survey.source.forge
        hidden = max((listing.total or 0) - len(listing.repos), 0) if listing is not None else 0
        return {
            "source": survey.source.name,
            "kind": forge.kind.value if forge else _kind(survey.source),
            "location": survey.source.location,
            "total": listing.total if listing else None,
            "total_from": listing.total_from if listing and listing.total is not None else None,
            "selected": listing.selected if listing else None,
            "listed": len(listing.repos) if listing else sum(d.reason_code not in _STAND_INS for d in survey.found),
            "expected": count[None],
            "filtered": count["filtered"],
            "hidden": hidden,
            "missing": count["not_found"] + count["not_listed"],
            "gone": count["repository_gone"],
            "unread": survey.unread,
            "notes": list(listing.notes) if listing else [],
        }


def _is_complete(listing: Listing | None) -> bool:
    """Whether a forge lists just as many repositories as it says there are, to a credential that sees them all."""
    if listing is not None and listing.doubts:
        return False
    return listing is not None and listing.total == len(listing.repos) and listing.selected is not True


def _missing_of_manifest(source: Source, listing: Listing, expected: Iterable[Entry]) -> Iterator[Discovered]:
    """What the manifest beside a forge names and the forge does not list."""
    there = {normalised(r.clone_url).lower() for r in listing.repos}
    for e in expected:
        if e.problem:
            yield _entry_row(source, e)
        elif (name := normalised(e.url)).lower() not in there:
            repo = Repo(repo_id=name, slug=name, url=e.url, source=source.name)
            yield Discovered(repo=repo, reason_code="not_listed", detail=f"line {e.line} of the manifest")


def _differences(source: Source, listing: Listing) -> Iterator[Discovered]:
    """What the forge's own total, and its hints, say of repositories that are not listed."""
    assert source.forge is not None
    owner, seen, hidden = source.forge.owner, len(listing.repos), list(listing.doubts)
    app = "; the app is installed on a selection of repositories" if listing.selected else ""
    if listing.total is None:
        if listing.selected:
            yield _difference(source, listing, "forge_difference", f"{seen} seen, no total{app}")
    elif listing.total > seen:
        said = f"{owner} has {listing.total} repositories ({listing.total_from}), {seen} are seen"
        hidden.insert(0, f"{said}: {listing.total - seen} are not{app}")
    elif listing.total < seen:
        said = f"{owner} has {listing.total} repositories ({listing.total_from}), {seen} are listed"
        yield _difference(source, listing, "forge_difference", said)
    if hidden:
        yield _difference(source, listing, "forge_hidden", "; ".join(hidden))


def _difference(source: Source, listing: Listing, reason: str, detail: str) -> Discovered:
    assert source.forge is not None
    place = f"{listing.host}/{source.forge.owner}"
    what = "not visible" if reason == "forge_hidden" else "difference"
    repo = Repo(repo_id=f"{place} ({what})", slug=f"{place} ({what})", url=source.location, source=source.name)
    return Discovered(repo=repo, reason_code=reason, detail=detail)


def _source_row(source: Source, reason: str, detail: str) -> Discovered:
    repo = Repo(repo_id=f"source:{source.name}", slug=f"source {source.name}", url=source.location, source=source.name)
    return Discovered(repo=repo, reason_code=reason, detail=detail)


def _entry_row(source: Source, entry: Entry) -> Discovered:
    name = f"{source.name} manifest line {entry.line}"
    repo = Repo(repo_id=f"source:{name}", slug=name, url=str(source.manifest), source=source.name)
    return Discovered(repo=repo, reason_code="manifest_entry", detail=entry.problem)


def _is_folder(source: Source) -> bool:
    return source.forge is None and source.manifest is None and not is_address(source.location)


def _kind(source: Source) -> str:
    if source.manifest is not None:
        return "manifest"
    return "folder" if _is_folder(source) else "address"
